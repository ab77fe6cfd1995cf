"""The DALI loader on a GPU: an epoch that decodes, one from its cache, and training steps with the images of a cache.

The loader is compared with the 1st place's on one core, the step with the same step on a batch that is always the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import cycle, islice

import torch

from pneumo.bench.comparison import Comparison, per_second
from pneumo.bench.timing import time_in_turns
from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.world import World
from pneumo.loading.contract import BatchPlan
from pneumo.loading.dali import DaliLoader
from pneumo.loading.device_cache import DeviceCache
from pneumo.modeling.config import ModelConfig
from pneumo.training.recipe import Recipe
from pneumo.training.train_state import TrainState

STEPS = 40
"""Training steps in a round."""


@dataclass(frozen=True, eq=False, kw_only=True)
class GpuLoading:
    """What is measured."""

    reader: ShardReader
    plans: Sequence[BatchPlan]
    """An epoch; steps take those as large as the first."""
    device: torch.device
    cache: DeviceCache
    workers: int
    repeat: int
    """Rounds."""
    encoder: str = "resnet34"
    """Of the U-Net that is trained."""

    def measure(self, winner: Callable[[], object]) -> list[Comparison]:
        """Time the loader beside the 1st place's, ``winner``, which loads as many images, and the step with data."""
        return [*self._compare_epochs(winner), self._compare_steps()]

    def _compare_epochs(self, winner: Callable[[], object]) -> list[Comparison]:
        loader = self._loader()

        def decoded() -> None:
            self.cache.clear()
            self._drain(loader)

        def kept() -> None:
            self._drain(loader)

        first, later, theirs = time_in_turns([decoded, kept, winner], self.repeat)
        size, images = self.plans[0].size, sum(len(plan.rows) for plan in self.plans)
        where = f"DALI loader on the GPU, {loader.workers} threads, {size} px"
        return [
            per_second(
                "load",
                f"{what}, {where}",
                "winner's loader, 1 core",
                "img/s",
                ours=seconds,
                theirs=theirs,
                items=images,
            )
            for what, seconds in (("first epoch", first), ("from the cache", later))
        ]

    def _compare_steps(self) -> Comparison:
        size, images = self.plans[0].size, len(self.plans[0].rows)
        recipe = Recipe(
            model=ModelConfig(encoder=self.encoder, encoder_weights="none"),
            image_size=(size,),
            batch_size=images,
            micro_batch_size=images,
        )
        world = World(rank=0, size=1, device=self.device, cores=self.workers)
        state, loader = TrainState(recipe, 0, world, world), self._loader()
        plans = [plan for plan in self.plans if len(plan.rows) == images]
        resident = next(iter(loader(plans[:1])))

        def with_data() -> None:
            for step, batch in enumerate(loader(islice(cycle(plans), STEPS))):
                state.step([batch], step, 1e-4)
            self._wait()

        def on_resident() -> None:
            for step in range(STEPS):
                state.step([resident], step, 1e-4)
            self._wait()

        ours, limit = time_in_turns([with_data, on_resident], self.repeat)
        return per_second(
            "load",
            f"step of unet-{self.encoder} with data from the cache, {size} px, batch {images}",
            "the step on a resident batch",
            "img/s",
            ours=ours,
            theirs=limit,
            items=STEPS * images,
        )

    def _loader(self) -> DaliLoader:
        return DaliLoader(self.reader, self.device, self.workers, self.cache)

    def _drain(self, loader: DaliLoader) -> None:
        for batch in loader(self.plans):
            assert batch.image.dtype == torch.float32
        self._wait()

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
