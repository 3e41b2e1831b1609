"""Which runtime a release is to be served with, and how the runtimes are shown."""

import json

import pytest
from evaluation_documents import evaluation, onnxruntime, runtime, speedup

from components.core.errors import UserError
from components.core.evaluation.document import Evaluation, RuntimeFigures, Speedup, encode_evaluation
from components.core.evaluation.runtime_blocks import recommended, runtime_blocks, runtime_sentence, runtime_table
from components.evaluate.page import write_evaluation_page

FIRST = onnxruntime()


def at_batch_1(ratio: float, low: float, high: float) -> tuple[Speedup, ...]:
    return (Speedup(batch=1, ratio=ratio, low=low, high=high, pairs=8), speedup(32, 9.0))


@pytest.mark.parametrize(
    ("others", "name", "said"),
    [
        (
            [runtime()],
            "OpenVINO",
            "Serve with OpenVINO: it is 1.50× as fast at batch 1 here (A CPU) as onnxruntime (1.47× to 1.53×). The "
            "figures of quality are onnxruntime's.",
        ),
        ([runtime(), runtime("bf16", speedups=at_batch_1(1.6, 1.55, 1.65))], "bf16", "Serve with bf16: it is 1.60×"),
        # Batch 32 does not decide.
        (
            [runtime(speedups=at_batch_1(0.5, 0.4, 0.625))],
            "onnxruntime",
            "Serve with onnxruntime: it is 2.00× as fast at batch 1 here (A CPU) as OpenVINO (1.60× to 2.50×).",
        ),
        (
            [runtime(speedups=at_batch_1(1.01, 0.99, 1.03))],
            "onnxruntime",
            "Serve with onnxruntime: OpenVINO cannot be told to be faster at batch 1 here (A CPU) "
            "(0.99× to 1.03× as fast).",
        ),
        (
            [runtime(speedups=at_batch_1(9.0, 8.9, 9.1), computes_the_same=False, difference=0.3)],
            "onnxruntime",
            "Serve with onnxruntime: nothing else was measured here (A CPU) that computes the same.",
        ),
        (
            [runtime(latency=(), speedups=(), computes_the_same=False, refused="it cannot")],
            "onnxruntime",
            "Serve with onnxruntime: nothing else was measured here (A CPU) that computes the same.",
        ),
    ],
    ids=["faster", "the fastest", "slower", "cannot be told", "computes something else", "refused"],
)
def test_the_fastest_that_computes_the_same_is_recommended(others: list[RuntimeFigures], name: str, said: str) -> None:
    assert recommended([FIRST, *others]).name == name
    assert runtime_sentence([FIRST, *others], "A CPU").startswith(said)


def test_the_table_has_a_row_per_runtime_with_what_was_measured() -> None:
    wrong = runtime("Wrong", computes_the_same=False, difference=0.3, agreement=0.5)
    no_numbers = runtime("NaN", computes_the_same=False, difference=None)
    refused = runtime("Old", latency=(), speedups=(), computes_the_same=False, refused="Old cannot open model.onnx")
    columns, rows = runtime_table([FIRST, runtime(), wrong, no_numbers, refused], "images")
    assert columns == ["runtime", "version", "latency, batch 1", "throughput, batch 32", "answers"]
    assert rows[0] == ["onnxruntime", "1.32", "1.50 ms", "1,000 images/s", "those that were evaluated"]
    assert rows[1] == [
        "OpenVINO",
        "2026.4",
        "1.00 ms (1.50× as fast)",
        "2,000 images/s (2.00× as fast)",
        "the same but for rounding: largest difference 1.20 % of the largest output; the same decision in 99.20 % of "
        "128 images",
    ]
    assert rows[2][-1].startswith("computes something else: largest difference 30.00 % of the largest output")
    assert rows[3][-1] == "computes something else: no numbers"
    assert rows[4] == ["Old", "2026.4", "–", "–", "not measured: Old cannot open model.onnx"]


def test_where_nothing_was_timed_the_table_has_no_such_columns() -> None:
    columns, rows = runtime_table([runtime(latency=(), speedups=())], "images")
    assert columns == ["runtime", "version", "answers"]
    assert len(rows[0]) == 3


def test_the_page_shows_them_and_is_as_before_without(tmp_path) -> None:
    def page(document: Evaluation) -> str:
        write_evaluation_page(tmp_path / "page.html", document)
        return (tmp_path / "page.html").read_text()

    shown = page(evaluation(runtimes=(FIRST, runtime())))
    assert "Serve with OpenVINO: it is 1.50× as fast at batch 1 here (A CPU @ 2.0 GHz)" in shown
    assert "2,000 images/s (2.00× as fast)" in shown
    assert "Runtimes" not in page(evaluation())
    assert runtime_blocks(evaluation()) == []


def test_the_document_has_the_field_only_where_there_is_something_to_tell() -> None:
    alone, both = evaluation(), evaluation(runtimes=(FIRST, runtime()))
    assert "runtimes" not in json.loads(encode_evaluation(alone))
    assert Evaluation.from_json(json.loads(encode_evaluation(alone))) == alone
    assert Evaluation.from_json(json.loads(encode_evaluation(both))) == both
    document = both.to_json()
    del document["runtimes"][1]["difference"]
    with pytest.raises(UserError, match=r"runtimes\[1\] has no 'difference'"):
        Evaluation.from_json(document)
