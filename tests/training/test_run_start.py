"""A run belongs to one recipe and one dataset, and may be corrected until a fold has begun."""

import fcntl
import json
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from pneumo.runtime import locks
from pneumo.runtime.errors import UserError, as_user_error
from pneumo.training import run_directory, run_start
from pneumo.training.recipe import Recipe
from pneumo.training.recipes import debug
from pneumo.training.run_directory import DatasetIdentity, RunDirectory

DATASET = DatasetIdentity(digest="a" * 64, folds_digest="b" * 64, num_folds=5, grouped_by="dicom", patients=9)


def begin(run: RunDirectory) -> RunDirectory:
    """Give a run what makes it one that has begun."""
    (run.fold(0).checkpoints / "step-00000001-epoch-0000").mkdir(parents=True)
    return run


def test_a_run_is_made_and_found_again(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "new"
    run_start.create(path, debug(), DATASET)
    run = run_start.create(path, debug(), DATASET)
    assert (run.recipe, run.dataset) == (debug(), DATASET)
    assert run.unfinished_folds == [0, 1, 2, 3, 4]
    run.fold(2).path.mkdir()
    run.fold(2).summary.write_text("{}")
    assert run_directory.load(path).unfinished_folds == [0, 1, 3, 4]


@pytest.mark.parametrize(
    ("dataset", "text"),
    [
        (replace(DATASET, digest="c" * 64), "another dataset or other folds \\(other images, masks or patients\\)"),
        (replace(DATASET, folds_digest="d" * 64), "another dataset or other folds \\(other folds\\);"),
    ],
)
def test_another_dataset_is_refused(tmp_path: Path, dataset: DatasetIdentity, text: str) -> None:
    begin(run_start.create(tmp_path / "run", debug(), DATASET))
    with pytest.raises(UserError, match=text):
        run_start.create(tmp_path / "run", debug(), dataset)


def test_an_unfinished_run_of_other_draws_is_refused_and_a_finished_one_is_not(tmp_path: Path) -> None:
    run = begin(run_start.create(tmp_path / "run", debug(), DATASET))
    record = json.loads((run.path / "recipe.json").read_text())
    assert record["recipe"]["augmentation"]["rng_scheme"] == 2
    record["recipe"]["augmentation"]["rng_scheme"] = 1
    (run.path / "recipe.json").write_text(json.dumps(record))
    with pytest.raises(UserError, match=r"is unfinished and draws its augmentation by scheme 1; expected scheme 2"):
        run_start.create(run.path, debug(), DATASET)
    for fold in run.unfinished_folds:
        run.fold(fold).path.mkdir(exist_ok=True)
        run.fold(fold).summary.write_text("{}")
    assert run_start.create(run.path, debug(), DATASET).recipe.augmentation.rng_scheme == 1
    with pytest.raises(UserError, match=r"another recipe \(seed: 0 -> 1\)"):
        run_start.create(run.path, replace(debug(), seed=1), DATASET)


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(UserError, match=r"has no recipe.json; .* give another --run"):
        run_start.create(tmp_path, debug(), DATASET)
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_directory_of_other_things_is_refused_before_weights_are_fetched(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    def settle(recipe: Recipe) -> tuple[Recipe, str]:
        raise AssertionError("the weights are fetched")

    with pytest.raises(UserError, match=r"has no recipe.json; .* give another --run"):
        run_start.create(tmp_path, debug(), DATASET, settle)


def test_a_run_from_before_a_loss_term_and_an_augmentation_is_resumed(tmp_path: Path) -> None:
    recipe = debug()
    assert (recipe.loss.focal, recipe.augmentation.distortion.probability) == (0.0, 0.0)
    begin(run_start.create(tmp_path / "run", recipe, DATASET))
    record = tmp_path / "run" / "recipe.json"
    content = json.loads(record.read_text())
    del content["recipe"]["loss"]["focal"], content["recipe"]["loss"]["focal_gamma"]
    del content["recipe"]["augmentation"]["distortion"]
    record.write_text(json.dumps(content))
    assert run_start.create(tmp_path / "run", recipe, DATASET).recipe == recipe
    with pytest.raises(UserError, match=r"another recipe \(loss\.focal: 0\.0 -> 1\.0\)"):
        run_start.create(tmp_path / "run", replace(recipe, loss=replace(recipe.loss, focal=1.0)), DATASET)


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file") as raised:
        run_start.create(tmp_path / "file", debug(), DATASET)
    assert "expected" in str(as_user_error(raised.value))


def test_a_run_from_before_unlabeled_images_were_excluded_is_resumed(tmp_path: Path) -> None:
    run = begin(run_start.create(tmp_path / "run", debug(), DATASET))
    content = json.loads((run.path / "recipe.json").read_text())
    del content["dataset"]["excluded_unlabeled"]
    (run.path / "recipe.json").write_text(json.dumps(content))
    assert run_start.create(run.path, debug(), DATASET).dataset == DATASET


def test_a_run_that_excludes_images_is_found_whatever_they_are(tmp_path: Path) -> None:
    both = replace(DATASET, excluded={"1.2": "damaged"}, excluded_unlabeled={"1.3": "damaged"})
    run = begin(run_start.create(tmp_path / "run", debug(), both))
    assert run_start.find(run.path, debug(), DATASET) == run


def test_other_images_left_out_are_another_run(tmp_path: Path) -> None:
    begin(run_start.create(tmp_path / "run", debug(), DATASET))
    with pytest.raises(UserError, match="other folds \\(excluded"):
        run_start.create(tmp_path / "run", debug(), replace(DATASET, excluded={"1.2.3": "damaged"}))


def test_a_start_removes_temporary_files_of_recipe_json_alone(tmp_path: Path) -> None:
    for name in (".recipe.json.pneumo-tmp-abcd_123", ".other.pneumo-tmp-abcd_123"):
        (tmp_path / name).touch()
    run_start.create(tmp_path, debug(), DATASET)
    assert {p.name for p in tmp_path.iterdir()} == {"recipe.json", ".other.pneumo-tmp-abcd_123"}


def test_a_run_that_has_not_begun_takes_another_recipe_and_dataset(tmp_path: Path) -> None:
    run_start.create(tmp_path / "run", debug(), replace(DATASET, excluded={"1.2.3": "damaged"}))
    assert run_start.load_if_begun(tmp_path / "run") is None
    other = replace(debug(), seed=1)
    run = run_start.create(tmp_path / "run", other, DATASET)
    assert run_directory.load(tmp_path / "run") == run
    assert (run.recipe, run.dataset) == (other, DATASET)
    assert [p.name for p in run.path.iterdir()] == ["recipe.json"]


def hold_a_fold(run: RunDirectory) -> AbstractContextManager[None]:
    return locks.hold(run.fold(3).lock, "fold 3")


def write_a_checkpoint(run: RunDirectory) -> AbstractContextManager[None]:
    begin(run)
    return nullcontext()


def finish_a_fold(run: RunDirectory) -> AbstractContextManager[None]:
    run.fold(4).path.mkdir()
    run.fold(4).summary.write_text("{}")
    return nullcontext()


@pytest.mark.parametrize("how", [hold_a_fold, write_a_checkpoint, finish_a_fold])
def test_a_run_that_has_begun_keeps_its_recipe(
    tmp_path: Path, how: Callable[[RunDirectory], AbstractContextManager[None]]
) -> None:
    run = run_start.create(tmp_path / "run", debug(), DATASET)
    with how(run):
        assert run_start.load_if_begun(run.path) == run
        with pytest.raises(UserError, match=r"another recipe \(seed: 0 -> 1\)"):
            run_start.create(run.path, replace(debug(), seed=1), DATASET)
    assert run_directory.load(run.path) == run


def test_a_fold_that_begins_while_its_run_is_replaced_keeps_its_recipe(tmp_path: Path) -> None:
    run = run_start.create(tmp_path / "run", debug(), DATASET)

    def begin_meanwhile(recipe: Recipe) -> tuple[Recipe, str]:
        begin(run)
        return recipe, ""

    with pytest.raises(UserError, match=r"another recipe \(seed: 0 -> 1\)"):
        run_start.create(run.path, replace(debug(), seed=1), DATASET, begin_meanwhile)
    run_start.require_unchanged(run)


def test_who_comes_while_a_run_is_replaced_joins_the_new_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new = replace(debug(), seed=1)
    run = run_start.create(tmp_path / "run", debug(), replace(DATASET, excluded={"1.2.3": "damaged"}))
    write, is_held, has_looked = run_start.write, locks.is_held, threading.Event()

    def look(path: Path) -> bool:
        held = is_held(path)
        if held:
            has_looked.set()
        return held

    with ThreadPoolExecutor() as sibling:
        joined: list[Future[RunDirectory]] = []

        def write_before_a_sibling(replaced: RunDirectory) -> None:
            if not joined:
                joined.append(sibling.submit(run_start.create, run.path, new, DATASET))
                assert has_looked.wait(60)
            write(replaced)

        monkeypatch.setattr(locks, "is_held", look)
        monkeypatch.setattr(run_start, "write", write_before_a_sibling)
        replaced = run_start.create(run.path, new, DATASET)
        assert joined[0].result() == replaced == run_directory.load(run.path)


def test_a_look_at_a_fold_does_not_keep_its_run_from_being_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_start.create(tmp_path / "run", debug(), DATASET)
    lock = run.fold(2).lock
    lock.parent.mkdir()
    lock.touch()
    with ExitStack() as looking:
        fcntl.flock(looking.enter_context(lock.open()), fcntl.LOCK_SH)
        monkeypatch.setattr(time, "sleep", lambda seconds: looking.close())
        replaced = run_start.create(run.path, replace(debug(), seed=1), DATASET)
    assert run_directory.load(run.path) == replaced


def test_a_run_that_another_command_replaced_is_not_trained(tmp_path: Path) -> None:
    run = run_start.create(tmp_path / "run", debug(), DATASET)
    run_start.require_unchanged(run)
    run_start.create(run.path, replace(debug(), seed=1), DATASET)
    with pytest.raises(UserError, match="another command has just started another run"):
        run_start.require_unchanged(run)


def test_what_is_settled_is_recorded_and_auto_is_that_from_then_on(tmp_path: Path) -> None:
    assert (debug().precision, debug().loader) == ("auto", "auto")
    settled = replace(debug(), precision="bf16", loader="dali")
    run = begin(run_start.create(tmp_path / "run", debug(), DATASET, lambda _: (settled, "e" * 64)))
    record = json.loads((run.path / "recipe.json").read_text())
    assert (record["recipe"]["precision"], record["recipe"]["loader"]) == ("bf16", "dali")
    assert record["encoder_sha256"] == "e" * 64
    for asked in (debug(), settled):
        assert run_start.create(run.path, asked, DATASET, lambda _: pytest.fail("settled again")) == run
    with pytest.raises(UserError, match=r"another recipe \(precision: 'bf16' -> 'fp32'\)"):
        run_start.create(run.path, replace(debug(), precision="fp32"), DATASET)


def test_what_cannot_be_settled_leaves_nothing(tmp_path: Path) -> None:
    def fail(recipe: Recipe) -> tuple[Recipe, str]:
        raise UserError("no weights file w.pth", "a file", "correct it")

    with pytest.raises(UserError, match="no weights file"):
        run_start.create(tmp_path / "run", debug(), DATASET, fail)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("teacher", "named"), [("12" * 32, True), ("", False)])
def test_who_gives_other_flags_than_a_taught_run_was_started_with_is_told_of_its_teacher(
    tmp_path: Path, teacher: str, named: bool
) -> None:
    recipe = replace(debug(), pseudo_labels=replace(debug().pseudo_labels, share=0.2))
    run = RunDirectory(path=tmp_path, recipe=recipe, dataset=DATASET, encoder_sha256="", teacher_sha256=teacher)
    action = run_start._how_to_resume(run, debug())
    assert action.startswith("add --pseudo-labels.share 0.2")
    assert (" and its --teacher to resume it" in action) == named
