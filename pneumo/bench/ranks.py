"""Two ranks of a fold beside one alone, beside two that exchange nothing, and beside the exchange alone.

All are measured in turns in the same two processes, which have equal parts of the cores. On a machine with one GPU or
none they compute on the CPU.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable

import torch

from pneumo.bench.comparison import Comparison, per_second
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.bench.start import JOB
from pneumo.bench.train import GPU_BATCH, GPU_SIZE, describe, draw, recipe_of
from pneumo.distributed.collectives import Group
from pneumo.distributed.device import CPU
from pneumo.distributed.gpus import count_gpus
from pneumo.distributed.startup import init
from pneumo.distributed.world import World
from pneumo.training.recipe import Recipe
from pneumo.training.train_state import TrainState

RANKS = 2
STEPS = 4
"""Optimizer steps of a rank in a round."""
WORKS = ("exchange", "none", "alone", "sum")
"""Steps of both ranks with the exchange of gradients and without it, those of one rank while the other one waits, and
as many sums of the gradients over the ranks without any step."""
_PROGRAM = """
import sys
from pneumo.bench import ranks
ranks.main(*map(int, sys.argv[1:]))
"""


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Start the ranks, and compare what they measured."""
    program = source.directory / "rank.py"
    program.write_text(_PROGRAM)
    on_gpus = count_gpus(os.environ) >= RANKS
    environment = os.environ if on_gpus else {**os.environ, "CUDA_VISIBLE_DEVICES": ""}
    size = GPU_SIZE if on_gpus else settings.train_size
    words = [sys.executable, str(JOB / "launch.py"), "--processes", str(RANKS), str(program)]
    words += [str(size), str(settings.repeat)]
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    return _compare(found["what"], found["batch"], found["seconds"])


def _compare(what: str, batch: int, seconds: dict[str, list[float]]) -> list[Comparison]:
    exchange, none, alone, summed = (seconds[name] for name in WORKS)
    apart = [step + exchanged for step, exchanged in zip(none, summed, strict=True)]
    baselines = {
        "limit: one rank alone": alone,
        "limit: the same, nothing exchanged": none,
        "step, then exchange": apart,
    }
    return [
        per_second("ranks", what, baseline, "img/s per rank", ours=exchange, theirs=theirs, items=STEPS * batch)
        for baseline, theirs in baselines.items()
    ]


def main(size: int, repeat: int) -> None:
    """Measure as one of the ranks; the first one prints the seconds of each round as JSON."""
    world = init()
    batch = 4 if world.device == CPU else GPU_BATCH
    encoder = "mobilenet_v2" if world.device == CPU else "se_resnext50_32x4d"
    together, own = recipe_of(encoder, size, batch, micro_batches=RANKS), recipe_of(encoder, size, batch)
    works = _works(together, own, world)
    seconds: dict[str, list[float]] = {name: [] for name in WORKS}
    for round_ in range(-1, repeat):
        for name in WORKS:
            took = _time(works[name], world)
            if round_ >= 0:
                seconds[name].append(took)
    if world.is_leader:
        what = f"{describe(own, world)} on each of {RANKS} ranks"
        sys.stdout.write(json.dumps({"what": what, "batch": batch, "seconds": seconds}) + "\n")


def _works(together: Recipe, own: Recipe, world: World) -> dict[str, Callable[[], None]]:
    group = Group(rank=0, size=1, device=world.device)
    joined, single = TrainState(together, 0, world, world), TrainState(own, 0, world, group)
    images = draw(own.batch_size, own.image_size[0], world.device)
    gradients = [torch.zeros(sum(p.numel() for p in single.model.parameters()), device=world.device)]

    def steps_of(state: TrainState) -> None:
        for step in range(STEPS):
            state.step([images], step, 1e-4)

    def sums() -> None:
        for _ in range(STEPS):
            world.all_reduce_sum_(gradients[0])

    return {
        "exchange": lambda: steps_of(joined),
        "none": lambda: steps_of(single),
        "alone": lambda: steps_of(single) if world.is_leader else None,
        "sum": sums,
    }


def _time(work: Callable[[], None], world: World) -> float:
    """Return the seconds until all ranks have done the work."""
    world.barrier()
    start = time.perf_counter()
    work()
    if world.device.type == "cuda":
        torch.cuda.synchronize(world.device)
    world.barrier()
    return time.perf_counter() - start
