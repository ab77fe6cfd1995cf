"""Learning curves of all folds, what they cost, and how far a run is."""

import pytest
from report_facts import MEASURED, history, html_of, make_facts, table_of

from pneumo.reporting.html.page import Figures
from pneumo.reporting.report import training_sections
from pneumo.reporting.report.facts import FoldProgress


def test_there_is_a_curve_of_each_fold_for_loss_dice_and_auc() -> None:
    html = html_of(training_sections.learning_curves(make_facts()))
    assert html.count("<svg ") == 3
    assert "Training loss by epoch: fold 0 ends at 0.800, fold 1 ends at 0.800, fold 2 ends at 0.800" in html
    assert "Validation Dice by epoch: fold 0 ends at 0.700" in html
    assert all(f">fold {fold}</text>" in html for fold in range(3))
    assert ">2</text>" in html
    assert ">1.5</text>" not in html
    assert ">2.00</text>" not in html, "epochs are whole numbers"


def test_many_folds_are_drawn_as_their_median() -> None:
    folds = [FoldProgress(fold=k, state="finished", history=history(k + 1)) for k in range(7)]
    html = html_of(training_sections.learning_curves(make_facts(folds=folds)))
    assert "fold 6 ends at 0.400" in html
    assert ">median</text>" in html
    assert ">fold 6</text>" not in html


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
    section = training_sections.progress(make_facts(folds=folds, is_finished=False))
    assert table_of(section).rows == [
        ["fold 0", "finished", 3, "0.800", "0.700", "0.600"],
        ["fold 1", "in training", 1, "1.000", "0.500", "0.600"],
        ["fold 2", "not started", 0, "-", "-", "-"],
    ]
    assert "1 of 3 folds finished." in html_of(section)


def test_the_recipe_is_a_list_of_sentences() -> None:
    html = html_of(training_sections.recipe(make_facts()))
    assert "<li>The network is a U-Net.</li>" in html
