"""What is changed and which tests are run; cosmic-ray itself runs on demand."""

import re
from pathlib import Path

import pytest
from mutate import ROOT, UNLIKELY, mirrored_tests


@pytest.mark.parametrize(
    ("module", "tests"),
    [
        ("inference/decision_rule", ["inference/test_decision_rule"]),
        ("dicom/encodings/rle", ["dicom/encodings/test_encoding_rle"]),
        ("inference/build", ["inference/test_inference_build"]),
        ("dataset/paths", []),
    ],
)
def test_a_modules_tests_are_the_mirrored_ones(module: str, tests: list[str]) -> None:
    assert mirrored_tests(Path(f"pneumo/{module}.py"), ROOT) == [f"tests/{test}.py" for test in tests]


def test_changes_of_scale_sign_and_edge_are_tried() -> None:
    def is_tried(operator: str) -> bool:
        return not any(re.match(pattern, f"core/{operator}") for pattern in UNLIKELY)

    tried = (
        "ReplaceComparisonOperator_GtE_Gt",
        "ReplaceComparisonOperator_Gt_GtE",
        "ReplaceComparisonOperator_Lt_LtE",
        "ReplaceComparisonOperator_LtE_Lt",
        "ReplaceBinaryOperator_Mul_Div",
        "ReplaceBinaryOperator_Add_Sub",
        "ReplaceUnaryOperator_USub_UAdd",
        "NumberReplacer",
        "AddNot",
        "ReplaceAndWithOr",
    )
    assert all(map(is_tried, tried))
    assert not is_tried("ReplaceBinaryOperator_Mul_BitXor")
    assert not is_tried("ReplaceComparisonOperator_GtE_IsNot")
