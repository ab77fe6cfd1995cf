"""The registry of terms: the flags of their weights and options, and the functions that it names."""

from pneumo.modeling.losses.loss import FUNCTIONS, SUMS
from pneumo.modeling.losses.registry import TERMS, LossConfig


def test_the_table_lists_the_weights_and_no_options() -> None:
    assert {"bce", "dice", "focal", "presence"} <= set(TERMS)
    assert ("total", *TERMS) == SUMS
    options = {option for term in TERMS.values() for option in term.options}
    assert (
        {"bce_border", "dice_on", "dice_over", "focal_gamma"}
        <= options
        == LossConfig.__dataclass_fields__.keys() - set(TERMS)
    )  # type: ignore[attr-defined]


def test_each_term_names_its_function() -> None:
    assert FUNCTIONS.keys() == TERMS.keys()
    for name, term in TERMS.items():
        assert term.function == f"{FUNCTIONS[name].__module__}.{FUNCTIONS[name].__name__}"
