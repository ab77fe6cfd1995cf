from pathlib import Path

import pytest

from pneumo.runtime.errors import UserError
from pneumo.training.recipes import best, debug
from pneumo.training.variants import read_variants

FIRST = "base: --recipe debug\n"


def read(tmp_path: Path, text: str) -> list[tuple[str, str]]:
    path = tmp_path / "variants.txt"
    path.write_text(text)
    return [(variant.name, variant.flags) for variant in read_variants(path)]


def test_each_line_is_a_recipe_of_job_train(tmp_path: Path) -> None:
    path = tmp_path / "variants.txt"
    path.write_text(
        "\ufeff# why\n\n  base:--recipe debug  \n"
        "dice.all_1-b: --recipe=debug --loss.dice-on all --epochs 2 3 --no-channels-last\nother:\n"
    )
    base, changed, other = read_variants(path)
    assert (base.name, base.flags, base.recipe) == ("base", "--recipe debug", debug())
    assert changed.name == "dice.all_1-b"
    assert (changed.recipe.name, changed.recipe.loss.dice_on, changed.recipe.epochs) == ("debug", "all", (2, 3))
    assert not changed.recipe.channels_last
    assert (other.flags, other.recipe) == ("", best())
    assert (other.seeded(7).seed, other.seeded(7).model) == (7, best().model)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no variant"),
        (FIRST, "has one variant"),
        (f"{FIRST}b: --loss.dise 1\n", "line 2, variant b: Unrecognized options: --loss.dise, 1; expected flags of a"),
        (f"{FIRST}\n\nb: --tta vflip\n", "line 4, variant b: invalid choice 'vflip' for argument '--tta'"),
        (f"{FIRST}b: --epochs x\n", "line 2, variant b: Error parsing --epochs"),
        (f"{FIRST}b: --epochs 0\n", "line 2, variant b: --epochs 0; expected 1 to 100000"),
        (f"{FIRST}b: --batch-size 3\n", "line 2, variant b: --micro-batch-size 4; expected 1 to --batch-size 3"),
        (f"{FIRST}b: stray\n", "line 2, variant b: Unrecognized options: stray"),
        (f"{FIRST}b: --help\n", "line 2, variant b: --help; expected flags of a recipe"),
        (f"{FIRST}b: --version\n", "line 2, variant b: --version; expected flags of a recipe"),
        (f"{FIRST}b: --folds 0\n", "line 2, variant b: Unrecognized options: --folds, 0"),
        (f"{FIRST}b: --seed 1\n", "line 2, variant b: --seed; expected the same seeds for all variants: --seeds"),
        (f"{FIRST}b: --seed=1\n", "line 2, variant b: --seed; expected"),
        (f"{FIRST}b: --recipe nope\n", "line 2, variant b: --recipe nope; expected one of debug"),
        (f"{FIRST}b: --lr 1\n", "line 2, variant b: --lr is no flag of job/train.py; expected --learning-rate"),
        (f"{FIRST}b: --loss.empty 1\n", "line 2, variant b: --loss.empty is no longer a flag of job/train.py"),
        (f"{FIRST}b: --epochs '2\n", "line 2, variant b: No closing quotation"),
        (f"{FIRST}base: --recipe demo\n", "line 2, variant base is there twice; expected a name of its own"),
        (f"{FIRST}Base: --recipe demo\n", "line 2, variant Base is there twice"),
        (f"{FIRST}b: --recipe debug --seed-x\n", "line 2, variant b: Unrecognized options: --seed-x"),
        (f"{FIRST}b: --epochs 1 --recipe debug\n", "line 2, variant b has the same recipe as base"),
        (f"{FIRST}b: --pseudo-labels.share 2\n", "line 2, variant b: --pseudo-labels.share 2.0; expected"),
        (f"{FIRST}--recipe demo\n", "line 2: --recipe demo; expected NAME: FLAGS"),
        (f"{FIRST}a/b: --recipe demo\n", "line 2: a/b: --recipe demo; expected NAME: FLAGS"),
        (f"{FIRST}..: --recipe demo\n", "line 2: ..: --recipe demo; expected NAME: FLAGS"),
        (f"{FIRST}{'x' * 61}: --recipe demo\n", "expected NAME: FLAGS"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, text: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError) as error:
        read(tmp_path, text)
    assert message in str(error.value)
    assert str(error.value).isprintable()
    assert capsys.readouterr() == ("", "")


def test_all_wrong_lines_are_named_at_once(tmp_path: Path) -> None:
    text = f"{FIRST}b: --epochs 0\nc: --recipe demo\nd: --loss.dise 1\nc: --epochs 3\n"
    with pytest.raises(UserError) as error:
        read(tmp_path, text)
    message = str(error.value)
    assert ": 3 mistakes: " in f": {message}"
    for mistake in (
        "line 2, variant b: --epochs 0 (expected 1 to 100000)",
        "line 4, variant d: Unrecognized options: --loss.dise, 1 (expected flags of a recipe",
        "line 5, variant c is there twice (expected a name of its own",
    ):
        assert mistake in message


def test_a_variant_may_have_a_teacher(tmp_path: Path) -> None:
    path = tmp_path / "variants.txt"
    share = "--recipe debug --pseudo-labels.share 0.2"
    path.write_text(f"base: --recipe debug\ntaught: {share} --teacher runs/a\nother: {share} --teacher runs/b\n")
    assert [variant.teacher for variant in read_variants(path)] == [None, Path("runs/a"), Path("runs/b")]
    path.write_text(f"taught: {share} --teacher runs/a\nother: {share} --teacher runs/a\n")
    with pytest.raises(UserError, match="line 2, variant other has the same recipe as taught"):
        read_variants(path)


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"caf\xe9: --recipe debug\n")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(1 << 30)
    for name, message in (("missing", "No such file"), ("latin", "is not UTF-8"), ("large", "has more than 1048576")):
        with pytest.raises(UserError, match=message):
            read_variants(tmp_path / name)
    with pytest.raises(UserError, match="Is a directory"):
        read_variants(tmp_path)
