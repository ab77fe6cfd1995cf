"""Loader and predictor of one run, for validation, out-of-fold histograms and masks, ensembling and prediction.

The decision rule was chosen on predictions of these settings, so every later prediction has to use them too.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from functools import partial

import torch
from torch import nn

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.device import describe, nearest_precision
from pneumo.inference.config import InferenceConfig, Precision
from pneumo.inference.predictor import Predictor
from pneumo.loading.build import build_loader
from pneumo.loading.contract import Loader
from pneumo.modeling import models
from pneumo.modeling.mean_segmenter import MeanSegmenter
from pneumo.runtime.console import log


def build(
    config: InferenceConfig, reader: ShardReader, device: torch.device, *, workers: int
) -> tuple[Loader, Predictor]:
    """Build the loader, and the predictor of a network with random weights (``weights.load`` loads a fold's).

    Args:
        config: The settings of the run.
        reader: Gives the images.
        device: Where the network computes.
        workers: Threads of the loader.

    Raises:
        UserError: When the loader is not installed.
    """
    network = build_network(config, freeze_unused=False).to(device).eval()
    if config.channels_last:
        network = network.to(memory_format=torch.channels_last)
    loader = build_loader(config.loader, reader, device, workers=workers)
    precision = nearest_precision(config.precision, device)
    if config.precision not in ("auto", precision):
        log.warning("predicting in %s, since %s does not have %s", precision, describe(device), config.precision)
    return loader, build_predictor(config, network, device)


def build_network(config: InferenceConfig, *, freeze_unused: bool = True) -> nn.Module:
    """Build a fold's network with random weights on the CPU: that of all its members."""
    model = replace(config.model, encoder_weights="none")
    members = [models.build(model, freeze_unused=freeze_unused) for _ in range(config.members)]
    return members[0] if config.members == 1 else MeanSegmenter(members)


def build_predictor(config: InferenceConfig, network: nn.Module, device: torch.device) -> Predictor:
    """Build the predictor of a network that exists already."""
    return Predictor(network, size=config.size, tta=config.tta, autocast=make_autocast(config.precision, device))


def make_autocast(precision: Precision, device: torch.device) -> Callable[[], AbstractContextManager[None]]:
    """Return what makes the context manager of a precision, or of fp32 where the device does not have it."""
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(nearest_precision(precision, device))
    return nullcontext if dtype is None else partial(torch.autocast, device.type, dtype=dtype)
