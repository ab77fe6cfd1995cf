"""What tests/job/test_job_compare.py, which compares runs through the command, does not show."""

from dataclasses import replace
from pathlib import Path

from finished_runs import finish_folds

from pneumo.distributed.world import World
from pneumo.training.compared_runs import ComparedRuns


def test_scores_of_masks_with_components_that_the_variant_removes_are_told(
    dataset: Path, world: World, tmp_path: Path
) -> None:
    """As of folds that were trained before they were removed from the masks that are scored."""
    found = ComparedRuns(out=tmp_path / "out", folds=(0, 1), hardware="")
    run = finish_folds(tmp_path / "run", dataset, world)
    removing = finish_folds(tmp_path / "small", dataset, world, replace(run.recipe, min_component=101.0))
    found.add("all", "", [run])
    found.add("small", "", [removing])
    assert not [caveat for caveat in found._caveats() if "components" in caveat]
    found.add("old", "", [replace(run, recipe=removing.recipe)])
    (told,) = [caveat for caveat in found._caveats() if "components" in caveat]
    assert told.startswith("old: masks lose their components below 101 px (of 1024x1024), while the metrics are of")
