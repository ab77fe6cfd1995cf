"""The published weights of a trained fold: read back only as training wrote them, and only when they are finite."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from pneumo.modeling.finite import find_nonfinite
from pneumo.modeling.weight_files import read_safetensors
from pneumo.modeling.weights import differences
from pneumo.runtime.errors import UserError, first_line
from pneumo.runtime.files import sha256


@dataclass(frozen=True)
class TrainedWeights:
    """A fold's published weights."""

    path: Path
    """A safetensors file."""
    sha256: str
    """Digest of the file that training wrote, hexadecimal."""
    repair: str
    """What to do when the file is missing or another one."""

    def read(self) -> dict[str, Tensor]:
        """Read the tensors onto the CPU.

        Raises:
            UserError: When the file is missing, damaged, another one, or has numbers that are not finite.
        """
        try:
            state = read_safetensors(self.path)
            digest = sha256(self.path)
            require_finite(state, self.path)
        except (OSError, ValueError, NotImplementedError) as error:  # the last from a type that no network has
            reason = getattr(error, "strerror", None) or str(error)
            if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
                action = "check the permissions, the disk and the mount"
                raise UserError(f"{self.path}: {reason}", "the weights of a finished fold", action) from error
            raise self._wrong(reason) from error
        if digest != self.sha256:
            raise self._wrong(f"SHA-256 {digest[:12]}..., but training wrote {self.sha256[:12]}...")
        return state

    def load(self, network: nn.Module, state: Mapping[str, Tensor]) -> None:
        """Load what ``read`` returned into a network with the same parameters.

        Raises:
            UserError: When the file is of another network.
        """
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise self._wrong(differences(network.state_dict(), state) or first_line(error)) from error

    def _wrong(self, reason: str) -> UserError:
        return UserError(f"{self.path}: {reason}", "the weights of a finished fold", self.repair)


def how_to_restore(path: Path) -> str:
    """Return what to do about a finished fold's file that is missing or another one."""
    return f"restore the file; if it is lost, delete {path.parent}: the same job/train.py command trains the fold again"


def require_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a fold's weights with a NaN or an infinity, whose predictions would be NaN.

    Raises:
        UserError: Naming the first such tensor.
    """
    broken = find_nonfinite(state)
    if broken:
        raise UserError(f"{path}: {broken} is not finite", "finite weights", "train the fold again in a new --run")
