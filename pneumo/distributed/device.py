"""The device of this process: its GPU, if torch can compute on it, and the precision that the device has.

``auto`` is bf16 where the hardware has it (compute capability 8.0 or later), fp16 on 7.x, whose tensor cores have no
bf16, and fp32 on older GPUs and on a CPU. torch's own answer to whether bf16 is supported includes emulation by
default, which is several times slower than fp32.
"""

import os
import re
from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from pneumo.distributed.gpus import count_gpus
from pneumo.runtime.console import log
from pneumo.runtime.errors import UserError
from pneumo.runtime.freed_memory import keep_freed_memory
from pneumo.runtime.machine import processor_features

HardwarePrecision = Literal["fp32", "bf16", "fp16"]
CPU = torch.device("cpu")
BF16_FEATURES = frozenset(("avx512_bf16", "amx_bf16", "bf16"))
"""Names in /proc/cpuinfo of what multiplies bf16, the last of them on ARM."""


def choose_device(environ: Mapping[str, str] = os.environ) -> torch.device:
    """Return this rank's GPU, or the CPU where there is none, and make it the one that torch computes on.

    To be called before anything else asks CUDA for anything: that would create a context, which takes some hundred
    megabytes, on GPU 0 from every rank.

    Raises:
        UserError: When the installed torch has no kernels for the GPU.
    """
    local_rank = int(environ.get("LOCAL_RANK", "0"))
    if not torch.cuda.is_available():
        if local_rank == 0:
            _warn_of_unusable_gpus(environ)
        keep_freed_memory()
        return CPU
    device = torch.device("cuda", local_rank % torch.cuda.device_count())
    torch.cuda.set_device(device)
    _check_kernels(device)
    _configure_kernels()
    return device


def describe(device: torch.device) -> str:
    """Return the name of a GPU, or ``cpu``."""
    return device.type if device.type != "cuda" else torch.cuda.get_device_name(device)


def resolve_precision(precision: str, device: torch.device) -> HardwarePrecision:
    """Return the precision to compute in: that which is asked for, or for ``auto`` that which suits the device.

    Raises:
        UserError: When the device does not have the precision that is asked for.
    """
    if precision == "auto":
        half: tuple[HardwarePrecision, ...] = ("bf16", "fp16") if device.type == "cuda" else ()
        return next((kind for kind in half if has_precision(kind, device)), "fp32")
    if not has_precision(precision, device):
        alternative = resolve_precision("auto", device)
        raise UserError(
            f"--precision {precision} on {describe(device)}, which does not have it",
            f"{alternative} or fp32" if alternative != "fp32" else "fp32",
            f"set --precision {alternative}, in a new --run if this one was started on another device",
        )
    return precision  # type: ignore[return-value]


def nearest_precision(precision: str, device: torch.device) -> HardwarePrecision:
    """Return the precision to predict in: the one asked for, or fp32 where the device does not have it."""
    return resolve_precision(precision if precision == "auto" or has_precision(precision, device) else "fp32", device)


def has_precision(precision: str, device: torch.device) -> bool:
    """Return whether a device has a precision in hardware; every CPU has bf16, which gains nothing on most."""
    if precision == "fp32":
        return True
    if device.type != "cuda":
        return precision == "bf16"
    if precision == "bf16":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cuda.get_device_capability(device)[0] >= 7)


def warn_of_emulated_precision(precision: HardwarePrecision, device: torch.device) -> None:
    """Warn of bf16 on a CPU that has no instructions for it; say nothing where it is not known what the CPU has."""
    features = processor_features()
    if precision == "bf16" and device.type == "cpu" and features and not features & BF16_FEATURES:
        log.warning(
            "this processor has no instructions for bf16 (AVX512-BF16 or AMX), so that --precision bf16 is slower here"
            " than fp32: set --precision fp32 in a new --run"
        )


def has_kernels(capability: tuple[int, int], architectures: Sequence[str]) -> bool:
    """Return whether torch, built for some architectures, runs on a GPU of a compute capability.

    Machine code (``sm_80``) runs on GPUs of its major version from its minor one on, and that of ``sm_90a`` on 9.0
    alone; intermediate code (``compute_80``) is compiled for any later GPU.
    """
    found = [re.fullmatch(r"(sm|compute)_(\d+)(\d)([af]?)", name) for name in architectures]
    known = [(m[1], (int(m[2]), int(m[3])), m[4]) for m in found if m is not None]
    for kind, built, suffix in known:
        if capability == built or (not suffix and capability > built and kind == "compute"):
            return True
        if suffix != "a" and capability[0] == built[0] and capability >= built:
            return True
    # Of another vendor, or not built for any.
    return not known


def _check_kernels(device: torch.device) -> None:
    capability, architectures = torch.cuda.get_device_capability(device), torch.cuda.get_arch_list()
    if not has_kernels(capability, architectures):
        version = ".".join(map(str, capability))
        raise UserError(
            f"{torch.cuda.get_device_name(device)} has compute capability {version}, for which the installed torch"
            f" {torch.__version__} has no kernels",
            f"a GPU of one of its architectures, {' '.join(architectures)}",
            "install torch built for an older release of CUDA (12.6 has compute capability 5.0 to 9.0), or set"
            " CUDA_VISIBLE_DEVICES= to compute on the CPU",
        )


def _configure_kernels() -> None:
    """Let equal shapes choose equal convolutions in every process, and fp32 mean fp32.

    Results then agree within rounding, also those of a resumed run. Equal bits are not promised on a GPU: several
    backward passes add in the order in which their threads arrive.
    """
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    # TF32, the default for convolutions, rounds their inputs to 10 bits.
    torch.backends.cudnn.allow_tf32 = False


def _warn_of_unusable_gpus(environ: Mapping[str, str]) -> None:
    count = count_gpus(environ)
    if count:
        built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "the CPU alone"
        log.warning(
            "nvidia-smi lists %d GPU(s), and torch %s, built for %s, cannot use them: computing on the CPU; update the"
            " driver, or install torch built for an older release of CUDA; CUDA_VISIBLE_DEVICES= hides the GPUs",
            count,
            torch.__version__,
            built,
        )
