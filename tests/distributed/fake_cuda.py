"""A stand-in for torch.cuda, for what is decided before anything is computed on a GPU."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

WHEEL = "sm_75 sm_80 sm_86 sm_90 sm_100 sm_120"
"""The architectures of torch's wheels for CUDA 13."""


@dataclass
class FakeCuda:
    """GPUs of one kind."""

    name: str
    capability: tuple[int, int]
    count: int = 8
    architectures: str = WHEEL
    calls: list[tuple[str, Any]] = field(default_factory=list)
    """What was asked, in order: the first to name a device must be ``set_device``."""

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the place of torch.cuda's functions."""
        for function in ("set_device", "get_device_capability", "get_device_name", "is_bf16_supported"):
            monkeypatch.setattr(torch.cuda, function, getattr(self, function))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: self.count)
        monkeypatch.setattr(torch.cuda, "get_arch_list", self.architectures.split)

    def set_device(self, device: torch.device) -> None:
        self.calls.append(("set_device", device))

    def get_device_capability(self, device: torch.device) -> tuple[int, int]:
        self.calls.append(("get_device_capability", device))
        return self.capability

    def get_device_name(self, device: torch.device) -> str:
        self.calls.append(("get_device_name", device))
        return self.name

    def is_bf16_supported(self, including_emulation: bool = True) -> bool:
        """As torch answers: with emulation, every GPU does bf16."""
        self.calls.append(("is_bf16_supported", including_emulation))
        return including_emulation or self.capability[0] >= 8


T4, V100 = ("Tesla T4", (7, 5)), ("Tesla V100-SXM2-16GB", (7, 0))
P100 = ("Tesla P100-PCIE-16GB", (6, 0))
A100, H100 = ("NVIDIA A100-SXM4-80GB", (8, 0)), ("NVIDIA H100 80GB HBM3", (9, 0))
OLDER = "sm_60 sm_70 sm_75 sm_80 sm_86 sm_90"
"""The architectures of torch's wheels for CUDA 12.6."""
