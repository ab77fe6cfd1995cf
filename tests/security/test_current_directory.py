"""No command, and none of the processes that it starts, runs a module of the directory in which it is started."""

import os
import subprocess
import sys
from pathlib import Path

from planted_modules import modules_run, plant_modules
from security_chain import ROOT, Chain


def test_no_command_runs_a_module_of_the_current_directory(chain: Chain) -> None:
    assert {"shard", "train", "ensemble", "predict", "score"} <= set(chain.commands.output)
    assert (chain.commands.directory / "numpy.py").exists()
    assert modules_run(chain.commands.directory) == []


def test_launch_runs_no_module_of_the_current_directory(tmp_path: Path) -> None:
    plant_modules(tmp_path)
    done = subprocess.run(
        [ROOT / "launch.sh", "setup"], cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
        env=os.environ | {"PNEUMO_PYTHON": sys.executable, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert (done.returncode, modules_run(tmp_path)) == (0, []), done.stderr


def test_planted_modules_are_run_where_python_takes_them(tmp_path: Path) -> None:
    plant_modules(tmp_path)
    # Not with -c, for which Python 3.13 needs a module of the standard library that is planted.
    (tmp_path / "program").write_text("import pneumo")
    subprocess.run([sys.executable, "program"], cwd=tmp_path, check=True)
    assert modules_run(tmp_path) == ["pneumo"]
