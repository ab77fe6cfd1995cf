"""What is changed and which tests are run; cosmic-ray itself runs on demand."""

from pathlib import Path

import pytest
from changes import OPERATORS, Change, sample
from mutate import NOTICED, ROOT, SURVIVED, keep, mirrored_tests, noticed

MODULE = Path("pneumo/inference/decision_rule.py")


def change(number: int) -> Change:
    return Change(MODULE, f"x = {number}\n", 1, f"-x = 0\n+x = {number}")


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


def test_a_larger_sample_contains_a_smaller_one_and_another_seed_draws_others() -> None:
    every = [change(number) for number in range(1, 40)]
    drawn = sample(every, 10, 0)
    assert sample(every, 20, 0)[:10] == drawn
    assert sample(every, 10, 1) != drawn
    assert len({one.digest for one in sample(every, None, 0)}) == 39


def test_a_log_tells_what_need_not_be_tried_again(tmp_path: Path) -> None:
    log = tmp_path / "outcomes.jsonl"
    assert noticed(log) == noticed(None) == set()
    for number, outcome in ((1, NOTICED), (2, SURVIVED), (3, SURVIVED), (3, NOTICED)):
        keep(log, change(number), outcome)
    assert noticed(log) == {change(1).digest, change(3).digest}
    assert len(log.read_text().splitlines()) == 4


def test_scales_signs_edges_and_conditions_are_changed() -> None:
    tried = (
        *("NumberReplacer", "ReplaceBinaryOperator_Mul_Div", "ReplaceBinaryOperator_Add_Sub"),
        *("ReplaceComparisonOperator_GtE_Gt", "ReplaceComparisonOperator_Lt_LtE"),
        *("ReplaceUnaryOperator_USub_UAdd", "AddNot", "ReplaceAndWithOr"),
    )
    assert set(tried) <= set(OPERATORS)


def test_each_change_is_of_one_line_and_of_the_mathematics(tmp_path: Path) -> None:
    pytest.importorskip("cosmic_ray")
    from changes import changes

    (tmp_path / "module.py").write_text(
        "@dataclass(frozen=True)\nclass A:\n    def f(self, x: int | None, *, y: bool) -> int:\n        return -x * 2\n"
    )
    found = [" ".join(one.diff.splitlines()[-1].split()) for one in changes(tmp_path, Path("module.py"))]
    assert sorted(found) == ["+ return +x * 2", "+ return -x * 1", "+ return -x * 3", "+ return -x / 2"]
