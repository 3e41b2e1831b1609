"""Cost per million predictions, by hand, and where it is shown."""

import re

import pytest
from evaluation_documents import cost, evaluation, timing
from hypothesis import given
from hypothesis import strategies as st

from components.core.evaluation.blocks import cost_cells, cost_note
from components.core.evaluation.cost import cheapest, cost_per_million
from components.evaluate.page import write_evaluation_page


def test_a_million_rows_cost_their_core_hours_times_the_price():
    # 1,000 rows per second are 3.6 million an hour: a million takes 1/3.6 of an hour.
    assert cost_per_million(1000, threads=1, price_per_core_hour=0.036) == pytest.approx(0.01)
    # Two cores for as long cost twice as much.
    assert cost_per_million(1000, threads=2, price_per_core_hour=0.036) == pytest.approx(0.02)


@given(rate=st.floats(1e-3, 1e7), threads=st.integers(1, 128), price=st.floats(0, 1e4))
def test_it_is_the_price_of_the_seconds_that_a_million_rows_take(rate, threads, price):
    seconds = 1e6 / rate
    assert cost_per_million(rate, threads=threads, price_per_core_hour=price) == pytest.approx(
        seconds / 3600 * threads * price
    )


def test_the_batch_size_with_the_best_throughput_counts_for_each_model_alone():
    # 1,000 rows per second at batch 1, 800 at batch 32.
    small = cheapest([timing(1, 1.0), timing(32, 40.0)], 0.036)
    assert (small.batch, small.threads, small.rows_per_second) == (1, 1, 1000)
    assert small.per_million == pytest.approx(0.01)
    large = cheapest([timing(1, 1.0), timing(32, 16.0)], 0.036)
    assert (large.batch, large.rows_per_second) == (32, 2000)
    assert large.per_million == pytest.approx(0.005)


def test_both_models_stand_beside_each_other_with_what_it_is_of(tmp_path):
    priced = evaluation(cost=cost(0.036))
    # 320 and 1,600 images per second: 10⁶ / 320 s at 0.036 an hour.
    assert cost_cells(priced) == [("0.0312", "320 images/s at batch 32"), ("0.00625", "1,600 images/s at batch 32")]
    assert priced.cost.ratio == pytest.approx(5)
    assert "1 core at 0.036 per core and hour" in cost_note(priced)
    write_evaluation_page(tmp_path / "page.html", priced)
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", (tmp_path / "page.html").read_text()))
    assert "cost per million images 0.0312 320 images/s at batch 32 0.00625 1,600 images/s at batch 32 5.00×" in page
    assert "without energy" in page


def test_without_a_price_there_is_no_cost(tmp_path):
    assert (cost_cells(evaluation()), cost_note(evaluation())) == ([], "")
    write_evaluation_page(tmp_path / "page.html", evaluation())
    assert "cost per million" not in (tmp_path / "page.html").read_text()
