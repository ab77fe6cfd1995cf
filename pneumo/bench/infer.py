"""Validating a fold and ensembling, beside the forward passes alone of the same networks on batches in memory.

What the commands do besides: read and decode the images, resize the probabilities to the source, count them, make the
masks of positives. It overlaps with the forward passes where other cores or a GPU do these. Validation is also timed
without its network, which gives the host's part by itself.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pneumo.bench import infer_memory
from pneumo.bench.comparison import Comparison, per_item
from pneumo.bench.random_run import repeat_images, write_run
from pneumo.bench.scaling import growth
from pneumo.bench.settings import Settings
from pneumo.bench.source import Source
from pneumo.bench.timing import Work, time_in_turns
from pneumo.dataset.shard_reader import ShardReader
from pneumo.distributed.device import resolve_precision
from pneumo.distributed.startup import init
from pneumo.distributed.world import World
from pneumo.inference.build import build_predictor
from pneumo.inference.decision_rule import DecisionRule
from pneumo.inference.ensembler import Ensembler
from pneumo.inference.evaluation import validation_metrics
from pneumo.inference.histograms import BINS, PredictionHistograms, area
from pneumo.inference.network_mean import NetworkMean
from pneumo.inference.out_of_fold import predict_histograms
from pneumo.inference.prediction import plan_batches, split_batches
from pneumo.inference.predictor import VIEWS
from pneumo.loading.build import build_loader
from pneumo.modeling.config import ModelConfig
from pneumo.modeling.segmenter import SegmenterOutput
from pneumo.training.fold_data import FoldData
from pneumo.training.fold_validation import FoldValidation
from pneumo.training.recipe import Recipe
from pneumo.training.train_state import TrainState

FOLDS = 2
"""Whose networks are averaged."""
CPU_IMAGES = 24
"""On a CPU, at most."""
GPU_IMAGES = 512
"""On a GPU: those that there are, again and again."""
GPU_SIZE = 512
LARGER = 10
"""Times the images, for the row of growth."""
POSITIVE_RATE = 0.22
"""As in the competition."""


def measure(settings: Settings, source: Source) -> list[Comparison]:
    """Predict with a small network; on a GPU with the recipes' two at 512 pixels, in bf16 where the device has it."""
    world = init()
    networks, count = [("resnet34", settings.infer_size)], min(CPU_IMAGES, len(source.reader.table))
    if world.device.type == "cuda":
        networks, count = [(encoder, GPU_SIZE) for encoder in ("resnet34", "se_resnext50_32x4d")], GPU_IMAGES
    reader = repeat_images(source.reader, count)
    comparisons = []
    for encoder, size in networks:
        recipe = Recipe(model=ModelConfig(encoder=encoder, encoder_weights="none"), image_size=(size,))
        small, large = (
            _Prediction(recipe, of, world, settings.workers, source.directory)
            for of in (reader, repeat_images(source.reader, LARGER * count))
        )
        comparisons += [*_measure(small, settings.repeat), _measure_growth([small, large], settings.repeat)]
    return comparisons + infer_memory.measure(source.reader.dataset, settings)


def _measure(prediction: "_Prediction", repeat: int) -> list[Comparison]:
    rule = choose_rule(prediction.validate())
    network = prediction.recorded()
    works: list[Work] = [
        prediction.validate,
        partial(prediction.validate_by, network),
        partial(prediction.forward, 1),
        partial(prediction.ensemble, rule),
        partial(prediction.forward, FOLDS),
    ]
    validate, host, forward, ensemble, forwards = time_in_turns(works, repeat)
    described = prediction.describe()
    rows = [
        (f"validate a fold, {described}", "limit: forward passes", validate, forward),
        (f"ensemble {FOLDS} folds, {described}", "limit: forward passes", ensemble, forwards),
        (f"validate a fold without its network, {described}", "forward passes", host, forward),
    ]
    scale = 1000 / len(prediction.rows)
    return [
        per_item("infer", what, baseline, "ms/image", ours=ours, theirs=theirs, scale=scale)
        for what, baseline, ours, theirs in rows
    ]


def _measure_growth(predictions: Sequence["_Prediction"], repeat: int) -> Comparison:
    """Validate few and many images without the network, whose passes are as many as the images."""
    network = predictions[-1].recorded()
    seconds = time_in_turns([partial(prediction.validate_by, network) for prediction in predictions], repeat)
    what = f"validate a fold without its network, {predictions[0].describe()}"
    return growth("infer", what, "image", [len(prediction.rows) for prediction in predictions], seconds)


class _Prediction:
    """A fold to validate, a run to ensemble, and their networks' forward passes.

    Args:
        recipe: Of both.
        reader: All of its images are predicted.
        world: The one rank.
        workers: Threads of the loader.
        directory: Where the weights go.
    """

    def __init__(self, recipe: Recipe, reader: ShardReader, world: World, workers: int, directory: Path) -> None:
        self.recipe, self.reader, self.world, self.workers = recipe, reader, world, workers
        self.rows = np.arange(len(reader.table))
        self._state = TrainState(recipe, 0, world, world)
        run = write_run(recipe.inference, FOLDS, directory)
        loader = build_loader(recipe.loader, reader, world.device, workers)
        self._images = [batch.image for batch in loader(plan_batches(split_batches(self.rows), recipe.inference.size))]
        # Reading the weights takes as long for any number of images.
        self._mean = NetworkMean([run], reader=reader, world=world, workers=workers)
        self._networks = [self._mean.networks.predictor(0, weights).network for weights in run.weights]

    def describe(self) -> str:
        """Return the network, and what it computes in."""
        inference, device = self.recipe.inference, self.world.device
        precision = resolve_precision(inference.precision, device)
        views = 1 + len(inference.tta)
        return f"unet-{inference.model.encoder}, {inference.size} px, {views} views, {precision}, {device.type}"

    def validate(self) -> PredictionHistograms:
        """Validate as training does at the end of an epoch; nothing is known of any file."""
        reader, world, inference = self._anew(), self.world, self.recipe.inference
        loader = build_loader(self.recipe.loader, reader, world.device, self.workers)
        data = FoldData(reader=reader, train_rows=self.rows, validation_rows=self.rows)
        validation = FoldValidation(
            self.recipe, 0, data, loader, self._state, world=world, group=world, stop_if_asked=lambda: None
        )
        return _evaluated(validation.predict(inference.size, inference.tta))

    def validate_by(self, network: nn.Module) -> None:
        """Validate with another network."""
        reader = self._anew()
        loader = build_loader(self.recipe.loader, reader, self.world.device, self.workers)
        predictor = build_predictor(self.recipe.inference, network, self.world.device)
        _evaluated(predict_histograms(predictor, loader, reader, self.rows, self.world))

    def ensemble(self, rule: DecisionRule) -> None:
        """Make the masks as job/ensemble.py does."""
        Ensembler(self._mean, rule).run(self.rows)

    @torch.inference_mode()
    def forward(self, networks: int) -> None:
        """Pass the images in memory through as many networks, and do nothing else."""
        predictor = build_predictor(self.recipe.inference, self._networks[0], self.world.device)
        transforms = [VIEWS[name][0] for name in predictor.tta]
        for image in self._images:
            for network in self._networks[:networks]:
                for view in (image, *(transform(image) for transform in transforms)):
                    with predictor.autocast():
                        network(view)
        if self.world.device.type == "cuda":
            torch.cuda.synchronize(self.world.device)

    @torch.inference_mode()
    def recorded(self) -> nn.Module:
        """Return a network that gives the same output for every batch, without computing it."""
        predictor = build_predictor(self.recipe.inference, self._state.ema.model, self.world.device)
        with predictor.autocast():
            return _Recorded(predictor.network(self._images[0]))

    def _anew(self) -> ShardReader:
        return ShardReader(self.reader.dataset, self.reader.table)


class _Recorded(nn.Module):
    def __init__(self, output: SegmenterOutput) -> None:
        super().__init__()
        self._output = output

    def forward(self, image: torch.Tensor) -> SegmenterOutput:
        logits, presence = self._output
        return SegmenterOutput(logits[: len(image)], None if presence is None else presence[: len(image)])


def _evaluated(histograms: PredictionHistograms | None) -> PredictionHistograms:
    """Search for the best rule, as after an epoch."""
    assert histograms is not None, "the only rank leads"
    validation_metrics(histograms)
    return histograms


def choose_rule(histograms: PredictionHistograms) -> DecisionRule:
    """Return the rule that gives masks of about one pixel in a hundred to as many images as in the competition."""
    above = histograms.predicted.sum(axis=0) / histograms.pixels.sum()
    threshold = min(int(np.count_nonzero(above > 0.01)), BINS - 1) or 1
    areas: Sequence[float] = area(histograms, threshold).tolist()
    return DecisionRule(threshold, float(np.quantile(areas, 1 - POSITIVE_RATE)), threshold)
