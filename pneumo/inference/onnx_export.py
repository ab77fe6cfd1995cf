"""The networks of a run as one ONNX graph: the mean over folds and views.

One graph, so that who uses it elsewhere makes one call and gets the probabilities that the decision rule expects. It
normalizes the image itself and computes in fp32; the number of images is free, their size is that of the recipe. The
weights are in the same file, or, since an ONNX file ends at 2 GB, in a second one beside it.

Equal networks give equal bytes: names, stack traces and paths of this machine, which the exporter records, are left
out.
"""

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from pneumo.inference.config import View
from pneumo.inference.predictor import VIEWS
from pneumo.runtime.errors import UserError, first_line

if TYPE_CHECKING:
    import onnx_ir

IMAGE, PIXELS, PRESENCE = "image", "pixel_probability", "presence_probability"
"""Names of the graph's input and its two outputs; the last only with a presence head."""
OPSET = 18
"""Version of ONNX's operators, of December 2022; torch exports all of them natively."""
MAX_BYTES = 1_900_000_000
"""Weights, in bytes, up to which there is one file: a protobuf message must stay below 2 GiB."""


class MeanOfNetworks(nn.Module):
    """The mean over networks, and for each over the image and its views: what ``NetworkMean`` computes for one run.

    Args:
        networks: The network of each fold.
        tta: Views beside the image itself.
        presence_head: Whether the networks have one.
    """

    def __init__(self, networks: Sequence[nn.Module], tta: Sequence[View], *, presence_head: bool) -> None:
        super().__init__()
        self.networks, self.tta, self.has_presence_head = nn.ModuleList(networks), tuple(tta), presence_head
        self.eval()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return pixel probabilities (N, S, S), and with a presence head presence probabilities (N,).

        Args:
            image: (N, 1, S, S) float in [0, 1].
        """
        found = [values for network in self.networks for values in self._views(network, image)]
        return tuple(sum(values[1:], values[0]) / len(values) for values in zip(*found, strict=True))

    def _views(self, network: nn.Module, image: Tensor) -> list[tuple[Tensor, ...]]:
        outputs = [_probabilities(network, image)]
        for name in self.tta:
            apply, invert = VIEWS[name]
            pixels, *presence = _probabilities(network, apply(image))
            outputs.append((invert(pixels), *presence))
        return outputs


def _probabilities(network: nn.Module, image: Tensor) -> tuple[Tensor, ...]:
    output = network(image)
    pixels = torch.sigmoid(output.logits)[:, 0]
    return (pixels,) if output.presence_logit is None else (pixels, torch.sigmoid(output.presence_logit))


def export(model: MeanOfNetworks, size: int, path: Path, metadata: Mapping[str, str]) -> None:
    """Write a graph, and its weights beside it where they are too large for one file.

    Args:
        model: The networks, on the CPU.
        size: Height and width of an image in pixels.
        path: The file to write; a second one has ``.data`` after its name.
        metadata: What the file says about itself, beside what ``describe`` returns.

    Raises:
        UserError: When the exporter has no ONNX operators for the network.
    """
    import onnx

    presence_head = model.has_presence_head
    # Two images: with one, the exporter would take their number for a constant.
    image = torch.zeros(2, 1, size, size)
    try:
        with _silence(), torch.no_grad():
            program = torch.onnx.export(
                model,
                (image,),
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=[IMAGE],
                output_names=[PIXELS, PRESENCE][: 1 + presence_head],
                opset_version=OPSET,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        raise UserError(
            f"torch cannot export this network to ONNX ({first_line(error)})",
            "an encoder and a decoder of operators that ONNX has",
            "give --no-onnx for an export without model.onnx",
        ) from error
    assert program is not None
    graph = program.model
    _leave_out_origins(graph)
    graph.metadata_props.update(describe(size, presence_head=presence_head) | dict(metadata))
    large = sum(parameter.nbytes for parameter in model.state_dict().values()) > MAX_BYTES
    program.save(path, external_data=large)
    onnx.checker.check_model(path, full_check=True)


def describe(size: int, *, presence_head: bool) -> dict[str, str]:
    """Return what goes in and what comes out, by name, in words for those who do not have pneumo.

    Args:
        size: Height and width of an image in pixels.
        presence_head: Whether there is the second output.
    """
    described = {
        IMAGE: f"float32 (batch, 1, {size}, {size}), any batch size: gray values from 0, black, to 1, white, as they"
        f" are displayed. The X-ray is scaled so that its longer side has {size} pixels, its aspect kept, and centered;"
        " what is left of the square is 0. The graph itself subtracts the mean and divides by the standard deviation.",
        PIXELS: f"float32 (batch, {size}, {size}): probability of each pixel that it is pneumothorax, the mean over all"
        " folds and views. Cut the X-ray's part out of the square and resize it, linearly, to the X-ray's own size"
        " before applying the decision rule.",
    }
    if presence_head:
        described[PRESENCE] = "float32 (batch,): probability that the image has a pneumothorax at all."
    return described


def _leave_out_origins(model: "onnx_ir.Model") -> None:
    """Remove what the exporter notes about where each part comes from: module names, stack traces, file names."""
    for graph in model.graphs():
        graph.metadata_props.clear()
        graph.doc_string = None
        for value in (*graph.inputs, *graph.outputs, *graph.initializers.values()):
            value.metadata_props.clear()
        for node in graph:
            node.metadata_props.clear()
            node.doc_string = None
            for value in node.outputs:
                value.metadata_props.clear()
    model.metadata_props.clear()


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep the exporter's progress and its warnings about its own future off the terminal."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
