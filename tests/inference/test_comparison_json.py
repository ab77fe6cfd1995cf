import json
from pathlib import Path

from pneumo.inference import comparison_json
from pneumo.inference.comparison_json import Comparison, Difference, Score, ScoredRun, ScoredVariant
from pneumo.inference.metrics import Auc
from pneumo.runtime.recorded import check_recorded


def test_the_document_has_every_field_and_is_known_as_written(tmp_path: Path) -> None:
    difference = Difference(value=0.1, interval=(-0.1, 0.3), standard_error=0.1, detectable=0.28)
    run = ScoredRun(run="runs/b-seed-0", seed=0, dice=0.8, auc=Auc(presence_head=None, max_pixel=0.9), seconds=7.0)
    variant = ScoredVariant(
        name="b",
        flags="--recipe debug",
        runs=[run],
        scores={"dice": Score(value=0.8, interval=(0.7, 0.9), difference=difference)},
    )
    written = Comparison(
        pneumo="1",
        command="compare",
        hardware="cpu",
        dataset_digest="d",
        folds_digest="f",
        num_folds=2,
        folds=[0, 1],
        seeds=[0],
        images=4,
        positives=2,
        patients=3,
        dice_all_empty=0.5,
        bootstrap_resamples=2000,
        variants=[variant],
        unfinished=[],
        caveats=[],
    )
    path = tmp_path / "comparison.json"
    comparison_json.write(path, written)
    check_recorded("--out", path)
    content = json.loads(path.read_text())
    assert content.pop("format_version") == 1
    assert content.keys() == vars(written).keys()
    (found,) = content["variants"]
    assert found["scores"]["dice"]["difference"]["detectable"] == 0.28
    assert found["runs"] == [vars(run) | {"auc": {"presence_head": None, "max_pixel": 0.9}}]
