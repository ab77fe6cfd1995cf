"""The scripts without a Slurm: style, what would be submitted, what is refused, how containers are started."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from slurm_cluster import ROOT, clean_environment

SLURM = ROOT / "slurm"
TOOLS = Path(sys.prefix) / "bin"
SHELL_FILES = sorted([*SLURM.glob("*.sh"), *(ROOT / "tests" / "slurm").glob("*.sh")])
JOBS = ["shard", "folds", "world", "ensemble"]


def bash(
    *words: object, cwd: Path = ROOT, stdin: str | None = None, **environment: object
) -> subprocess.CompletedProcess[str]:
    env = clean_environment() | {k: str(v) for k, v in environment.items()}
    command = ["bash", *map(str, words)]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, timeout=60, cwd=cwd, env=env, input=stdin
    )


@pytest.mark.parametrize("command", [["shellcheck", "-x"], ["shfmt", "-d", "-i", "4", "-ci"]], ids=lambda c: c[0])
def test_shell_files_are_clean(command: list[str]) -> None:
    words = [TOOLS / command[0], *command[1:], *SHELL_FILES]
    done = subprocess.run(words, check=False, capture_output=True, text=True, timeout=60, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def dry_run(*flags: object, **environment: object) -> list[list[str]]:
    done = bash(SLURM / "submit.sh", "--dry-run", *flags, **environment)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def test_shards_folds_and_ensembler_follow_each_other() -> None:
    shard, folds, ensemble = dry_run("--dicom", "in", "--num-folds", 4, "--shard-tasks", 9, "--", "--epochs", 7)
    assert shard[-1] == "slurm/shard.sh"
    assert {"--array=0-8", "--signal=USR1@300"} <= set(shard)
    assert not any("dependency" in word for word in shard)
    assert folds[folds.index("slurm/folds.sh") :] == ["slurm/folds.sh", "--epochs", "7"]
    assert {"--array=0-3", "--dependency=afterok:ID_OF_SHARD", "--kill-on-invalid-dep=yes"} <= set(folds)
    assert ensemble[-1] == "slurm/ensemble.sh"
    assert {"--dependency=afterok:ID_OF_FOLDS", "--kill-on-invalid-dep=yes"} <= set(ensemble)


def test_a_dataset_that_is_there_is_not_made_again(dataset: Path) -> None:
    commands = dry_run("--dataset", dataset)
    assert [command[-1] for command in commands] == ["slurm/folds.sh", "slurm/ensemble.sh"]
    assert not any("dependency" in word for word in commands[0])


def test_flags_win_over_the_environment_and_that_over_the_file(dataset: Path) -> None:
    words = dry_run(
        "--dataset", dataset, "--gpus", 4, "--sbatch", "--constraint=a100 --array=2", PNEUMO_GPUS=8, PNEUMO_QOS="low"
    )[0]
    assert {"--gpus-per-node=4", "--ntasks-per-node=4", "--qos=low", "--time=24:00:00", "--constraint=a100"} <= set(
        words
    )
    assert [word for word in words if word.startswith("--array")][-1] == "--array=2"


def test_one_job_for_all_folds(dataset: Path) -> None:
    (words,) = dry_run("--dataset", dataset, "--world", "--nodes", 4, "--gpus", 8, "--", "--epochs", 7)
    assert words[-3:] == ["slurm/world.sh", "--epochs", "7"]
    assert {"--nodes=4", "--ntasks-per-node=8", "--gpus-per-node=8"} <= set(words)


def test_a_machine_without_gpus_has_one_rank_a_node(dataset: Path) -> None:
    assert {"--gpus-per-node=0", "--ntasks-per-node=1"} <= set(dry_run("--dataset", dataset, "--gpus", 0)[0])


@pytest.mark.parametrize("job", JOBS)
def test_sbatch_alone_asks_for_what_the_settings_say(job: str) -> None:
    """submit.sh passes every setting on; a script without it must not ask for something else."""
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", (SLURM / f"{job}.sh").read_text(), re.MULTILINE))
    world = ["--world", "--nodes", 2] if job == "world" else []
    commands = {c[-1]: c for c in dry_run("--dicom", "in", *world)}
    words = [w for w in commands[f"slurm/{job}.sh"] if w.startswith("--") and "=" in w]
    given = dict(word[2:].split("=", 1) for word in words)
    for name in ("dependency", "kill-on-invalid-dep", "chdir", "export"):
        given.pop(name, None)
    assert {name: asked.get(name) for name in given} == given
    if job in ("folds", "world"):
        assert asked["signal"] == "USR1@300"


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--gpu", "4"], "--gpu is no setting"),
        (["--gpus"], "--gpus has no value"),
        (["--gpus", "four"], "PNEUMO_GPUS is four; expected a number"),
        (["extra"], "words for train.py go after --"),
        (["--dataset", "/nowhere"], "found no dataset at /nowhere and no DICOMs"),
    ],
)
def test_what_cannot_be_submitted_is_refused_in_one_line(flags: list[str], text: str) -> None:
    done = bash(SLURM / "submit.sh", "--dry-run", *flags)
    assert done.returncode == 2
    assert text in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_help_names_every_setting() -> None:
    done = bash(SLURM / "submit.sh", "--help")
    names = re.findall(r"PNEUMO_([A-Z_]+):=", (SLURM / "settings.sh").read_text())
    assert done.returncode == 0
    assert len(names) > 20
    for name in names:
        assert f"--{name.lower().replace('_', '-')} " in done.stdout


@pytest.mark.parametrize("job", JOBS)
def test_a_job_outside_the_project_says_so(job: str, tmp_path: Path) -> None:
    done = bash(SLURM / f"{job}.sh", cwd=tmp_path, SLURM_SUBMIT_DIR=tmp_path)
    assert done.returncode == 2
    assert f"{tmp_path} is not the directory of pneumo" in done.stderr


def programs(folder: Path, srun_help: str) -> str:
    """A PATH whose srun prints its words, as no container runtime runs here; apptainer is only looked for."""
    folder.mkdir()
    (folder / "srun").write_text(f'#!/bin/sh\n[ "$1" = --help ] && echo "{srun_help}" || printf "%s\\n" "$@"\n')
    (folder / "apptainer").write_text("#!/bin/sh\n")
    for name in ("srun", "apptainer"):
        (folder / name).chmod(0o755)
    return f"{folder}:/usr/bin:/bin"


def test_an_image_is_run_by_pyxis_where_srun_knows_it(tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", "--container-image=...")
    done = bash(
        SLURM / "ensemble.sh", PATH=path, PNEUMO_IMAGE="registry/pneumo", PNEUMO_MOUNTS="/data,/runs", SLURM_NTASKS=1
    )
    words = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert {"--container-image=registry/pneumo", f"--container-workdir={ROOT}"} < set(words)
    assert f"--container-mounts={ROOT}:{ROOT},/data:/data,/runs:/runs" in words
    assert words[words.index("python") + 1] == "/opt/pneumo/job/ensemble.py"


def test_an_image_file_is_run_by_apptainer(tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", "--container-image=...")
    image = tmp_path / "pneumo.sif"
    image.touch()
    done = bash(SLURM / "ensemble.sh", PATH=path, PNEUMO_IMAGE=image, PNEUMO_MOUNTS="/data", SLURM_NTASKS=1)
    words = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    start = words.index("apptainer")
    assert words[start : start + 9] == [
        *("apptainer", "exec", "--nv", "--bind", f"{ROOT},/data", "--pwd", str(ROOT), str(image), "python")
    ]
    assert words[start + 9] == "/opt/pneumo/job/ensemble.py"


def test_an_image_without_a_runtime_is_refused(tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", "nothing")
    (tmp_path / "bin" / "apptainer").unlink()
    done = bash(SLURM / "ensemble.sh", PATH=path, PNEUMO_IMAGE="registry/pneumo", SLURM_NTASKS=1)
    assert done.returncode == 2
    assert "needs Apptainer or Pyxis" in done.stderr
