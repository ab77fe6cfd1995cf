"""Fixtures that several parts share: real images when they are at hand, a small synthetic dataset, one thread.

Under pytest-xdist every worker has a core of its own, and so have the commands that its tests start: each then takes
one thread as it does without xdist, and no test waits for the threads of another.
"""

import gc
import importlib.util
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

# The package sets this too, but here torch comes first.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
if "PYTEST_XDIST_WORKER" in os.environ:
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")) % len(cores)]})

import pytest
import torch

from pneumo.dataset.build import build
from pneumo.dataset.options import BuildInputs, BuildOptions
from pneumo.distributed.startup import init
from pneumo.distributed.world import World
from pneumo.runtime.console import log
from pneumo.runtime.machine import available_cores
from pneumo.synthetic import dicom_tree
from pneumo.synthetic.tree import SyntheticTree

torch.set_num_threads(1)
# nohup and the background of a script ignore these, and so would all commands that the tests start. A handler does not
# end the suite either, and is not inherited.
for number in (signal.SIGHUP, signal.SIGINT):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, lambda *_: None)

ROOT = Path(__file__).resolve().parent.parent
TOGETHER = ("tests/security/", "tests/distributed/")
"""Directories whose files share the results of commands that take long."""
LONGEST = (
    *(
        "tests/distributed/",
        "tests/bench/test_bench_command.py",
        "tests/test_page_commands.py",
        "tests/job/test_job_worlds.py",
        "tests/job/",
        "tests/security/",
    ),
    *("tests/training/", "tests/test_pages.py", "tests/inference/", "tests/dicom/test_dicom_fuzz.py"),
)
"""What takes more than half a minute; at the end, a worker would be alone with it."""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the number of workers of ``-n auto``; each takes up to 3 GB."""
    return min(available_cores(), 8)


def pytest_configure(config: pytest.Config) -> None:
    """Hide GPUs from all tests but those that are marked so: the others expect the bits of a CPU."""
    expression = config.option.markexpr
    if not expression.startswith("gpu") or " or " in expression:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file, and of all that share the results of long commands, in one worker."""
    from xdist.scheduler import LoadFileScheduling

    class BySharedResults(LoadFileScheduling):  # type: ignore[misc]
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return next((directory for directory in TOGETHER if file.startswith(directory)), file)

    return BySharedResults(config, log) if config.option.dist == "loadfile" else None


def pytest_collection_finish() -> None:
    """Leave what is imported by now out of all garbage collections, of which each fold makes some."""
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, and skip what this machine cannot run, with the reason."""
    items.sort(key=lambda item: next((n for n, start in enumerate(LONGEST) if item.nodeid.startswith(start)), 99))
    without_siim = pytest.mark.skip(reason="PNEUMO_SIIM_DIR is not set to the real SIIM files")
    without_gpu = pytest.mark.skip(reason="no CUDA device, or not selected by -m gpu")
    for item in items:
        if item.get_closest_marker("siim") and "PNEUMO_SIIM_DIR" not in os.environ:
            item.add_marker(without_siim)
        if item.get_closest_marker("gpu") and not torch.cuda.is_available():
            item.add_marker(without_gpu)


@pytest.fixture(autouse=True)
def quiet_log() -> Iterator[None]:
    """Remove the log handler that `cli.run` set, so that each test captures its own log."""
    yield
    log.handlers.clear()
    log.propagate = True


@pytest.fixture
def empty_charts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts of pages are empty: matplotlib takes 3 s for those of a report. See warm_python, too."""
    from pneumo.reporting.html import charts
    from pneumo.reporting.html.chart import Chart

    monkeypatch.setattr(charts, "to_svg", lambda _, description: Chart(svg="<svg></svg>", description=description))


@pytest.fixture
def short_directory() -> Iterator[Path]:
    """A directory for the temporary files of commands; a socket in that of a test may have too long a path."""
    with tempfile.TemporaryDirectory() as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def siim() -> Path:
    """Directory of real SIIM images; only tests marked ``siim`` may ask for it."""
    return Path(os.environ["PNEUMO_SIIM_DIR"])


@pytest.fixture(scope="session")
def synthetic(tmp_path_factory: pytest.TempPathFactory) -> SyntheticTree:
    """32 labeled and 6 unlabeled synthetic DICOMs of 96 pixels, half of them with a pneumothorax."""
    directory = tmp_path_factory.mktemp("synthetic") / "tree"
    return dicom_tree.write_tree(directory, images=32, test_images=6, size=96, positive_fraction=0.5, seed=3)


@pytest.fixture(scope="session")
def dataset(synthetic: SyntheticTree, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of ``synthetic``, in two folds; read only."""
    out = tmp_path_factory.mktemp("dataset") / "dataset"
    inputs = BuildInputs(
        dicom=synthetic.dicom, test_dicom=synthetic.test_dicom, masks=synthetic.masks, patients=synthetic.patients
    )
    build(inputs, out, BuildOptions(num_folds=2, workers=1))
    return out


@pytest.fixture(scope="session")
def world() -> World:
    """A world of one rank, on one thread."""
    single = init()
    torch.set_num_threads(1)
    return single


@pytest.fixture(scope="session")
def load_command() -> Callable[[str], ModuleType]:
    """Load a command of job/ as a module, by its name."""

    @cache
    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"job_{name}", ROOT / "job" / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module

    return load
