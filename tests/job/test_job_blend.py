"""A blend as a user trains it: one command, four runs, and the submission of their weighted mean."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from job_commands import JOB, SMALL_NETWORK, run

WEIGHTS = {"winner-resnet34-even": 0.4, "winner-resnet34": 0.2, "winner-se_resnext50": 0.2, "winner-resnet50": 0.2}
"""Those of the 1st place's final submission."""
TERMS = {
    "winner-resnet34-even": (1, 1, 1),
    "winner-resnet34": (3, 1, 4),
    "winner-se_resnext50": (3, 1, 4),
    "winner-resnet50": (2, 1, 2),
}
"""Weights of BCE, Dice and focal loss."""
SMALL = ["--epochs", 1, "--image-size", 32, "--positive-rate", 0.5, "--learning-rate", 1e-3, "--schedule", "cosine"]
SMALL += ["--patience", 0, "--best-checkpoints", 1, "--batch-size", 4, "--micro-batch-size", 4]
SMALL += [*SMALL_NETWORK, "--model.encoder-weights", "none", "--model.attention", "none", "--min-component", 0]


@pytest.mark.slow
def test_one_command_trains_the_winner_s_four_experiments_and_blends_them(
    dataset: Path, tmp_path: Path, call_on_one_core: Callable[..., tuple[object, str]]
) -> None:
    blend = tmp_path / "blend"
    words = [JOB / "train.py", "--recipe", "winner-blend", "--dataset", dataset, "--run", blend, *SMALL]
    code, output = run(words)
    assert code == 0, output
    assert {path.name for path in blend.iterdir() if path.is_dir()} == {*WEIGHTS, "logs"}
    for name, terms in TERMS.items():
        recipe = json.loads((blend / name / "recipe.json").read_text())["recipe"]
        assert recipe["name"] == name
        assert tuple(recipe["loss"][term] for term in ("bce", "dice", "focal")) == terms
        assert (blend / name / "metrics.json").is_file()
        assert (blend / name / "submission.csv").is_file()

    written = (blend / "submission.csv").read_bytes(), (blend / "submission.metrics.json").read_bytes()
    of_mean = json.loads(written[1])
    assert [Path(each["run"]).name for each in of_mean["runs"]] == list(WEIGHTS)
    assert [each["weight"] for each in of_mean["runs"]] == pytest.approx(list(WEIGHTS.values()))
    flags = ["--runs", *(blend / name for name in WEIGHTS), "--weights", *WEIGHTS.values()]
    code, output = call_on_one_core("ensemble", *flags, "--dataset", dataset, "--out", tmp_path / "same.csv")
    assert code == 0, output
    assert ((tmp_path / "same.csv").read_bytes(), (tmp_path / "same.metrics.json").read_bytes()) == written
    code, output = run(words)
    assert code == 0, output
    assert output.count("is finished") == 4
    assert (blend / "submission.csv").read_bytes() == written[0]
