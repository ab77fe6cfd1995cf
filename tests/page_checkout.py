"""A checkout in which the pages' blocks run word for word, with stand-ins for data, machines and hours.

Synthetic files have the names that the pages give to a user's. Programs of other machines are stand-ins in ``bin/``:
kubectl is the real one without a server, so that it parses every line; docker, sbatch and their like write down what
they are asked. python, accelerate and torchrun run job/, with a recipe of seconds, and write down what has a part of CI
of its own.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import warm_python
from pages import ROOT
from waiting import LONG_S

from pneumo.synthetic.tree import SyntheticTree

SMALL = "--recipe debug --epochs 1 --image-size 32 --model.encoder-weights none --model.encoder tu-test_efficientnet"
SMALL += " --model.decoder-channels 16 16 16 16 16"
"""Added to a page's training commands, which would take days: what comes last on a command line counts."""
PROJECT = (".ci", "docker", "job", "k8s", "pneumo", "slurm", "tests", "launch.sh", "pyproject.toml", "README.md")
ELSEWHERE = ("docker", "kind", "sbatch", "squeue", "scancel", "scontrol", "sudo", "tail")
"""Programs that need a cluster, an engine or root, or do not end."""
IN_VENV = ("pre-commit", "pytest", "tensorboard")
RECORD = 'echo "$(basename "$0") $*" >>"$CALLS"'
PYTHON = f"""#!/usr/bin/env bash
case " $* " in
    *" -m "* | *audit.py* | *job/demo.py* | *job/bench.py*) {RECORD} && exit ;;
    *job/train.py*) set -- "$@" {SMALL} ;;
esac
exec {{python}} {{module}} "$@"
"""
KUBECTL = """#!/usr/bin/env bash
# No server is there: a command that kubectl understands ends with a refused connection.
errors=$({kubectl} --server=http://127.0.0.1:1 --request-timeout=1s "$@" 2>&1 >/dev/null)
if [[ $errors == *"connection refused"* || $errors == *"connection to the server"*"was refused"* ]]; then
    """
KUBECTL += f"""[[ $errors != *"you may only"* && $errors != *"error: unknown"* ]] && {RECORD} && exit
fi
echo "$errors" >&2
exit 1
"""
OUTPUT = {"sbatch": "echo 4711", "docker": "echo an image; [[ $1 != load ]] || cat >/dev/null"}
"""What a stand-in prints; docker also reads the image that it loads."""


def make(root: Path, synthetic: SyntheticTree, ids: list[str]) -> None:
    """Make the checkout, with ``ids`` in the sample submission."""
    for name in PROJECT:
        source = ROOT / name
        ignored = shutil.ignore_patterns("__pycache__", "logs")
        if source.is_dir():
            shutil.copytree(source, root / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(source, root / name)
    _add_data(root, synthetic, ids)
    add_programs(root)
    # docker/README.md asks for the revision.
    for words in ("init", "add k8s", "-c user.name=a -c user.email=a@b.c commit --message manifests"):
        subprocess.run(["git", *words.split()], cwd=root, check=True, capture_output=True)


def run(block: str, root: Path) -> subprocess.CompletedProcess[str]:
    """Run a block's text in bash; the first command that fails ends it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith("PNEUMO_PYTHON")}
    environment = {
        "PATH": f"{root / 'bin'}:{os.environ['PATH']}",
        "PYTHONPATH": str(root),
        "CALLS": str(root / "calls"),
        # Eight ranks on two cores: a thread each.
        "OMP_NUM_THREADS": "1",
        "HOME": str(root),
    }
    return subprocess.run(
        ["bash", "-O", "expand_aliases", "-eu", "-o", "pipefail"],
        input=block, cwd=root, env=kept | environment, capture_output=True, text=True, timeout=2 * LONG_S, check=False,
    )  # fmt: skip


def _add_data(root: Path, synthetic: SyntheticTree, ids: list[str]) -> None:
    data = root / "data"
    for directory in (root, data, data / "pneumothorax"):
        directory.mkdir(exist_ok=True)
        for name in ("dicom-images-train", "train"):
            (directory / name).symlink_to(synthetic.dicom)
        for name in ("dicom-images-test", "test", "incoming", "FILE_OR_DIR_OR_ZIP"):
            (directory / name).symlink_to(synthetic.test_dicom)
        (directory / "train-rle.csv").symlink_to(synthetic.masks)
        (directory / "patients.csv").symlink_to(synthetic.patients)
    (data / "sample_submission.csv").write_text("\n".join(["ImageId,EncodedPixels", *(f"{i},-1" for i in ids)]))
    (root / "sample_submission.csv").symlink_to(data / "sample_submission.csv")
    (root / "variants.txt").write_text(f"best: {SMALL}\ndice-all: {SMALL} --loss.dice-on all\n")


def add_programs(root: Path) -> None:
    """Write the stand-ins into bin/ and into a .venv/ that ./launch.sh takes for installed."""
    programs = {f"bin/{name}": f"#!/usr/bin/env bash\n{RECORD}\n{OUTPUT.get(name, '')}\n" for name in ELSEWHERE}
    programs |= {f".venv/bin/{name}": f"#!/usr/bin/env bash\n{RECORD}\n" for name in IN_VENV}
    modules = {
        "python": "",
        "accelerate": "-m accelerate.commands.accelerate_cli",
        "torchrun": "-m torch.distributed.run",
    }
    for name, module in modules.items():
        text = PYTHON.format(python=shlex.quote(str(warm_python.executable())), module=module)
        programs |= {f"{place}/{name}": text for place in ("bin", ".venv/bin")}
    kubectl = Path(sys.executable).with_name("kubectl")
    programs["bin/kubectl"] = KUBECTL.format(kubectl=shlex.quote(str(kubectl)))
    for name, text in programs.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    (root / ".venv" / "bin" / "activate").write_text(f'PATH="{root}/.venv/bin:$PATH"\n')


def finish_installation(root: Path) -> None:
    """Mark .venv/ as ./launch.sh does at the end of a set-up in this place."""
    needed = b"".join((root / name).read_bytes() for name in ("pyproject.toml", "docker/weights.txt"))
    checksum = subprocess.run(["cksum"], input=needed, capture_output=True, check=True).stdout.decode().strip()
    (root / ".venv" / ".installed").write_text(f"{checksum} {root}\n")
    (root / ".venv" / "bin" / "activate").write_text(f'PATH="{root}/.venv/bin:$PATH"\n')


def remove_outputs(root: Path, block: str) -> None:
    """Remove what the block's commands are to write: runs, or one fold of a run, datasets and submissions."""
    text = block.replace("\\\n", " ")
    for line in text.splitlines():
        run = None if "--dry-run" in line else re.search(r"job/train\.py.* --run (\S+)", line)
        fold = re.search(r" --folds (\d+)", line)
        if run:
            shutil.rmtree(root / run[1] / f"fold-{fold[1]}" if fold else root / run[1], ignore_errors=True)
        if out := re.search(r"job/shard\.py.* --out (\S+)", line):
            shutil.rmtree(root / out[1], ignore_errors=True)
        if out := re.search(r"job/ensemble\.py.* --out (\S+)", line):
            (root / out[1]).unlink(missing_ok=True)


def written(block: str) -> list[str]:
    """Return the paths that the block's commands of job/ are to write."""
    text = block.replace("\\\n", " ")
    return re.findall(
        r"^(?!.*--dry-run)(?:python|accelerate|torchrun)[^\n]* job/(?!bench|demo)\w+\.py[^\n]* --(?:out|run) (\S+)",
        text,
        re.MULTILINE,
    )
