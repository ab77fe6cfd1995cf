"""The weights with the best scores of a fold's last stage, on disk while it is trained.

    FOLD/best/epoch-0012.safetensors      the averaged weights as the twelfth epoch of the fold ended
    FOLD/best/epoch-0012.sha256           their SHA-256, which they must have when they are read

Which epochs are the best is a pure function of the history, which the checkpoints have: a resumed fold writes the same
files again. One is removed only when the histories of both checkpoints on disk know better ones.
"""

import copy
import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import nn

from pneumo.modeling import weight_files
from pneumo.modeling.mean_segmenter import MeanSegmenter
from pneumo.runtime.errors import UserError, first_line
from pneumo.runtime.files import publish, publish_text, remove_temporary_files, sha256
from pneumo.training import checkpoint_directory
from pneumo.training.loop_state import SCORE

History = Sequence[Mapping[str, int | float]]


def best_epochs(history: History, stage: int, count: int) -> list[int]:
    """Return the epochs of a stage with the best validation scores, the best first; of equal ones the earlier.

    Args:
        history: One entry for each epoch, as in ``LoopState``.
        stage: Index of the stage.
        count: How many, or all there are.
    """
    validated = [entry for entry in history if entry["stage"] == stage and SCORE in entry]
    ordered = sorted(validated, key=lambda entry: (-entry[SCORE], entry["epoch"]))
    return [int(entry["epoch"]) for entry in ordered[:count]]


class BestCheckpoints:
    """The files of one fold.

    Args:
        directory: Where they are.
        stage: Index of the last stage.
        count: How many networks are averaged.
    """

    def __init__(self, directory: Path, stage: int, count: int) -> None:
        self.directory, self.stage, self.count = directory, stage, count

    def update(self, history: History, network: nn.Module) -> None:
        """Write the averaged weights if the last epoch is one of the best, and remove what is not needed any more.

        Args:
            history: With the epoch that has just been validated.
            network: Has its averaged weights.
        """
        epoch = int(history[-1]["epoch"])
        if epoch in best_epochs(history, self.stage, self.count):
            self.directory.mkdir(exist_ok=True)
            self._write(epoch, network)
        # Of the checkpoints that are kept the oldest has a history that is shorter by one epoch.
        recent = [history[: len(history) - back] for back in range(checkpoint_directory.KEEP + 1)]
        needed = {self._path(e) for entries in recent for e in best_epochs(entries, self.stage, self.count)}
        for path in self.directory.glob("epoch-*.safetensors"):
            if path not in needed and re.fullmatch(r"epoch-\d{4,6}", path.stem):
                path.unlink(missing_ok=True)
                _record(path).unlink(missing_ok=True)
        if self.directory.is_dir():
            remove_temporary_files(self.directory)

    def load(self, history: History, network: nn.Module) -> MeanSegmenter:
        """Return the networks of the best epochs as one, in evaluation mode.

        Args:
            history: Of the whole fold.
            network: A network of the fold, on its device, which stays as it is.

        Raises:
            UserError: When a file is missing or damaged.
        """
        members = []
        for epoch in best_epochs(history, self.stage, self.count):
            member, path = copy.deepcopy(network), self._path(epoch)
            try:
                if sha256(path) != _record(path).read_text().strip():
                    raise ValueError(f"another SHA-256 than in {_record(path).name}")
                member.load_state_dict(weight_files.read_safetensors(path))
            except (OSError, ValueError, RuntimeError) as error:
                raise UserError(
                    f"{path}: {first_line(error)}",
                    "the weights that training wrote",
                    f"restore the file, or delete {self.directory.parent}: the same command trains the fold again",
                ) from error
            members.append(member)
        return MeanSegmenter(members).eval()

    def _write(self, epoch: int, network: nn.Module) -> None:
        path, digest = self._path(epoch), hashlib.sha256()
        with publish(path) as file:

            def write(data: memoryview | bytes) -> None:
                file.write(data)
                digest.update(data)

            weight_files.write_safetensors(network.state_dict(), write)
        # A process that is killed between the two repeats the epoch: its checkpoint comes after both.
        publish_text(_record(path), f"{digest.hexdigest()}\n")

    def _path(self, epoch: int) -> Path:
        return self.directory / f"epoch-{epoch:04d}.safetensors"


def _record(weights: Path) -> Path:
    return weights.with_suffix(".sha256")
