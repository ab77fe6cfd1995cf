import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
from planted_modules import modules_run, plant_modules

from pneumo.runtime.safe_path import safe_path


def test_processes_import_nothing_from_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant_modules(tmp_path)
    monkeypatch.chdir(tmp_path)
    with safe_path(), ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(abs, -1).result() == 1
    assert modules_run(tmp_path) == []


@pytest.mark.parametrize("before", [None, "", "yes"])
def test_the_environment_is_as_before(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    if before is not None:
        monkeypatch.setenv("PYTHONSAFEPATH", before)
    with pytest.raises(KeyError), safe_path():
        assert os.environ["PYTHONSAFEPATH"] == "1"
        raise KeyError
    assert os.environ.get("PYTHONSAFEPATH") == before
