"""Pneumothorax segmentation: DICOM -> dataset -> run -> submission."""

import os
from pathlib import Path

__version__ = "0.2.0"

# Threads that wait for each other must not spin: on a shared node, in a container with fewer cores than it sees, or
# with several ranks a machine, spinning made training five times slower. libgomp reads this when torch loads it, so
# it is set here, before anything of the package imports torch.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# No usage statistics, not even to the hub that `encoder_weights imagenet` downloads from. ONNX Runtime collects some
# too, and leaves the number of this machine in /tmp/.ses.
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# torch keeps compiled code in /tmp/torchinductor_USER, which another user of a shared machine can create first; in the
# user's own home nobody else can write.
_cache = Path(os.environ.get("HOME", "/nonexistent"), ".cache")
if os.access(_cache if _cache.exists() else _cache.parent, os.W_OK | os.X_OK):
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(_cache / "torchinductor"))

# torch prints the C++ stack of every connection that a lost rank breaks; `distributed.watchdog` logs one line.
os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
