"""Optimizers by name, with weight decay on the convolution and linear weights alone."""

from collections.abc import Callable

import torch
from torch import nn

from pneumo.training.recipe import Recipe

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "radam": torch.optim.RAdam,
}


def build(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Build the recipe's optimizer over the model's trainable parameters, with learning rate 0 until it is set.

    Parameters of one dimension (biases, normalization weights) get no weight decay: it shifts their layer's outputs
    without regularizing anything (Goyal et al., Accurate, Large Minibatch SGD, 2017, section 5.3).
    """
    trainable = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in trainable if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return OPTIMIZERS[recipe.optimizer](groups, lr=0.0)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group the same learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
