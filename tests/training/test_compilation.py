"""torch.compile of a network, and a machine without a compiler."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from waiting import LONG_S

from pneumo.runtime.errors import UserError
from pneumo.training.compilation import compile_network

CPU = torch.device("cpu")
PROGRAM = """
import torch
from pneumo.training.compilation import compile_network
network = torch.nn.Conv2d(1, 1, 3, padding=1)
compiled = compile_network(network, torch.device("cpu"))
for size in (8, 16):
    image = torch.rand(2, 1, size, size)
    torch.testing.assert_close(compiled(image), network(image))
print("compiled")
"""


def run(**environ: str) -> subprocess.CompletedProcess[str]:

    return subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | environ,
        capture_output=True,
        text=True,
        timeout=LONG_S,
        check=False,
    )


@pytest.mark.slow
def test_a_compiled_network_is_the_network_at_each_size() -> None:
    done = run()
    assert done.returncode == 0, done.stderr
    assert done.stdout == "compiled\n"


@pytest.mark.slow
def test_a_missing_compiler_is_an_error_of_the_user(tmp_path: Path) -> None:
    done = run(CXX=str(tmp_path / "none"), TORCHINDUCTOR_CACHE_DIR=str(tmp_path))
    assert "UserError: --compile, and nothing can be compiled for cpu here" in done.stderr.splitlines()[-1]


def test_without_a_compiler_the_flag_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> object:
        raise RuntimeError("Failed to find C compiler. Please specify via CC environment variable.\nmore")

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(UserError, match=r"--compile, .* for cpu here \(RuntimeError: Failed to find C compiler\. .*CC"):
        compile_network(torch.nn.Identity(), CPU)
