"""Integer operators of one graph and of several."""

from components.core.runtime.fusion import IntegerShare, added, integer_share


def share(**changes):
    values = {
        "convolutions": 1, "convolutions_total": 2, "products": 3, "products_total": 4, "operators": 5,
        "operators_total": 8, "floating": ("a",), "floating_operators": (("Conv", 1), ("Erf", 2)),
    }  # fmt: skip
    return IntegerShare(**(values | changes))


def test_counts_of_several_graphs_add_up():
    other = share(operators=7, operators_total=9, floating=("b", "c"), floating_operators=(("Add", 1), ("Erf", 1)))
    assert added([share(), other]) == IntegerShare(
        convolutions=2, convolutions_total=4, products=6, products_total=8, operators=12, operators_total=17,
        floating=("a", "b", "c"), floating_operators=(("Add", 1), ("Conv", 1), ("Erf", 3)),
    )  # fmt: skip
    assert added([share()]) == share()


def test_a_share_as_json_has_lists_and_counts_by_kind():
    assert share().to_json() == {
        "convolutions": 1, "convolutions_total": 2, "products": 3, "products_total": 4, "operators": 5,
        "operators_total": 8, "floating": ["a"], "floating_operators": {"Conv": 1, "Erf": 2},
    }  # fmt: skip


def test_of_a_float_network_no_operator_is_integer(toy_onnx):
    found = integer_share(toy_onnx)
    assert found.operators == 0
    assert found.operators_total == sum(number for _, number in found.floating_operators) >= 4
    assert found.convolutions_total == 2
