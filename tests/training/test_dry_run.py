"""The plan of a training: the counts of the real one, nothing written, and what would be refused is."""

import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from training_runs import OPTIONS, Never, shrunk
from unlabeled_data import build_dataset

from pneumo.dataset.table import SampleTable
from pneumo.distributed.partition import plan_waves
from pneumo.distributed.world import World
from pneumo.loading.cache_plan import CacheOptions
from pneumo.runtime.errors import UserError
from pneumo.synthetic.tree import SyntheticTree
from pneumo.training.consistency_config import ConsistencyConfig
from pneumo.training.cross_validation import train
from pneumo.training.dry_run import _busiest_unlabeled, _describe_device_cache, _describe_world, dry_run
from pneumo.training.inputs import TrainingInputs
from pneumo.training.resolution import resolve_auto
from pneumo.training.step_cost import Measured, measure

WORLD = World(rank=0, size=1, device=torch.device("cpu"), cores=1)


def inputs(dataset: Path, run: Path, folds: tuple[int, ...] = ()) -> TrainingInputs:
    return TrainingInputs(
        recipe=shrunk("winner"), dataset=dataset, run=run, folds=folds, expected=None, options=OPTIONS
    )


def measure_slowly(*arguments: Any, **options: Any) -> Measured:
    measured = measure(*arguments, **options)
    return replace(measured, costs=tuple(replace(cost, micro_batch_s=36.622) for cost in measured.costs))


def test_ranks_that_were_not_started_are_planned_for(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pneumo.training.dry_run.measure", measure_slowly)
    dry_run(inputs(dataset, tmp_path / "run"), WORLD, ranks=7)
    printed = capsys.readouterr().out
    assert "world      7 ranks on cpu in fp32, loader opencv" in printed
    assert "ranks 0-1: fold 0; 1 micro-batch of 2 in a step" in printed
    assert "ranks 2-3: fold 1; 1 micro-batch of 2 in a step" in printed
    assert "ranks 4-6: no fold, would shorten nothing; start 4 ranks" in printed
    assert " take 0.5 times one fold on one rank, at an efficiency of 57%: they do not divide evenly" in printed
    assert re.search(r"memory     [0-9.]+ GiB of the machine", printed)
    assert re.search(
        r"cache      decoded images at 32 px are kept after the first epoch: 0\.00 GiB of [0-9.]+ GiB", printed
    )
    assert re.search(r"^cache      .*; all 7 ranks on one machine$", printed, re.MULTILINE)
    assert re.search(r"time       about [0-9]+ (s|min [0-9]+ s) to train, [0-9]+ s for the test images", printed)
    assert "36.622 s for 2 images on a rank, 18 s each, " in printed
    assert not (tmp_path / "run").exists()


def test_what_would_be_copied_is_printed_and_not_free_for_decoded_images(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    reserved = []
    monkeypatch.setattr(
        "pneumo.training.dry_run.plan_stages", lambda *words, **more: reserved.append(more["reserved"]) or []
    )
    size = sum(path.stat().st_size for path in (dataset / "shards").glob("*.tar"))
    with tempfile.TemporaryDirectory(dir="/dev/shm") as cache:
        options = replace(OPTIONS, cache=CacheOptions(directory=Path(cache)))
        dry_run(replace(inputs(dataset, tmp_path / "run"), options=options), WORLD, ranks=1)
        assert f"\ncopy       to {cache}/datasets/" in capsys.readouterr().out
        assert list(Path(cache).iterdir()) == []
    assert reserved == [size]


def test_the_waves_are_printed_and_finished_folds_are_not_planned_again(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    waves = plan_waves(2, range(3), 2)
    recipe = resolve_auto(shrunk("winner"), WORLD.device)
    lines = [line.strip() for line in _describe_world(waves, recipe, WORLD)]
    assert lines[1:] == [
        "rank 0: fold 0; 2 micro-batches of 2 in a step",
        "rank 1: fold 1; 2 micro-batches of 2 in a step",
        "then ranks 0-1: fold 2; 1 micro-batch of 2 in a step",
        "3 folds with 2 micro-batches in a step take 1.5 times one fold on one rank, at an efficiency of 100%",
    ]
    train(replace(inputs(dataset, tmp_path / "run"), folds=(0,)), WORLD, Never())
    dry_run(inputs(dataset, tmp_path / "run"), WORLD, ranks=2)
    printed = capsys.readouterr().out
    assert "fold 0 finished, fold 1 not begun" in printed
    # As it was begun: on the rank that would have trained it beside fold 0.
    assert "rank 1: fold 1; 2 micro-batches of 2 in a step" in printed
    assert "1 rank of 2 without a fold that is left" in printed
    dry_run(inputs(dataset, tmp_path / "run", folds=(0,)), WORLD, ranks=2)
    printed = capsys.readouterr().out
    assert "nothing is left to train of the folds asked for" in printed
    assert "time       about 0 s to train" in printed


def test_the_unlabeled_images_of_the_busiest_rank_are_counted() -> None:
    recipe = replace(shrunk("debug"), batch_size=10, consistency=ConsistencyConfig(images=6))
    # Of 5 and 3 micro-batches: 5 and 3; 3 and 1; 2 and 1; 2 and 0; 1 and 1.
    assert [_busiest_unlabeled(recipe, ranks) for ranks in (1, 2, 3, 4, 5)] == [3, 1, 1, 0, 1]


def test_the_cache_of_a_gpu_is_planned_for_the_stage_that_needs_most(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pneumo.training.dry_run.GIB", 1)  # the number is then one of bytes
    table = SampleTable.read(dataset)
    train = table.select("train")
    recipe = replace(shrunk("winner"), loader="dali", image_size=(32, 2048, 64, 32))
    # At 2048 pixels no image is downsampled; the other sizes need less.
    depth = np.where(table.image_format[train] == "jpg", 1, 2)
    pixels = int((table.rows[train].astype(np.int64) * table.columns[train] * depth).sum())
    (line,) = _describe_device_cache(recipe, table, torch.device("cuda"))
    planned = float(line.split()[3])
    run_lengths = int(table.rle_bytes[train].sum())
    assert pixels <= planned <= pixels + run_lengths + 64 * len(train)
    assert "25% of its memory stays free" in line
    assert not list(_describe_device_cache(replace(recipe, loader="opencv"), table, torch.device("cuda")))
    assert not list(_describe_device_cache(recipe, table, torch.device("cpu")))


def test_the_cache_of_a_gpu_is_planned_for_unlabeled_images_too(
    synthetic: SyntheticTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pneumo.training.dry_run.GIB", 1)
    table = SampleTable.read(build_dataset(synthetic, tmp_path))
    off = replace(shrunk("debug"), loader="dali")
    on = replace(off, consistency=ConsistencyConfig(images=4))
    found = [next(_describe_device_cache(recipe, table, torch.device("cuda"))) for recipe in (off, on)]
    without, with_them = (float(line.split()[3]) for line in found)
    labeled, all_images = len(table.select("train")), len(table.select("train")) + len(table.select("unlabeled"))
    assert with_them / without == pytest.approx(all_images / labeled, rel=0.05)


@pytest.mark.parametrize("share", [0.0, 0.1])
def test_the_measured_steps_keep_decoded_images_as_the_training_would(
    share: float, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def build(*arguments: object, keep_decoded: bool, **options: object) -> NoReturn:
        asked.append(keep_decoded)
        raise UserError("a loader", "none", "stop here")

    monkeypatch.setattr("pneumo.training.step_cost.build_loader", build)
    options = replace(OPTIONS, cache=CacheOptions(share=share))
    with pytest.raises(UserError, match="a loader"):
        dry_run(replace(inputs(dataset, tmp_path / "run"), options=options), WORLD, ranks=1)
    assert asked == [share > 0]


def test_what_training_would_refuse_is_refused(dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--folds 5"):
        dry_run(inputs(dataset, tmp_path / "run", folds=(5,)), WORLD, ranks=1)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="has no recipe"):
        dry_run(inputs(dataset, tmp_path), WORLD, ranks=1)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]
