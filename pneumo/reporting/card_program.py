"""The program in a model card: a mask by ONNX Runtime and the decision rule, without pneumo."""

from pneumo.inference import onnx_export
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.expected_score import AREA_BINS, AREA_UNIT, LIMIT, RANGES

_BY_SCORE = f"""\
    bins = np.minimum((probability * 256).astype(int), 255)
    # Pixels in each bin or above.
    predicted = np.bincount(bins.ravel(), minlength=256)[::-1].cumsum()[::-1]
    maximum = (bins.max() + 0.5) / 256
    large = [math.log1p(predicted[k] * 1024 * 1024 / bins.size / {AREA_UNIT:g}) for k in {AREA_BINS}]
    known = RULE["presence_intercept"] + RULE["max_pixel_weight"] * log_odds(maximum)
    known += sum(weight * one for weight, one in zip(RULE["area_weights"], large)){{head}}
    firsts = {RANGES}
    lesion = np.diff(predicted[list(firsts)], append=0) * -np.array(RULE["lesion_shares"])
    overlap = lesion[::-1].cumsum()[::-1]
    figures = [2 * overlap[k] / (predicted[first] + overlap[0]) for k, first in enumerate(firsts) if k > 0]
    first, figure = firsts[1 + int(np.argmax(figures))], max(figures)
    dice = logistic(RULE["dice_intercept"] + RULE["dice_weight"] * log_odds(figure)) if figure > 0 else 0
    return (bins >= first) & (logistic(known) * (1 + dice) > 1)"""
_HELPERS = f"""
RULE = json.loads(Path("thresholds.json").read_text())["rule"]["expected_score"]


def log_odds(p: float) -> float:
    p = min(max(p, {LIMIT:g}), 1 - {LIMIT:g})
    return math.log(p / (1 - p))


def logistic(x: float) -> float:
    return 1 / (1 + math.exp(-x))

"""


def write(rule: DecisionRule, size: int, *, presence_head: bool) -> list[str]:
    """Return the program's lines.

    Args:
        rule: Makes the mask.
        size: Height and width of the networks' input in pixels.
        presence_head: Whether the graph has the presence probability as a second output.
    """
    by_score = rule.expected_score is not None
    outputs = "pixels, presence" if presence_head else "pixels,"
    return f"""\
{"import json" + chr(10) if by_score else ""}import math
import os
{"from pathlib import Path" + chr(10) if by_score else ""}
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # no usage statistics

import cv2
import numpy as np
import onnxruntime

SIZE = {size}
session = onnxruntime.InferenceSession("model.onnx")
{_HELPERS if by_score else chr(10)}
def segment(image: np.ndarray) -> np.ndarray:
    \"\"\"Return the mask (rows, columns) of an X-ray (rows, columns), uint8 or uint16, 0 black.\"\"\"
    rows, columns = image.shape
    scale = SIZE / max(rows, columns)
    height, width = (math.ceil(length * scale - 1e-6) for length in image.shape)
    top, left = (SIZE - height) // 2, (SIZE - width) // 2
    gray = image.astype(np.float32) / np.iinfo(image.dtype).max
    square = np.zeros((SIZE, SIZE), np.float32)
    square[top : top + height, left : left + width] = cv2.resize(gray, (width, height), interpolation=cv2.INTER_AREA)
    {outputs} = session.run(None, {{"{onnx_export.IMAGE}": square[None, None]}})
    content = pixels[0, top : top + height, left : left + width]
    probability = cv2.resize(content, (columns, rows), interpolation=cv2.INTER_LINEAR)
{_by_score(presence_head) if by_score else _by_thresholds(rule, presence_head)}""".splitlines()


def _by_score(presence_head: bool) -> str:
    head = ' + RULE["head_weight"] * log_odds(presence[0])' if presence_head else ""
    return _BY_SCORE.replace("{head}", head)


def _by_thresholds(rule: DecisionRule, presence_head: bool) -> str:
    values = rule.in_probabilities()
    positive = f"area >= {max(values.min_area, 1e-9):g}"
    if presence_head and values.presence_threshold > 0:
        positive += f" and presence[0] >= {values.presence_threshold:g}"
    return f"""\
    area = np.count_nonzero(probability >= {values.top_threshold:g}) * 1024 * 1024 / probability.size
    positive = {positive}
    return (probability >= {values.bottom_threshold:g}) & positive"""
