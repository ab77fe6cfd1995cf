"""Worlds of any size, and ranks that see different states of a shared file system: the same results."""

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import safetensors.torch
import torch
from job_commands import JOB, RECIPE, launch, run, train, warm
from torch.distributed.run import get_args_parser

from pneumo.training.recipe import Recipe

BLIND = """
import builtins, io, os
HIDDEN = ("recipe.json", "fold.json", "metrics.json", "thresholds.json", "dataset.json", "samples.parquet")
def hide(function):
    def wrapper(path, *arguments, **options):
        if isinstance(path, (str, os.PathLike)) and os.path.basename(os.fspath(path)) in HIDDEN:
            raise FileNotFoundError(2, "not seen by this rank yet", str(path))
        return function(path, *arguments, **options)
    return wrapper
if os.environ.get("RANK") == "1":
    os.stat, builtins.open, io.open = hide(os.stat), hide(builtins.open), hide(io.open)
"""
"""For sitecustomize.py: rank 1 does not see the files by which it could decide what to do next."""


@pytest.mark.slow
def test_a_rank_that_sees_an_older_state_of_the_file_system_does_what_the_leader_does(
    dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "sitecustomize.py").write_text(BLIND)
    blind = ["env", f"PYTHONPATH={tmp_path}:{JOB.parent}", *launch(2)]
    directory = tmp_path / "run"
    # Rank 1 is not the leader of a fold, which writes its files.
    for fold in (0, 1):
        assert "ranks 0-1: fold" in train(dataset, directory, "--folds", fold, launcher=blind)
    # All folds are finished: what is left is done by both.
    assert "epoch" not in train(dataset, directory, launcher=blind)
    for name, launcher in (("blind", blind), ("alone", warm())):
        words = ["--runs", directory, "--dataset", dataset, "--out", tmp_path / f"{name}.csv", "--wait", 5]
        code, output = run([JOB / "ensemble.py", *words], launcher=launcher)
        assert code == 0, output
        assert (tmp_path / f"{name}.csv").read_bytes() == (directory / "submission.csv").read_bytes()
    # What the leader refuses is refused by all.
    code, output = run([JOB / "train.py", "--dataset", tmp_path, "--run", directory, *RECIPE], launcher=blind)
    assert code == 2, output
    assert output.count("ERROR") == 2
    assert "no longer responds" not in output


@pytest.mark.slow
def test_more_ranks_than_can_train_are_said_and_take_part_in_the_predictions(
    alone: Path, dataset: Path, tmp_path: Path
) -> None:
    # A step of the recipe has 2 micro-batches: each of 2 folds can use 2 ranks.
    directory = tmp_path / "run"
    output = train(dataset, directory, "--folds", 0, launcher=launch(3))
    assert "2 of 3 ranks train: the other 1 would not shorten the training of 1 fold " in output
    assert "which uses at most 2 ranks; they wait, and take part in the predictions at the end" in output
    assert re.search(r"3 ranks on cpu in fp32, .*; ranks 0-1: fold 0\n", output)
    histories = [json.loads((path / "fold-0" / "fold.json").read_text())["history"] for path in (directory, alone)]
    for ours, single in zip(*histories, strict=True):
        assert ours["train/total"] == pytest.approx(single["train/total"], rel=1e-3)
    output = train(dataset, directory, launcher=launch(3))
    assert "ranks train" not in output
    assert (directory / "submission.csv").is_file()


@pytest.mark.parametrize(
    ("variable", "flags", "what"),
    [
        ("", ["--use_fsdp"], "FSDP"),
        # With its flag, accelerate sets the variable for DeepSpeed alone, which is not installed here.
        ("ACCELERATE_GRADIENT_ACCUMULATION_STEPS=4", [], "4 steps of gradient accumulation"),
    ],
)
def test_what_accelerate_is_asked_for_and_is_not_done_is_refused(
    variable: str, flags: list[str], what: str, dataset: Path, tmp_path: Path
) -> None:
    launcher = ["env", *filter(None, [variable]), *warm(), "-m", "accelerate.commands.launch", "--num_processes", "1"]
    launcher += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", *flags]
    words = [JOB / "train.py", "--dataset", dataset, "--run", tmp_path / "run", *RECIPE]
    code, output = run(words, launcher=launcher)
    # accelerate's own code, whatever that of the rank was.
    assert code == 1, output
    assert f"accelerate launch was asked for {what}, which the ranks of a fold do not use" in output
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train", "ensemble"])
def test_torchrun_takes_flags_after_the_script_for_its_own_unless_two_dashes_are_before_it(
    command: str, load_command: Callable[[str], ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    fields = [field.name for part in (load_command(command).Arguments, Recipe) for field in dataclasses.fields(part)]
    refused = []
    for flag in sorted({f"--{name.replace('_', '-')}" for name in fields}):
        words = [f"job/{command}.py", flag, "value"]
        assert get_args_parser().parse_args(["--nproc_per_node", "2", "--", *words]).training_script_args == words[1:]
        try:
            parsed = get_args_parser().parse_args(["--nproc_per_node", "2", *words])
            assert parsed.training_script_args == words[1:]
        except SystemExit:
            refused.append(flag)
    # job/README.md says so of the first one. No name beside --run would help those who type --run. Later releases of
    # Python 3.12 and 3.13 look for ambiguities in torchrun's own flags alone.
    assert refused in ([["--run"], []] if command == "train" else [[]])
    if refused:
        assert "ambiguous option: --run could match --run-path, --run_path" in capsys.readouterr().err


LARGE_STEPS = ["--batch-size", 16, "--learning-rate", 1e-5]
"""Steps of 8 micro-batches: 8 ranks can train each fold. At a low rate, rounding does not grow much in two steps."""


@pytest.fixture(scope="module")
def one_rank(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("runs") / "one_rank"
    train(dataset, directory, *LARGE_STEPS)
    return directory


def check_equal_training(fold: Path, other: Path) -> None:
    """Compare the losses, the statistics of the batches, and the weights, which the two steps move by 1e-4 of them."""
    histories = [json.loads((path / "fold.json").read_text())["history"] for path in (fold, other)]
    for epoch, expected in zip(*histories, strict=True):
        assert epoch["train/total"] == pytest.approx(expected["train/total"], rel=1e-5)
    found, known = (safetensors.torch.load_file(path / "model.safetensors") for path in (fold, other))
    torch.testing.assert_close(found, known, rtol=2e-3, atol=2e-4)
    moved = [name for name in known if known[name].is_floating_point() and "running" not in name]
    difference = torch.cat([(found[name] - known[name]).flatten() for name in moved])
    assert difference.norm() < 1e-6 * torch.cat([known[name].flatten() for name in moved]).norm()


@pytest.mark.slow
def test_many_ranks_train_what_one_does_and_predict_it_to_the_byte(
    one_rank: Path, dataset: Path, tmp_path: Path
) -> None:
    """Each of 16 with one micro-batch, and two more that wait."""
    directory = tmp_path / "run"
    output = train(dataset, directory, *LARGE_STEPS, launcher=launch(18))
    assert "18 ranks on cpu in fp32, " in output
    assert "; ranks 0-7: fold 0; ranks 8-15: fold 1\n" in output
    assert "16 of 18 ranks train: the other 2 would not shorten" in output.partition("epoch 1")[0]
    for fold in (0, 1):
        check_equal_training(directory / f"fold-{fold}", one_rank / f"fold-{fold}")
    # With the weights of one rank, all ranks together predict what it has predicted.
    for fold in (0, 1):
        shutil.copytree(one_rank / f"fold-{fold}", directory / f"fold-{fold}", dirs_exist_ok=True)
    products = ("oof.parquet", "oof.csv", "thresholds.json", "submission.csv")
    for name in (*products, "metrics.json"):
        (directory / name).unlink()
    train(dataset, directory, *LARGE_STEPS, launcher=launch(18))
    for name in products:
        assert (directory / name).read_bytes() == (one_rank / name).read_bytes(), name
