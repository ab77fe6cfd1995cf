"""Optimizers by name, with weight decay on the convolution and linear weights alone."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from pneumo.training.recipe import Recipe

# Fused: one pass over the parameters and moments, on a CPU as on a GPU. RAdam has no such kernel.
OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": partial(torch.optim.AdamW, fused=True),
    "adam": partial(torch.optim.Adam, fused=True),
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


def load(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Load a state dict, also of an optimizer that was not fused or whose parameters lay otherwise in memory.

    Fused kernels read parameter, gradient and moments in the order in which each lies in memory, so that all must lie
    alike; torch checks that on a GPU only.

    Raises:
        LookupError, TypeError, ValueError: When it is not a state of these parameters.
    """
    own = optimizer.param_groups
    parameters = [parameter for group in own for parameter in group["params"]]
    moments = {index: _laid_out(values, parameters[index]) for index, values in state["state"].items()}
    computed = [{name: group[name] for name in ("fused",) if name in group} for group in own]
    groups = [group | mine for group, mine in zip(state["param_groups"], computed, strict=True)]
    optimizer.load_state_dict({**state, "state": moments, "param_groups": groups})


def _laid_out(values: dict[str, Any], parameter: nn.Parameter) -> dict[str, Any]:
    """Return a parameter's moments in its own memory format; refuse those of another shape."""
    laid_out = dict(values)
    for name, moment in values.items():
        if isinstance(moment, torch.Tensor) and moment.dim():
            # torch would notice only at the next step.
            if moment.shape != parameter.shape:
                raise ValueError(f"{name} of shape {tuple(moment.shape)} for {tuple(parameter.shape)}")
            laid_out[name] = torch.empty_like(parameter, dtype=moment.dtype, requires_grad=False).copy_(moment)
    return laid_out
