"""The outputs chosen for one prediction, in one directory."""

from collections.abc import Callable, Collection
from pathlib import Path

from pneumo.inference.ensembler import PredictedImage
from pneumo.reporting.outputs.context import OutputContext
from pneumo.reporting.outputs.registry import OUTPUTS, Output
from pneumo.runtime.console import log
from pneumo.runtime.errors import first_line


class OutputSet:
    """The chosen outputs; one that fails does not keep the others from being written.

    Args:
        directory: Where they write; what is there at the end is to be published.
        names: The outputs chosen.
        context: What is predicted.
    """

    def __init__(self, directory: Path, names: Collection[str], context: OutputContext) -> None:
        chosen = [OUTPUTS[name] for name in names]
        self._outputs: dict[str, Output] = {entry.file: entry.make(directory, context) for entry in chosen}
        self._errors: list[Exception] = []

    def add(self, image: PredictedImage) -> None:
        """Give one image to each output that has not failed."""
        self._each(lambda output: output.add(image))

    def close(self) -> None:
        """Close each output that has not failed."""
        self._each(lambda output: output.close())

    def raise_first_error(self) -> None:
        """Raise the first error of an output, when what the others wrote is published.

        Raises:
            Exception: As the output raised it.
        """
        if self._errors:
            raise self._errors[0]

    def _each(self, work: Callable[[Output], None]) -> None:
        for file, output in list(self._outputs.items()):
            try:
                work(output)
            except Exception as error:
                log.error("%s is incomplete (%s); the other outputs are still written", file, first_line(error))
                self._errors.append(error)
                del self._outputs[file]
