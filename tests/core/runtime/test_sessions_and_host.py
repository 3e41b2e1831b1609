"""Sessions and the host description."""

import json
import socket

import numpy as np
import pytest

from components.core.errors import UserError
from components.core.runtime.fusion import integer_share
from components.core.runtime.host import describe_host
from components.core.runtime.sessions import open_session


def test_bytes_and_path_open_the_same_model(toy_onnx):
    images = np.ones((1, 3, 32, 32), np.float32)
    from_path = open_session(toy_onnx).run(None, {"images": images})[0]
    from_bytes = open_session(toy_onnx.read_bytes()).run(None, {"images": images})[0]
    np.testing.assert_array_equal(from_path, from_bytes)


def test_a_missing_or_broken_file_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"no ONNX file at .*absent.onnx"):
        open_session(tmp_path / "absent.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(UserError, match="onnxruntime cannot open") as caught:
        open_session(tmp_path / "broken.onnx")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="threads"):
        open_session(tmp_path / "broken.onnx", threads=0)


def test_float_network_has_no_integer_convolution(toy_onnx):
    share = integer_share(toy_onnx)
    assert (share.convolutions, share.convolutions_total) == (0, 2)
    assert (share.products, share.products_total) == (0, 1)
    assert len(share.floating) == 3


def test_host_names_processor_and_flags_but_not_the_machine(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("model name\t: Example CPU @ 2 GHz\nflags\t\t: fpu avx2 avx512f avx512_vnni amx_int8\n")
    host = describe_host(cpuinfo)
    assert host["processor"] == "Example CPU @ 2 GHz"
    assert host["vnni"]
    assert host["amx"]
    assert host["flags"] == ["avx2", "avx512f", "avx512_vnni", "amx_int8"]
    text = json.dumps(describe_host())
    assert socket.gethostname() not in text
    assert "/" not in text.replace("https://", "")
    cpuinfo.write_text("model name\t: Old CPU\nflags\t\t: fpu avx2\n")
    assert not describe_host(cpuinfo)["vnni"]
