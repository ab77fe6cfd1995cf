"""The comparison of runs that are there already, such as those of other machines: nothing is trained.

Runs whose recipes differ in the seed alone, and which learned from the labels of the same teacher or of none, are one
variant of several seeds.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pneumo.runtime.errors import UserError
from pneumo.training import compared_runs, run_directory
from pneumo.training.compared_runs import ComparedRuns, check_out
from pneumo.training.recipe import Recipe
from pneumo.training.recipe_json import differences, to_json
from pneumo.training.recipes import RECIPES
from pneumo.training.run_directory import RunDirectory

HARDWARE = "runs that were trained before"


def compare_runs(paths: Sequence[Path], folds: Sequence[int], out: Path) -> None:
    """Write the comparison of runs; the first of them is what the others are compared with.

    Args:
        paths: The directories of the runs.
        folds: Folds that are scored; empty = all.
        out: The directory of the comparison.

    Raises:
        UserError: When a run is none, lacks a fold, is the same as another one, or is of another dataset or other
            folds.
    """
    check_out(out)
    runs = [run_directory.load(path) for path in paths]
    scored = tuple(sorted(folds)) or tuple(range(runs[0].dataset.num_folds))
    for run in runs:
        _require_finished(run, scored)
        compared_runs.check_dataset(run, runs[0])
    variants = group(runs)
    first = next(iter(variants.values()))[0]
    compared = ComparedRuns(out, scored, HARDWARE)
    for name, members in variants.items():
        compared.add(name, _describe(members[0], first), members)
    compared.write()
    compared.log_table()


def group(runs: Sequence[RunDirectory]) -> dict[str, list[RunDirectory]]:
    """Return the runs of each variant, in the order of the runs, by a name that no other has.

    Raises:
        UserError: When two runs have the same recipe, teacher and seed.
    """
    groups: list[list[RunDirectory]] = []
    for run in runs:
        alike = next((members for members in groups if _variant(members[0]) == _variant(run)), None)
        if alike is None:
            groups.append([run])
            continue
        for other in alike:
            if other.recipe.seed == run.recipe.seed:
                raise UserError(
                    f"{other.path} and {run.path} have the same recipe and the same seed",
                    "runs that differ",
                    "leave one out",
                )
        alike.append(run)
    short = [run.path.resolve().name.removesuffix(f"-seed-{run.recipe.seed}") for run, *_ in groups]
    return {
        name if short.count(name) == 1 else str(members[0].path): members
        for name, members in zip(short, groups, strict=True)
    }


def _variant(run: RunDirectory) -> tuple[Recipe, str]:
    return replace(run.recipe, seed=0), run.teacher_sha256


def _require_finished(run: RunDirectory, folds: Sequence[int]) -> None:
    if missing := [fold for fold in folds if not run.fold(fold).is_finished]:
        raise UserError(
            f"{run.path} has no finished fold {', '.join(map(str, missing))}",
            "runs with all folds that are compared",
            "train them with its job/train.py command, or give --folds",
        )


def _describe(run: RunDirectory, first: RunDirectory) -> str:
    """Return in what a variant differs from the first one, and the first one from the recipe of its name."""
    recipe = run.recipe
    taught = [f"labels of the teacher {run.teacher_sha256[:12]}"] * bool(run.teacher_sha256)
    if run is not first:
        return "; ".join(
            [*differences(to_json(replace(first.recipe, seed=0)), to_json(replace(recipe, seed=0))), *taught]
        )
    named = RECIPES.get(recipe.name)
    if named is None:
        return "; ".join([f"--recipe {recipe.name}", *taught])
    # What auto became when the run was started was not given.
    resolved = {n: getattr(recipe, n) for n in ("precision", "loader") if getattr(named(), n) == "auto"}
    other = differences(to_json(replace(named(), seed=0, **resolved)), to_json(replace(recipe, seed=0)))
    return "; ".join([f"--recipe {recipe.name}", *other, *taught])
