"""The ensembler: test images divided over all ranks, networks averaged, masks encoded where they are made.

No pixels travel between ranks and nothing is kept for longer than a block of images, so that memory depends neither
on the number of images nor on that of folds::

    for each of this rank's blocks of images
        for each run
            load the block once at the run's size
            for each fold: load its weights, add the mean of its views
            mean over folds -> the image's own size, times the run's share
        bins -> rule -> run lengths
    leader: gather strings
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch

from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed import heartbeat
from pneumo.distributed.world import World
from pneumo.inference import decision_rule, histograms, out_of_fold
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.predictor import Predictor, to_source
from pneumo.loading.build import build_loader
from pneumo.loading.contract import Batch
from pneumo.masks import rle
from pneumo.modeling import models, weights
from pneumo.modeling.models import ModelConfig
from pneumo.runtime.console import Progress
from pneumo.runtime.errors import UserError

BLOCK = 8
"""Batches that are held at once while all networks go over them."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class EnsembleMember:
    """One run's share in an ensemble."""

    model: ModelConfig
    """What its networks look like."""
    size: int
    """Height and width of their input in pixels."""
    weight_files: tuple[Path, ...]
    """A safetensors file for each fold."""
    weight: float
    """Weight of the run in the mean; the shares of all members sum to 1."""
    tta: tuple[str, ...]
    """Views beside the image itself."""


@dataclass(frozen=True, kw_only=True)
class ImagePrediction:
    """What the ensemble says about one image."""

    image_id: str
    rle: str
    """Kaggle's run lengths."""
    presence_probability: float
    """Probability that there is a pneumothorax, by the empty-mask heads; NaN without any."""
    mask_area: int
    """Pixels of the mask."""
    max_probability: float
    """Largest pixel probability, the lower border of its bin."""


class Ensembler:
    """Averages the networks of one or more runs.

    Args:
        members: The runs.
        rule: Decides on empty or not, and on the mask.
        reader: Gives the images.
        world: The ranks that share the images.
        workers: Threads of the loader.
        min_component: Connected parts of a mask smaller than this are dropped, in pixels of a 1024x1024 image.
    """

    def __init__(
        self,
        members: Sequence[EnsembleMember],
        rule: DecisionRule,
        *,
        reader: ShardReader,
        world: World,
        workers: int,
        min_component: float = 0.0,
    ) -> None:
        assert abs(sum(m.weight for m in members) - 1) < 1e-6
        self.members, self.rule, self.reader, self.world = members, rule, reader, world
        self.min_component = min_component
        self.loader = build_loader("auto", reader, reader.table, world.device, workers=workers)
        # One network for each run, whose weights are exchanged from fold to fold.
        self.networks = [
            models.build(replace(m.model, encoder_weights="none"))
            .to(world.device)
            .to(memory_format=torch.channels_last)
            .eval()
            for m in members
        ]

    def run(self, rows: Rows) -> list[ImagePrediction]:
        """Predict images.

        Args:
            rows: Their rows in the sample table; every rank gives the same.

        Returns:
            The findings in the order of ``rows`` on rank 0, an empty list on the others.
        """
        chunks = out_of_fold.chunks(rows)[self.world.rank :: self.world.size]
        mine: dict[int, ImagePrediction] = {}
        with Progress("ensemble", sum(map(len, chunks)), unit="images", enabled=self.world.is_leader) as progress:
            for first in range(0, len(chunks), BLOCK):
                block = chunks[first : first + BLOCK]
                mine |= self._block(block)
                progress.step(sum(map(len, block)))
        found = {row: finding for part in self.world.gather(mine) for row, finding in part.items()}
        return [found[row] for row in rows.tolist()] if self.world.is_leader else []

    def _block(self, chunks: Sequence[Rows]) -> dict[int, ImagePrediction]:
        """Predict some batches of images with every network."""
        rows = np.concatenate(chunks).tolist()
        table = self.reader.table
        shapes = [(int(table.rows[r]), int(table.columns[r])) for r in rows]
        pixels = [torch.zeros(shape) for shape in shapes]
        heads = np.zeros((len(rows), 2))  # weighted sum, and sum of the weights of those that have a head
        for member, network in zip(self.members, self.networks, strict=True):
            loaded = list(self.loader(out_of_fold.plans(chunks, member.size)))
            maps, head = self._member(member, network, loaded)
            for i, shape in enumerate(shapes):
                pixels[i] += member.weight * to_source(maps[i], *shape).cpu()
            has_head = ~np.isnan(head)
            heads += member.weight * np.stack([np.where(has_head, head, 0), has_head], axis=1)
        with np.errstate(invalid="ignore"):
            means = heads[:, 0] / heads[:, 1]
        return {
            row: self._decide(row, histograms.quantize(pixels[i].numpy()), float(means[i]))
            for i, row in enumerate(rows)
        }

    def _member(
        self, member: EnsembleMember, network: torch.nn.Module, loaded: Sequence[Batch]
    ) -> tuple[torch.Tensor, npt.NDArray[np.float64]]:
        """Return one run's mean over folds and views: maps (n, S, S) on the device, head probabilities (n,)."""
        sizes = [len(batch.rows) for batch in loaded]
        maps = torch.zeros(sum(sizes), member.size, member.size, device=self.world.device)
        heads = np.zeros(len(maps))
        predictor = Predictor(
            network,
            size=member.size,
            tta=member.tta,
            device=self.world.device,
            autocast=self.world.accelerator.autocast,
        )
        for path in member.weight_files:
            load_weights(network, path)
            start = 0
            for batch, size in zip(loaded, sizes, strict=True):
                heartbeat.touch("predicting test images")
                probability, head = predictor(batch.image)
                maps[start : start + size] += probability / len(member.weight_files)
                heads[start : start + size] += head / len(member.weight_files)
                start += size
        return maps, heads

    def _decide(self, row: int, bins: npt.NDArray[np.uint8], head: float) -> ImagePrediction:
        mask = decision_rule.apply_rule(bins, self.rule, head)
        if self.min_component > 0:
            mask = remove_small_components(mask, self.min_component)
        return ImagePrediction(
            image_id=str(self.reader.table.image_id[row]),
            rle=rle.encode(mask),
            presence_probability=head,
            mask_area=int(mask.sum()),
            max_probability=int(bins.max()) / histograms.BINS,
        )


def remove_small_components(mask: npt.NDArray[np.uint8], smallest: float) -> npt.NDArray[np.uint8]:
    """Return a mask (rows, columns) without its 8-connected parts of fewer than ``smallest`` pixels.

    ``smallest`` is counted in pixels of a 1024x1024 image, like the areas of rules.
    """
    count, labels, statistics, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    areas = histograms.equivalent_area(statistics[:, cv2.CC_STAT_AREA], mask.size)
    keep = areas >= smallest
    keep[0] = False  # the background
    assert count == len(keep)
    kept: npt.NDArray[np.uint8] = keep[labels].astype(np.uint8)
    return kept


def order_rows(
    findings: Mapping[str, str], expected: Sequence[str], say: Callable[[str], None]
) -> list[tuple[str, str]]:
    """Return one (id, mask) for each expected id, in that order; ids without an image get an empty mask, and are told.

    Args:
        findings: Run lengths by image id.
        expected: The ids a submission must have.
        say: Takes a warning.

    Raises:
        UserError: When none of the expected ids was predicted, which means the wrong file.
    """
    missing = [image_id for image_id in expected if image_id not in findings]
    surplus = len(findings.keys() - set(expected))
    if len(missing) == len(expected):
        raise UserError(
            f"none of the {len(expected)} expected ids is among the {len(findings)} test images",
            "the sample submission that belongs to these images",
            "check --expected and the dataset's --test-dicom (stage 1 and stage 2 have different ids)",
        )
    if missing:
        names = ", ".join(missing[:3])
        say(f"{len(missing)} expected id(s) have no image and get an empty mask: {names}{' ...' * (len(missing) > 3)}")
    if surplus:
        say(f"{surplus} test image(s) are not expected and are left out of the submission")
    return [(image_id, findings.get(image_id, rle.EMPTY)) for image_id in expected]


def load_weights(network: torch.nn.Module, path: Path) -> None:
    """Load a fold's published weights into a network.

    Raises:
        UserError: When the file is missing, damaged or of another network.
    """
    try:
        weights.load(network, path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"{path}: {reason}", "the weights of a finished fold", "train the fold again") from error
