"""The versions of what pneumo runs on, against the modules' own."""

import platform

import numpy as np
import pydicom
import pytest
import sklearn

import pneumo
from pneumo.runtime import versions
from pneumo.runtime.versions import installed_versions


def test_versions_are_those_of_the_modules() -> None:
    found = installed_versions()
    assert found["pneumo"] == pneumo.__version__
    assert found["Python"] == platform.python_version()
    assert found["numpy"] == np.__version__
    assert (found["scikit-learn"], found["pydicom"]) == (sklearn.__version__, pydicom.__version__)


def test_a_library_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versions, "LIBRARIES", ("numpy", "no-such-library"))
    assert installed_versions().keys() == {"pneumo", "Python", "numpy"}
