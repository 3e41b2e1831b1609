"""Sessions and the host description."""

import json
import socket

import numpy as np
import pytest
from onnx import TensorProto, helper

from components.core.errors import UserError
from components.core.runtime.fusion import integer_share
from components.core.runtime.host import describe_host
from components.core.runtime.sessions import SessionError, open_session


def test_bytes_and_path_open_the_same_model(toy_onnx):
    images = np.ones((1, 3, 32, 32), np.float32)
    from_path = open_session(toy_onnx).run(None, {"images": images})[0]
    from_bytes = open_session(toy_onnx.read_bytes()).run(None, {"images": images})[0]
    np.testing.assert_array_equal(from_path, from_bytes)


def test_a_missing_or_broken_file_is_one_clear_line(tmp_path):
    with pytest.raises(UserError, match=r"no ONNX file at .*absent.onnx"):
        open_session(tmp_path / "absent.onnx")
    (tmp_path / "broken.onnx").write_bytes(b"not a model")
    with pytest.raises(SessionError, match="onnxruntime cannot open") as caught:
        open_session(tmp_path / "broken.onnx")
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="threads"):
        open_session(tmp_path / "broken.onnx", threads=0)


@pytest.mark.parametrize("place", ["../outside.bin", "{folder}/outside.bin"])
def test_a_model_that_keeps_its_weights_in_a_file_elsewhere_is_not_opened(tmp_path, place):
    np.arange(4, dtype=np.float32).tofile(tmp_path / "outside.bin")
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL)
    for key, value in (("location", place.format(folder=tmp_path)), ("offset", "0"), ("length", "16")):
        weight.external_data.add(key=key, value=value)
    vector = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", vector[:1], vector[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path = tmp_path / "bundle" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(model.SerializeToString())
    for source in (path, path.read_bytes()):
        with pytest.raises(SessionError, match=r"External data path|[Aa]bsolute"):
            open_session(source)


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
