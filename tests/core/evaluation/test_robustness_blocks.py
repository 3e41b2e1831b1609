"""What a page says of robustness: both models, every corruption, and no more than the interval allows."""

import re
from dataclasses import replace

import pytest
from evaluation_documents import evaluation, robustness

from components.core.evaluation.robustness_blocks import robustness_blocks, robustness_callout
from components.core.report.page import Section, render_page
from components.evaluate.page import write_evaluation_page


def text(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html.partition("<body")[2]))


def test_every_corruption_and_severity_of_both_models_stands_in_the_table():
    shown = text(
        render_page("x", [Section("", robustness_blocks(evaluation(robustness=robustness()), candidate="release"))])
    )
    for corruption in ("gaussian noise", "JPEG"):
        # The release, below it the baseline: 90 % less 3 and 2 points per severity.
        assert f"{corruption} 87.0 % 88.0 % 84.0 % 86.0 % 81.0 % 84.0 % 6.00 points 4.00 points" in shown
    assert "mean 6.00 points 4.00 points" in shown
    assert "on 200 images of the test split; undamaged 90.0 % and 90.0 %" in shown
    assert "Images are corrupted at 224 px." in shown
    assert "Top-1 by severity" in shown


@pytest.mark.parametrize(
    ("low", "high", "title", "tone"),
    [
        (-3.5, -0.5, "Compression cost robustness", "warn"),
        (-3.5, 0.5, "No difference in robustness can be told", "info"),
        (0.5, 3.5, "The release is more robust than the baseline", "good"),
        (None, None, "Too few images to tell whether compression cost robustness", "info"),
    ],
)
def test_the_callout_claims_what_the_interval_excludes(low, high, title, tone):
    found = robustness(low=low, high=high)
    callout = robustness_callout(evaluation(), found, candidate="release")
    assert (callout.title, callout.tone) == (title, tone)
    told = "" if low is None else f" (95% interval {low:+.2f} to {high:+.2f})".replace("-", "−")
    assert callout.body == (
        "Corrupted images cost the release 6.00 points on average and the baseline 4.00 points: "
        f"−2.00 points{told} for the release."
    )


def test_a_value_that_is_not_known_is_a_dash_and_no_zero():
    found = robustness(points=None, low=None, high=None)
    unknown = replace(found.corrupted[0], candidate=None, candidate_drop=None)
    holed = replace(found, corrupted=(unknown, *found.corrupted[1:]), candidate_drop=None)
    shown = text(render_page("x", [Section("", robustness_blocks(evaluation(robustness=holed)))]))
    assert "gaussian noise – 88.0 % 84.0 %" in shown
    assert "cost the candidate – on average" in shown


def test_the_evaluation_page_has_the_section_only_where_it_was_measured(tmp_path):
    for asked in (None, robustness()):
        write_evaluation_page(tmp_path / "page.html", evaluation(robustness=asked))
        page = (tmp_path / "page.html").read_text()
        assert ("<h2>Robustness</h2>" in page) is (asked is not None)
        assert ("Compression cost robustness" in page) is (asked is not None)
