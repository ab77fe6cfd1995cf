"""One optimizer step on 1, 2 and 3 ranks: a Python that has imported torch forks the ranks and saves what each got.

Started as a script with a directory, it writes ``SIZE-AT_ONCE-UNLABELED-RANK.pt`` for every rank of every case.
"""

import multiprocessing
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
import torch.distributed as dist
from training_runs import shrunk

from pneumo.distributed.collectives import Group
from pneumo.loading.contract import Batch
from pneumo.modeling import models
from pneumo.training.consistency_config import ConsistencyConfig
from pneumo.training.train_state import TrainState

# Ranks, images in a forward pass, and micro-batches of unlabeled images.
CASES = ((1, 2, 0), (2, 2, 0), (3, 2, 0), (1, 4, 0), (1, 10, 0), (2, 4, 0), (1, 2, 3), (2, 2, 3), (3, 2, 3), (2, 4, 3))
# Five micro-batches: 3 + 2 on two ranks, 2 + 2 + 1 on three.
DEBUG = shrunk("debug")
# An encoder with plain batch normalization, of which a forward pass may have several micro-batches.
MODEL = replace(DEBUG.model, encoder="tu-test_resnet")
RECIPE = replace(DEBUG, model=MODEL, batch_size=10, micro_batch_size=2, clip_norm=0.0, precision="fp32")


def micro_batch(index: int) -> Batch:
    generator = torch.Generator().manual_seed(index)
    image = torch.rand(2, 1, 64, 64, generator=generator)
    return Batch(image=image, mask=(image > 0.9 + 0.02 * index).float(), rows=np.arange(2))


def do_step(rank: int, size: int, at_once: int, unlabeled: int, directory: Path) -> None:
    """Do one step of plain gradient descent, which hides no factor as Adam does, and save the result."""
    torch.set_num_threads(1)
    name = f"{size}-{at_once}-{unlabeled}"
    device, processes = torch.device("cpu"), None
    if size > 1:
        dist.init_process_group("gloo", init_method=f"file://{directory}/{name}", rank=rank, world_size=size)
        processes = dist.group.WORLD
    group = Group(rank=rank, size=size, device=device, tensor_group=processes, control_group=processes)
    world = SimpleNamespace(device=device)
    recipe = replace(RECIPE, consistency=ConsistencyConfig(images=2 * unlabeled))
    state = TrainState(recipe, 7, world, group, at_once)  # type: ignore[arg-type]
    state.optimizer = torch.optim.SGD(state.model.parameters(), lr=0.0)
    others = [micro_batch(100 + index) for index in state.unlabeled_indices]
    state.step([micro_batch(index) for index in state.micro_batch_indices], 0, 0.5, others, 0.5)
    gradients = {name: p.grad for name, p in state.model.named_parameters() if p.grad is not None}
    torch.save({"gradients": gradients, "state": state.model.state_dict()}, directory / f"{name}-{rank}.pt")
    if size > 1:
        dist.destroy_process_group()


def main(directory: Path) -> None:
    # The first network of a process of timm imports the compiler.
    models.build(MODEL)
    context = multiprocessing.get_context("fork")
    places = [(rank, size, *passes) for size, *passes in CASES for rank in range(size)]
    ranks = [context.Process(target=do_step, args=(*place, directory)) for place in places]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    assert [process.exitcode for process in ranks] == [0] * len(ranks)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
