"""What TensorBoard reads from the summaries: pictures, curves with the right counts, the recipe, hyperparameters."""

from pathlib import Path

import cv2
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray

from pneumo.reporting import summaries
from pneumo.reporting.tensorboard import FoldEvents

RECIPE = {
    "name": "best",
    "model": {"encoder": "resnet34", "presence_head": True},
    "epochs": [3, 2],
    "tta": [],
    "batch_size": 16,
    "learning_rate": [1e-3],
}


def plugin_data(summary: Summary) -> HParamsPluginData:
    (value,) = summary.value
    assert value.metadata.plugin_data.plugin_name == "hparams"
    return HParamsPluginData.FromString(value.metadata.plugin_data.content)


def test_nested_fields_and_lists_become_flat_values() -> None:
    assert dict(summaries.flatten(RECIPE)) == {
        "name": "best",
        "model.encoder": "resnet34",
        "model.presence_head": True,
        "epochs": "3 2",
        "tta": "none",
        "batch_size": 16,
        "learning_rate": "0.001",
    }


def test_the_recipe_is_a_table_in_markdown() -> None:
    (value,) = summaries.recipe_table(RECIPE).value
    assert value.metadata.plugin_data.plugin_name == "text"
    lines = make_ndarray(value.tensor)[0].decode().splitlines()
    assert lines[:3] == ["| field | value |", "|---|---|", "| name | best |"]
    assert "| model.encoder | resnet34 |" in lines
    assert len(lines) == 2 + 7


def test_a_picture_is_the_same_in_tensorboard(tmp_path: Path) -> None:
    pixels = np.zeros((48, 64, 3), np.uint8)
    pixels[:, 32:] = (20, 200, 90)
    with FoldEvents(tmp_path, 0, enabled=True) as events:
        events.add(3, summaries.picture("2_val_images/large", pixels))
    accumulator = EventAccumulator(str(tmp_path))
    accumulator.Reload()
    (image,) = accumulator.Images("2_val_images/large")
    assert (image.step, image.width, image.height) == (3, 64, 48)
    decoded = cv2.imdecode(np.frombuffer(image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert np.abs(decoded[:, 40:].astype(int) - (20, 200, 90)).max() <= 4


def test_the_counts_of_a_precision_recall_curve() -> None:
    positive = np.array([True, True, False, False, False])
    (value,) = summaries.precision_recall("presence/x", positive, np.array([0.9, 0.2, 0.6, 0.1, 0.0])).value
    assert value.metadata.plugin_data.plugin_name == "pr_curves"
    true_positives, false_positives, true_negatives, false_negatives, precision, recall = make_ndarray(value.tensor)
    at = 63  # of 127 thresholds from 0 to 1: 0.5
    counts = (true_positives[at], false_positives[at], true_negatives[at], false_negatives[at])
    assert counts == (1, 1, 2, 1)
    assert (precision[at], recall[at]) == (0.5, 0.5)
    assert (precision[0], recall[0]) == (np.float32(0.4), 1)


def test_hyperparameters_have_the_folds_of_a_run_in_one_group() -> None:
    experiment, start = map(plugin_data, summaries.start_of_session(RECIPE, run="demo"))
    session = start.session_start_info
    assert session.group_name == "demo"
    assert session.hparams["batch_size"].number_value == 16
    assert session.hparams["model.presence_head"].bool_value is True
    assert session.hparams["epochs"].string_value == "3 2"
    columns = {column.name: column for column in experiment.experiment.hparam_infos}
    assert columns.keys() == set(session.hparams)
    assert {name for name, column in columns.items() if column.differs} == {
        *("name", "model.encoder", "epochs", "learning_rate"),
    }
    tags = [metric.name.tag for metric in experiment.experiment.metric_infos]
    assert tags == ["final/dice_nested", "final/dice_best_rule", "final/dice_all_empty", "final/auc"]


def test_the_end_of_a_session_says_success() -> None:
    assert plugin_data(summaries.end_of_session()).session_end_info.status == summaries.STATUS_SUCCESS
    assert summaries.end_of_session().value[0].tag == metadata.SESSION_END_INFO_TAG
