"""The networks come without torch's compiler, which is there as ever for who asks for it."""

import subprocess
import sys
from types import ModuleType

import pytest

from pneumo.modeling import light_import
from pneumo.modeling.light_import import COMPILER, import_models

AFTERWARDS = """
import sys
import torch
disable = torch.compiler.disable
from pneumo.modeling import models
assert "torch._dynamo" not in sys.modules, "imported by a library"
assert "torch._dynamo.utils" not in sys.modules, "the stand-in is still there"
assert torch.compiler.disable is disable
import torchvision
boxes = torch.tensor([[0.0, 0.0, 0.0, 4.0, 4.0]])
assert torchvision.ops.roi_align(torch.ones(1, 1, 4, 4), boxes, 2).tolist() == [[[[1.0] * 2] * 2]]
# RoIAlign asks whether it can be compiled for where torchvision has no kernel.
assert torchvision.ops.roi_align.__globals__["is_compile_supported"]("cpu") is True
assert torch._dynamo.utils.is_compile_supported("cpu") is True
assert torch.compile(lambda x: 2 * x, backend="eager")(torch.ones(2)).tolist() == [2.0, 2.0]
"""


def test_the_compiler_is_imported_when_it_is_asked_for() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", AFTERWARDS], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (COMPILER, f"{COMPILER}.utils"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.usefixtures("without_compiler")
def test_libraries_that_need_the_compiler_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    expected, tried = ModuleType("models"), []

    def import_module(name: str) -> ModuleType:
        tried.append(COMPILER in sys.modules)
        if tried[-1]:
            raise ImportError(f"no {COMPILER}")
        return expected

    monkeypatch.setattr(light_import, "import_module", import_module)
    assert import_models() is expected
    assert tried == [True, False]


@pytest.mark.usefixtures("without_compiler")
def test_functions_are_left_as_they_are_meanwhile() -> None:
    import torch

    def function() -> None:
        """Is marked in each of the ways that torch has."""

    before = torch.compiler.disable
    with light_import._without_compiler():
        assert torch.compiler.disable(function) is function
        assert torch.compiler.disable(recursive=False, reason="slow")(function) is function
        with pytest.raises(ImportError):
            __import__(COMPILER)
    assert torch.compiler.disable is before
