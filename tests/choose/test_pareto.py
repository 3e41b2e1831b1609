from hypothesis import given
from hypothesis import strategies as st

from components.core.choice.pareto import dominates, on_front

costs = st.lists(st.tuples(*[st.integers(0, 6)] * 3), min_size=1, max_size=12)


def test_front_of_five_models_worked_out_by_hand():
    # (lost points, relative latency, MB): the third is worse than the second everywhere, the fifth loses to the fourth.
    models = [(0.2, 0.60, 3.0), (0.8, 0.45, 2.2), (0.9, 0.50, 2.4), (3.0, 0.30, 1.5), (3.0, 0.31, 1.5)]
    assert on_front(models) == [True, True, False, True, False]


def test_a_model_that_is_best_in_size_only_stays_on_the_front():
    assert on_front([(0.0, 1.0, 9.0), (5.0, 2.0, 1.0)]) == [True, True]


def test_equal_models_do_not_push_each_other_off_the_front():
    assert on_front([(1.0, 1.0, 1.0), (1.0, 1.0, 1.0)]) == [True, True]


@given(costs)
def test_whatever_is_off_the_front_is_dominated_by_something_on_it(vectors):
    front = on_front(vectors)
    best = [vector for vector, kept in zip(vectors, front, strict=True) if kept]
    assert best
    for vector, kept in zip(vectors, front, strict=True):
        assert kept != any(dominates(other, vector) for other in best)
