"""Parameters without a use are frozen, and two processes train the others."""

import socket
from pathlib import Path

import pytest
import torch
import torch.multiprocessing
from tiny_models import TINY, image, make
from torch import nn

from pneumo.modeling.config import ModelConfig
from pneumo.modeling.losses.loss import loss
from pneumo.modeling.losses.registry import LossConfig
from pneumo.modeling.models import build


def test_unused_parameters_are_frozen_and_nothing_else():
    model = make(attention="scse")
    frozen = [name for name, parameter in model.named_parameters() if not parameter.requires_grad]
    assert len(frozen) == 6
    assert all("blocks.4.attention1" in name for name in frozen)
    model(image(2)).logits.sum().backward()
    assert all((p.grad is None) == (not p.requires_grad) for p in model.parameters())


def test_a_network_that_is_not_trained_is_left_as_it_is():
    config = ModelConfig(encoder=TINY, attention="scse", architecture="unet", presence_head=True)
    assert all(parameter.requires_grad for parameter in build(config, freeze_unused=False).parameters())


def _ddp_step(rank: int, port: int, directory: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    config = ModelConfig(encoder=TINY, attention="scse", architecture="unet", presence_head=True)
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(build(config))
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for step in range(3):  # a parameter without gradient shows at the second step
        # The head's weight is 0: its parameters must take part in the backward pass all the same.
        output = model(image(1, seed=10 * step + rank))
        parts = loss(output, (image(1, seed=step) > 0.9).float(), LossConfig(presence=0.0))
        optimizer.zero_grad()
        parts.total.mean().backward()
        optimizer.step()
    torch.save(dict(model.module.named_parameters()), Path(directory) / f"{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_ddp_processes_train_scse_and_an_unweighted_head(tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torch.multiprocessing.spawn(_ddp_step, args=(port, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert all(torch.equal(first[name], second[name]) for name in first)
    torch.manual_seed(0)
    fresh = build(ModelConfig(encoder=TINY, attention="scse", presence_head=True))
    moved = [name for name, value in fresh.named_parameters() if not torch.equal(value, first[name])]
    assert "net.segmentation_head.0.weight" in moved
