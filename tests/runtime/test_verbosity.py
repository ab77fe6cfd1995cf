"""The two flags of how much is printed."""

import logging

import pytest

from pneumo.runtime.errors import UserError
from pneumo.runtime.verbosity import Verbosity


def test_levels() -> None:
    assert Verbosity().level == logging.INFO
    assert Verbosity(quiet=True).level == logging.WARNING
    assert Verbosity(verbose=True).level == logging.DEBUG


def test_both_contradict_each_other() -> None:
    with pytest.raises(UserError, match="--quiet and --verbose"):
        Verbosity(quiet=True, verbose=True)
