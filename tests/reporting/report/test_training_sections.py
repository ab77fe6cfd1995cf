"""Learning curves of all folds, what they cost, and how far a run is."""

import math
from types import SimpleNamespace

import pytest
from report_facts import MEASURED, history, html_of, make_facts, table_of

from pneumo.reporting.html.page import Figures
from pneumo.reporting.report import training_sections
from pneumo.reporting.report.facts import UNFINISHED, FoldProgress


def test_there_is_a_curve_of_each_fold_for_loss_dice_and_auc() -> None:
    html = html_of(training_sections.learning_curves(make_facts()))
    assert html.count("<svg ") == 3
    assert "Training loss by epoch: fold 0 ends at 0.800, fold 1 ends at 0.800, fold 2 ends at 0.800" in html
    assert "Validation Dice by epoch: fold 0 ends at 0.700" in html
    assert all(f">fold {fold}</text>" in html for fold in range(3))
    assert ">2</text>" in html
    assert ">1.5</text>" not in html
    assert ">2.00</text>" not in html, "epochs are whole numbers"


def test_unlabeled_images_have_a_curve_where_there_are_any() -> None:
    entries = [{**entry, "train/consistency": 0.25} for entry in history(2)]
    folds = [FoldProgress(fold=0, state="finished", history=entries)]
    html = html_of(training_sections.learning_curves(make_facts(folds=folds)))
    assert html.count("<svg ") == 4
    assert "Consistency loss by epoch: fold 0 ends at 0.250" in html


def test_many_folds_are_drawn_as_their_median() -> None:
    folds = [FoldProgress(fold=k, state="finished", history=history(k + 1)) for k in range(7)]
    html = html_of(training_sections.learning_curves(make_facts(folds=folds)))
    assert "fold 6 ends at 0.400" in html
    assert ">median</text>" in html
    assert ">fold 6</text>" not in html


def curve_of(drawn: list[SimpleNamespace], *losses: list[float]) -> SimpleNamespace:
    """The training loss that is drawn of folds with such losses at epochs 1, 2, ..."""
    folds = [
        FoldProgress(
            fold=k, state="finished", history=[{"epoch": n, "train/total": y} for n, y in enumerate(one, start=1)]
        )
        for k, one in enumerate(losses)
    ]
    training_sections.learning_curves(make_facts(folds=folds))
    (curve,) = drawn
    return curve


def test_each_fold_has_its_losses_over_the_epochs(drawn: list[SimpleNamespace]) -> None:
    curve = curve_of(drawn, [0.9, 0.5], [0.8, 0.7, 0.6])
    assert [(one.name, one.x, one.y) for one in curve.series] == [
        ("fold 0", [1, 2], [0.9, 0.5]),
        ("fold 1", [1, 2, 3], [0.8, 0.7, 0.6]),
    ]
    assert (curve.x_label, curve.y_label) == ("epoch", "loss")


def test_of_many_folds_the_median_and_the_range_of_each_epoch_are_drawn(drawn: list[SimpleNamespace]) -> None:
    curve = curve_of(drawn, [0.5, 0.1], [0.9, 0.2], [0.4], [0.7], [0.1], [0.6], [0.8])
    (one,) = curve.series
    assert (one.x, one.y, one.low, one.high) == (
        *([1, 2], [0.6, pytest.approx(0.15)]),
        *([0.1, 0.1], [0.9, 0.2]),
    )


def test_what_is_undefined_is_left_out_of_curves_and_of_the_median(drawn: list[SimpleNamespace]) -> None:
    # A NaN among the values leaves them unsorted, and the median any of them.
    curve = curve_of(drawn, [0.9, math.nan, 0.7], [math.nan])
    assert [(one.name, one.x, one.y) for one in curve.series] == [("fold 0", [1, 3], [0.9, 0.7])]
    assert "nan" not in curve.description
    drawn.clear()
    curve = curve_of(drawn, *[[loss] for loss in (0.1, math.nan, 0.5, 0.4, 0.3, 0.2, 0.6, 0.7)])
    (one,) = curve.series
    assert (one.y, one.low, one.high) == ([0.4], [0.1], [0.7])


def test_speed_is_the_median_of_the_epochs_and_wait_and_memory_the_largest() -> None:
    measured = [
        {"images_per_s": speed, "data_wait": wait, "process_gib": process, "device_gib": device, "train_s": 10.0}
        for speed, wait, process, device in ((5.0, 0.5, 1.0, 7.0), (9.0, 0.1, 3.0, 6.0), (30.0, 0.2, 2.0, 5.0))
    ]
    history = [{"epoch": n, **values} for n, values in enumerate(measured, start=1)]
    table = table_of(
        training_sections.time_and_memory(make_facts(folds=[FoldProgress(fold=0, state="finished", history=history)]))
    )
    assert dict(zip((str(one.title) for one in table.columns), table.rows[0], strict=True)) == {
        "fold": "fold 0", "epochs": 3, "training": "30 s", "validation": "-", "images/s, median": "9.0",
        "data wait, largest": "50.0 %", "process, GiB": "3.00", "GPU, GiB": "7.00",
    }  # fmt: skip


def test_what_is_measured_is_summed_over_the_epochs() -> None:
    section = training_sections.time_and_memory(make_facts())
    assert table_of(section).rows[1] == ["fold 1", 3, "4 min", "90 s", "20.0", "25.0 %", "1.50", "6.25"]
    # Three folds of three epochs of 120 s.
    assert "All folds together took 18 min of training and validation." in html_of(section)


def test_what_an_earlier_version_did_not_record_is_a_dash() -> None:
    folds = [FoldProgress(fold=0, state="finished", history=history(2))]
    section = training_sections.time_and_memory(make_facts(folds=folds))
    assert table_of(section).rows == [["fold 0", 2, *["-"] * 6]]
    assert "All folds together took" not in html_of(section)


def test_an_epoch_that_was_interrupted_before_its_validation_has_no_speed() -> None:
    whole, rest = history(1, **MEASURED), history(2, validation_s=30.0)[1:]
    section = training_sections.time_and_memory(
        make_facts(folds=[FoldProgress(fold=0, state="finished", history=[*whole, *rest])])
    )
    assert table_of(section).rows[0][2:5] == ["90 s", "60 s", "20.0"]


@pytest.mark.parametrize("section", [training_sections.learning_curves, training_sections.time_and_memory])
def test_before_the_first_epoch_it_says_so(section: object) -> None:
    folds = [FoldProgress(fold=0, state="not started", history=[])]
    found = section(make_facts(folds=folds))  # type: ignore[operator]
    assert "No fold has finished an epoch yet." in html_of(found)
    assert not [block for block in found.blocks if isinstance(block, Figures)]


def test_the_progress_of_each_fold() -> None:
    folds = [
        FoldProgress(fold=0, state="finished", history=history(3)),
        FoldProgress(fold=1, state="in training", history=history(1)),
        FoldProgress(fold=2, state="not started", history=[]),
    ]
    section = training_sections.progress(make_facts(folds=folds, metrics_sha256=UNFINISHED))
    assert table_of(section).rows == [
        ["fold 0", "finished", 3, "0.800", "0.700", "0.600"],
        ["fold 1", "in training", 1, "1.000", "0.500", "0.600"],
        ["fold 2", "not started", 0, "-", "-", "-"],
    ]
    assert "1 of 3 folds finished." in html_of(section)


def test_the_recipe_is_a_list_of_sentences() -> None:
    html = html_of(training_sections.recipe(make_facts()))
    assert "<li>The network is a U-Net.</li>" in html
