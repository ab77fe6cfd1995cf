import json
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import pytest
import safetensors.torch
from finished_runs import finish_folds, tiny_recipe

from pneumo.dataset.shard_reader import ShardReader
from pneumo.dataset.table import SampleTable
from pneumo.distributed.world import World
from pneumo.inference import metrics, onnx_export
from pneumo.inference.decision_rule import read_rule
from pneumo.modeling import weight_files
from pneumo.runtime import locks
from pneumo.runtime.errors import UserError
from pneumo.training import exported_model
from pneumo.training.export import export_run
from pneumo.training.run_directory import RunDirectory
from pneumo.training.run_metrics import finish_run


@pytest.fixture(scope="module")
def reader(dataset: Path) -> ShardReader:
    return ShardReader(dataset, SampleTable.read(dataset))


@pytest.fixture(scope="module")
def run(dataset: Path, reader: ShardReader, world: World, tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    excluded = {str(reader.table.image_id[0]): "cut short"}
    run = finish_folds(tmp_path_factory.mktemp("runs") / "run", dataset, world, excluded=excluded)
    finish_run(run, world, reader, workers=1)
    return run


def files(directory: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in directory.iterdir()}


def test_it_holds_what_the_run_has_and_twice_the_same_bytes(run: RunDirectory, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export_run(run, tmp_path / name, reader=None, onnx=False)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    model = exported_model.load(tmp_path / "one")
    assert model.recipe == run.recipe
    assert read_rule(model.thresholds) == read_rule(run.thresholds)
    assert metrics.read(model.metrics).nested == metrics.read(run.metrics).nested
    for fold, weights in enumerate(model.weights):
        assert weights.path.read_bytes() == run.fold(fold).model.read_bytes()
    assert {entry.name for entry in tmp_path.iterdir()} == {"one", "two"}


def test_the_card_has_the_figures_of_the_metrics_and_of_the_subgroups(
    run: RunDirectory, reader: ShardReader, tmp_path: Path
) -> None:
    export_run(run, tmp_path / "model", reader=reader, onnx=False)
    card = (tmp_path / "model" / "model_card.md").read_text()
    found = metrics.read(run.metrics)
    assert f"| nested | {found.nested.dice:.3f} (" in card
    assert f"| in-sample | {found.in_sample.dice:.3f} |" in card
    assert f"| every image empty | {found.dice_all_empty:.3f} |" in card
    assert run.dataset.digest in card
    table = reader.table.exclude(run.dataset.excluded)
    train = table.select("train")
    for sex in ("F", "M"):
        images = train[table.sex[train] == sex]
        assert f"| {sex} | {len(images)} | {int(table.positive[images].sum())} |" in card
    assert "By lesion, positive images alone" in card
    assert "not measured (`job/export.py" not in card


def test_no_image_is_named(run: RunDirectory, reader: ShardReader, tmp_path: Path) -> None:
    old = metrics.read(run.metrics)
    (excluded,) = run.dataset.excluded
    metrics.write(run.metrics, replace(old, caveats=[f"excluded, neither trained on nor scored: ({excluded})"]))
    export_run(run, tmp_path / "model", reader=reader, onnx=False)
    metrics.write(run.metrics, old)
    content = b"".join(data for name, data in files(tmp_path / "model").items() if not name.endswith(".safetensors"))
    ids = reader.table.image_id.tolist()
    assert [image_id for image_id in ids if image_id.encode() in content] == []
    assert str(run.path).encode() not in content
    caveats = metrics.read(tmp_path / "model" / "metrics.json").caveats
    assert [caveat for caveat in caveats if "1 damaged training image" in caveat] == [caveats[0]]


def test_an_image_that_the_run_excluded_is_not_read(
    run: RunDirectory, reader: ShardReader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def dataset_images(reader: ShardReader, size: int) -> list[None]:
        read.extend(reader.table.image_id.tolist())
        return [None]

    monkeypatch.setattr(onnx_export, "export", lambda mean, size, path, metadata: path.write_bytes(b"graph"))
    monkeypatch.setattr("pneumo.inference.onnx_check.dataset_images", dataset_images)
    monkeypatch.setattr("pneumo.inference.onnx_check.check", lambda path, mean, images: 0.0)
    export_run(run, tmp_path / "model", reader=reader, onnx=True)
    assert len(read) == len(reader.table) - 1
    assert not run.dataset.excluded.keys() & set(read)


def test_a_run_without_its_folds_or_its_metrics_is_refused(
    run: RunDirectory, dataset: Path, world: World, tmp_path: Path
) -> None:
    unfinished = finish_folds(tmp_path / "run", dataset, world)
    with pytest.raises(UserError, match=r"metrics.json does not exist; .*finish it with job/ensemble.py --runs"):
        export_run(unfinished, tmp_path / "model", reader=None, onnx=False)
    unfinished.fold(1).summary.unlink()
    with pytest.raises(UserError, match="has no finished fold 1; expected all 2 folds"):
        export_run(unfinished, tmp_path / "model", reader=None, onnx=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_directory_that_holds_something_is_refused(run: RunDirectory, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    export_run(run, tmp_path / "empty", reader=None, onnx=False)
    before = files(tmp_path / "empty")
    with pytest.raises(UserError, match="already holds an exported model; expected a new directory"):
        export_run(run, tmp_path / "empty", reader=None, onnx=False)
    assert files(tmp_path / "empty") == before
    with pytest.raises(UserError, match="exists and is not empty; expected a new directory"):
        export_run(run, tmp_path, reader=None, onnx=False)
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="is no directory; expected a new directory"):
        export_run(run, tmp_path / "file", reader=None, onnx=False)


@pytest.mark.parametrize("out", ["file/model", "/proc/model", f"{'x' * 300}", f"{'x' * 250}"])
def test_a_directory_that_cannot_be_made_is_refused_at_once(
    run: RunDirectory, tmp_path: Path, out: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"--out .*: .*; expected a directory that can be made; give another --out"):
        export_run(run, Path(out), reader=None, onnx=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_the_current_directory_can_be_the_new_one(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    export_run(run, Path(), reader=None, onnx=False)
    exported_model.load(tmp_path / "here")
    assert [entry.name for entry in tmp_path.iterdir()] == ["here"]


def test_another_dataset_is_refused(run: RunDirectory, reader: ShardReader, tmp_path: Path) -> None:
    other = replace(run, dataset=replace(run.dataset, digest="0" * 64))
    with pytest.raises(UserError, match=r"is not the one that .* was trained on"):
        export_run(other, tmp_path / "model", reader=reader, onnx=False)


def test_a_damaged_file_of_weights_is_refused_and_nothing_is_left(
    dataset: Path, world: World, reader: ShardReader, tmp_path: Path
) -> None:
    run = finish_folds(tmp_path / "run", dataset, world)
    finish_run(run, world, reader, workers=1)
    state = weight_files.read_safetensors(run.fold(1).model)
    next(iter(state.values())).view(-1)[0] += 1
    run.fold(1).model.write_bytes(safetensors.torch.save(state))
    with pytest.raises(UserError, match=r"fold-1/model.safetensors: SHA-256"):
        export_run(run, tmp_path / "model", reader=None, onnx=False)
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]


def test_a_failed_export_leaves_nothing_and_that_of_a_killed_process_is_removed(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise UserError("no", "yes", "do")

    left = tmp_path / ".model.pneumo-tmp-abcdefgh"
    left.mkdir()
    (left / "fold-0.safetensors").touch()
    monkeypatch.setattr(onnx_export, "export", fail)
    with pytest.raises(UserError, match="no; expected yes"):
        export_run(run, tmp_path / "model", reader=None, onnx=True)
    assert list(tmp_path.iterdir()) == []


def test_a_second_export_into_the_same_directory_is_refused(
    run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with locks.hold(tmp_path / ".model.lock", "x"):
        monkeypatch.setattr(locks, "hold", partial(locks.hold, wait_s=0.0))
        with pytest.raises(UserError, match="another process works on --out"):
            export_run(run, tmp_path / "model", reader=None, onnx=False)


def test_what_the_graph_says_about_itself(run: RunDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: dict[str, str] = {}

    def export(mean: onnx_export.MeanOfNetworks, size: int, path: Path, metadata: dict[str, str]) -> None:
        said.update(metadata, size=str(size), networks=str(len(mean.networks)))
        path.write_bytes(b"graph")

    monkeypatch.setattr(onnx_export, "export", export)
    monkeypatch.setattr("pneumo.inference.onnx_check.check", lambda path, mean, images: 1e-7)
    export_run(run, tmp_path / "model", reader=None, onnx=True)
    rule = json.loads(said.pop("decision_rule"))
    assert rule.pop("in_words") == read_rule(run.thresholds).describe()
    assert rule == json.loads(json.dumps(asdict(read_rule(run.thresholds).in_probabilities())))
    assert said["use"].startswith("Not for clinical use.")
    assert (said["size"], said["networks"], said["recipe"]) == ("32", "2", tiny_recipe().name)
    assert "model.onnx" in exported_model.load(tmp_path / "model").path.joinpath("model.json").read_text()
    card = (tmp_path / "model" / "model_card.md").read_text()
    assert "on 4 made-up images: no probability differs by more than 0.0001" in card
