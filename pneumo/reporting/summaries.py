"""What TensorBoard shows of a fold beside curves: pictures, precision-recall curves, the recipe, hyperparameters.

TensorBoard sorts groups of tags by name and opens the first two, digits before letters. ``1_val`` and ``2_val_images``
are therefore what is seen first.
"""

import time
from collections.abc import Iterator, Mapping
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import (
    DATA_TYPE_BOOL,
    DATA_TYPE_FLOAT64,
    DATA_TYPE_STRING,
    STATUS_SUCCESS,
    Experiment,
    HParamInfo,
    MetricInfo,
    MetricName,
)
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from torch.utils.tensorboard.summary import pr_curve as torch_pr_curve
from torch.utils.tensorboard.summary import text as torch_text

VALIDATION = "1_val"
"""Group of the metrics of each validation."""
VALIDATION_IMAGES = "2_val_images"
"""Group of the pictures of each validation."""
FINAL = "final"
"""Group of the metrics of the finished fold."""
JPEG_QUALITY = 85
THRESHOLDS = 127
"""Points of a precision-recall curve; torch's function makes no more."""
FIRST_COLUMNS = ("name", "model.encoder", "image_size", "epochs", "learning_rate")
"""Fields of the recipe that the table of hyperparameters shows first."""
FINAL_METRICS = ("dice_nested", "dice_best_rule", "dice_all_empty", "auc")
"""Metrics in the table of hyperparameters."""

Json = Mapping[str, Any]


def picture(tag: str, pixels: npt.NDArray[np.uint8]) -> Summary:
    """Return a picture (rows, columns, 3) in OpenCV's order of colors, as a JPEG."""
    _, data = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    rows, columns = pixels.shape[:2]
    image = Summary.Image(height=rows, width=columns, colorspace=3, encoded_image_string=data.tobytes())
    return Summary(value=[Summary.Value(tag=tag, image=image)])


def precision_recall(tag: str, positive: npt.NDArray[np.bool_], score: npt.NDArray[np.float64]) -> Summary:
    """Return the precision-recall curve of scores (n,) in [0, 1] of images (n,) that are positive or not."""
    summary: Summary = torch_pr_curve(tag, positive, score, THRESHOLDS)  # type: ignore[no-untyped-call]
    return summary


def recipe_table(recipe: Json) -> Summary:
    """Return a recipe's JSON values as a table, one row for each field."""
    rows = "\n".join(f"| {name} | {value} |" for name, value in flatten(recipe))
    summary: Summary = torch_text("recipe", f"| field | value |\n|---|---|\n{rows}\n")  # type: ignore[no-untyped-call]
    return summary


def start_of_session(recipe: Json, run: str) -> Iterator[Summary]:
    """Yield the hyperparameters of a fold: the table's columns, and the values.

    Args:
        recipe: The recipe's JSON values.
        run: Name of the run, whose folds are one row of the table, with the means of their metrics.
    """
    session = SessionStartInfo(group_name=run, start_time_secs=time.time())
    columns = []
    for name, value in flatten(recipe):
        kind = DATA_TYPE_STRING
        if isinstance(value, bool):
            session.hparams[name].bool_value, kind = value, DATA_TYPE_BOOL
        elif isinstance(value, int | float):
            session.hparams[name].number_value, kind = value, DATA_TYPE_FLOAT64
        else:
            session.hparams[name].string_value = value
        # TensorBoard shows five columns, those that are said to differ before the others.
        columns.append(HParamInfo(name=name, type=kind, differs=name in FIRST_COLUMNS))
    metrics = [
        MetricInfo(name=MetricName(tag=f"{FINAL}/{name}"), display_name=name.replace("_", " "))
        for name in FINAL_METRICS
    ]
    yield _hparams(metadata.EXPERIMENT_TAG, experiment=Experiment(hparam_infos=columns, metric_infos=metrics))
    yield _hparams(metadata.SESSION_START_INFO_TAG, session_start_info=session)


def end_of_session() -> Summary:
    """Return that the fold was trained to its end."""
    end = SessionEndInfo(status=STATUS_SUCCESS, end_time_secs=time.time())
    return _hparams(metadata.SESSION_END_INFO_TAG, session_end_info=end)


def flatten(values: Json, prefix: str = "") -> Iterator[tuple[str, str | bool | int | float]]:
    """Yield the fields of nested JSON objects as ``outer.inner`` and their values, lists as text."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield prefix + name, " ".join(map(str, value)) or "none"
        else:
            yield prefix + name, value if isinstance(value, bool | int | float) else str(value)


def _hparams(tag: str, **content: Any) -> Summary:
    described = metadata.create_summary_metadata(HParamsPluginData(**content))
    return Summary(value=[Summary.Value(tag=tag, metadata=described, tensor=metadata.NULL_TENSOR)])
