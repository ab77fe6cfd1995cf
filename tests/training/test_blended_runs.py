"""A blend is trained by one call: its runs, which a second call leaves alone, and their weighted mean."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plain_histograms import quantize
from training_runs import AfterSteps, Never, shrunk, training

from pneumo.dataset.manifest import Manifest
from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.world import World
from pneumo.inference import metrics
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.ensembler import Ensembler
from pneumo.loading.cache_plan import CacheOptions
from pneumo.masks.submission import read
from pneumo.runtime.errors import StopRequested, UserError
from pneumo.training import blended_runs, run_directory
from pneumo.training.blended_rule import ChosenRule, choose_rule
from pneumo.training.blended_runs import train_blend
from pneumo.training.ensemble import build_mean
from pneumo.training.inputs import TrainingInputs

WEIGHTS = (3.0, 1.0)


def members(dataset: Path, blend: Path) -> list[TrainingInputs]:
    first = replace(shrunk("debug"), min_component=2.0**20)
    second = replace(first, min_component=0.0, seed=1, keep="best", epochs=(2,), best_checkpoints=2)
    return [training(recipe, dataset, blend / name) for name, recipe in (("a", first), ("b", second))]


def modified(paths: Sequence[Path]) -> list[int]:
    return [path.stat().st_mtime_ns for path in paths]


@pytest.mark.slow
def test_a_stopped_blend_resumes_and_is_the_weighted_mean_of_its_runs(
    dataset: Path, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    blend = tmp_path / "blend"
    both = members(dataset, blend)
    with pytest.raises(StopRequested):
        train_blend(blend, both, WEIGHTS, world, AfterSteps(10))
    assert not (blend / "submission.csv").exists()
    finished = [blend / "a" / name for name in ("metrics.json", "submission.csv", "report.html")]
    before = modified(finished)
    train_blend(blend, both, WEIGHTS, world, Never())
    assert modified(finished) == before, "a finished run is left alone"

    runs = [run_directory.load(inputs.run) for inputs in both]
    reader = ShardReader(dataset, SampleTable.read(dataset))
    mean = build_mean(runs, WEIGHTS, reader=reader, world=world, workers=1)
    assert [run.weight for run in mean.runs] == [0.75, 0.25]
    limit = both[0].recipe.min_component
    chosen = choose_rule(runs, mean, "auto", limit)
    assert chosen.metrics is not None
    assert chosen.metrics.min_component == limit
    assert chosen.metrics == metrics.read(blend / "submission.metrics.json")
    assert chosen.metrics is not None
    # One network of each fold of the first run, two of the second.
    assert (chosen.metrics.networks, chosen.metrics.submission_networks) == (3, 6)
    rows = reader.table.select("test")
    expected = {p.image_id: p.rle for p in Ensembler(mean, chosen.rule, min_component=limit).run(rows)}
    assert dict(read(blend / "submission.csv")) == expected
    assert len(expected) == Manifest.read(dataset).test

    monkeypatch.setattr(blended_runs, "train", lambda *_: pytest.fail("a finished run was trained"))
    # Under a rule with small components, of which the first recipe keeps none.
    bins: list[np.ndarray] = []
    Ensembler(mean, chosen.rule).run(rows, lambda image: bins.append(quantize(image.probability)))
    threshold = int(np.quantile(np.concatenate(bins, axis=None), 0.9))
    rule = DecisionRule(threshold, 0.0, threshold)
    assert any(p.rle != "-1" for p in Ensembler(mean, rule).run(rows))
    monkeypatch.setattr(blended_runs, "choose_rule", lambda *_: ChosenRule(rule, chosen.metrics))
    # By the dataset's URL, whose runs are as finished as by its path.
    cache = CacheOptions(directory=tmp_path / "cache")
    by_url = [
        replace(one, dataset=Path(f"file://{dataset}"), options=replace(one.options, cache=cache)) for one in both
    ]
    train_blend(blend, by_url, WEIGHTS, world, Never())
    assert set(dict(read(blend / "submission.csv")).values()) == {"-1"}
    assert list((tmp_path / "cache").iterdir()), "read where it is"
    with (blend / "submission.csv").open("a") as file:
        file.write("corrected,-1\n")
    with pytest.raises(UserError, match=r"--run would replace .*submission.csv, which was changed since"):
        train_blend(blend, both, WEIGHTS, world, Never())
    (blend / "submission.csv").unlink()
    other = [replace(both[0], recipe=replace(both[0].recipe, seed=7)), both[1]]
    with pytest.raises(UserError, match="seed: 0 -> 7"):
        train_blend(blend, other, WEIGHTS, world, Never())


def test_the_directory_of_a_run_is_refused(dataset: Path, tmp_path: Path, world: World) -> None:
    (tmp_path / "recipe.json").write_text("{}")
    with pytest.raises(UserError, match="is a run of a single recipe; expected the directory of a blend"):
        train_blend(tmp_path, members(dataset, tmp_path), WEIGHTS, world, Never())


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("notes.txt", "mine", "notes.txt is not of this blend; expected a new or empty directory"),
        ("submission.csv", "ImageId,EncodedPixels\nx,-1\n", "would replace .*submission.csv, which has no record"),
        ("submission.metrics.json", '{"mine": 1}', "would replace .*metrics.json, which is no earlier result"),
    ],
)
def test_a_directory_with_files_of_the_user_s_is_refused_before_training(
    name: str, text: str, message: str, dataset: Path, tmp_path: Path, world: World
) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UserError, match=message):
        train_blend(tmp_path, members(dataset, tmp_path), WEIGHTS, world, Never())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == text
