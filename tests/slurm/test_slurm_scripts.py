"""The scripts without a Slurm: what is submitted, what is refused, how containers are started."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from slurm_cluster import ROOT, clean_environment

from pneumo.distributed.partition import plan_waves
from pneumo.training.recipes import RECIPES

SLURM = ROOT / "slurm"
JOBS = ["shard", "folds", "world", "ensemble"]
JOB = {"SLURM_JOB_ID": 1, "SLURM_NTASKS": 1}
"""What Slurm sets in a batch script."""


def bash(*arguments: object, cwd: Path = ROOT, **environment: object) -> subprocess.CompletedProcess[str]:
    env = clean_environment() | {k: str(v) for k, v in environment.items()}
    command = ["bash", *map(str, arguments)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=60, cwd=cwd, env=env)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line in which a script refused something, with exit code 2."""
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert re.search(r": .+; expected .+; .+", line), "what was found; what is expected; what to do"
    return line


def dry_run(*flags: object, **environment: object) -> list[list[str]]:
    """Return the sbatch commands; the settings are printed before them."""
    done = bash(SLURM / "submit.sh", "--dry-run", *flags, **environment)
    assert done.returncode == 0, done.stderr
    lines = [shlex.split(line) for line in done.stdout.splitlines()]
    commands = [line for line in lines if line[0] == "sbatch"]
    assert commands == [line for line in lines if line[0] != "export"]
    return commands


def test_shards_folds_and_ensembler_follow_each_other() -> None:
    shard, folds, ensemble = dry_run("--dicom", "tests", "--num-folds", 4, "--shard-tasks", 9, "--", "--epochs", 7)
    assert shard[-1] == "slurm/shard.sh"
    assert {"--array=0-8", "--signal=USR1@300"} <= set(shard)
    assert not any("dependency" in word for word in shard)
    assert folds[folds.index("slurm/folds.sh") :] == ["slurm/folds.sh", "--epochs", "7"]
    assert {"--array=0-3", "--dependency=afterok:ID_OF_SHARD", "--kill-on-invalid-dep=yes"} <= set(folds)
    assert ensemble[-1] == "slurm/ensemble.sh"
    assert {"--dependency=afterok:ID_OF_FOLDS", "--kill-on-invalid-dep=yes"} <= set(ensemble)


def test_an_existing_dataset_is_not_built_again(dataset: Path) -> None:
    commands = dry_run("--dataset", dataset)
    assert [command[-1] for command in commands] == ["slurm/folds.sh", "slurm/ensemble.sh"]
    assert not any("dependency" in word for word in commands[0])


def test_files_that_are_given_are_compared_with_an_existing_dataset(dataset: Path) -> None:
    """A DICOM may have been corrected since: job/shard.py looks, and keeps a dataset of the same files."""
    commands = dry_run("--dataset", dataset, "--dicom", "tests", "--masks", "README.md")
    assert [command[-1] for command in commands] == ["slurm/shard.sh", "slurm/folds.sh", "slurm/ensemble.sh"]
    assert "--array=0-1" in commands[1]


def test_the_array_has_the_folds_of_a_dataset_that_exists(dataset: Path, tmp_path: Path) -> None:
    for flags in ([], ["--num-folds", 2]):
        assert "--array=0-1" in dry_run("--dataset", dataset, *flags)[0]
    other = bash(SLURM / "submit.sh", "--dry-run", "--dataset", dataset, "--num-folds", 5)
    assert f"PNEUMO_NUM_FOLDS is 5; expected 2, the folds of {dataset}" in refusal(other)
    (tmp_path / "dataset.json").write_text("{}\n")
    damaged = bash(SLURM / "submit.sh", "--dry-run", "--dataset", tmp_path)
    assert "found no num_folds" in refusal(damaged)


def test_flags_override_the_environment_which_overrides_the_file(dataset: Path) -> None:
    command = dry_run(
        "--dataset", dataset, "--gpus", 4, "--sbatch", "--constraint=a100 --time=1", PNEUMO_GPUS=8, PNEUMO_QOS="low"
    )[0]
    assert {"--gpus-per-node=4", "--ntasks-per-node=4", "--qos=low", "--constraint=a100"} <= set(command)
    assert [word for word in command if word.startswith("--time")] == ["--time=24:00:00", "--time=1"]


def test_only_the_array_of_the_folds_is_throttled() -> None:
    commands = dry_run("--dicom", "tests", "--folds-at-once", 2)
    arrays = [[word for word in command if word.startswith("--array")] for command in commands]
    assert arrays == [["--array=0-3"], ["--array=0-4%2"], []]


def test_the_settings_of_a_dry_run_are_those_that_the_jobs_get(dataset: Path) -> None:
    """Those of settings.sh are left out: the jobs read that file themselves."""
    done = bash(SLURM / "submit.sh", "--dry-run", "--dataset", dataset, "--run", "runs/my run", "--gpus", 1)
    found = {shlex.split(line)[1] for line in done.stdout.splitlines() if line.startswith("export ")}
    assert found == {
        f"PNEUMO_ROOT={ROOT}", f"PNEUMO_DATASET={dataset}", "PNEUMO_RUN=runs/my run", "PNEUMO_NUM_FOLDS=2"
    }  # fmt: skip


def test_one_job_for_all_folds(dataset: Path) -> None:
    (command,) = dry_run("--dataset", dataset, "--world", "--nodes", 4, "--gpus", 8, "--", "--epochs", 7)
    assert command[-3:] == ["slurm/world.sh", "--epochs", "7"]
    assert {"--nodes=4", "--ntasks-per-node=8", "--gpus-per-node=8"} <= set(command)


def test_a_machine_without_gpus_has_one_rank_a_node(dataset: Path) -> None:
    assert {"--gpus-per-node=0", "--ntasks-per-node=1"} <= set(dry_run("--dataset", dataset, "--gpus", 0)[0])


@pytest.mark.parametrize("job", JOBS)
def test_a_script_requests_what_submit_requests(job: str) -> None:
    """The #SBATCH lines of a script must request what submit.sh requests with the default settings."""
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=(.*)$", (SLURM / f"{job}.sh").read_text(), re.MULTILINE))
    world = ["--world", "--nodes", 2] if job == "world" else []
    commands = {c[-1]: c for c in dry_run("--dicom", "tests", *world)}
    options = [w for w in commands[f"slurm/{job}.sh"] if w.startswith("--") and "=" in w]
    given = dict(option[2:].split("=", 1) for option in options)
    for name in ("dependency", "kill-on-invalid-dep", "chdir", "export"):
        given.pop(name, None)
    assert {name: asked.get(name) for name in given} == given
    if job in ("folds", "world"):
        assert asked["signal"] == "USR1@300"


def test_the_examples_of_one_job_for_all_folds_use_all_of_their_ranks() -> None:
    readme, header = (SLURM / "README.md").read_text(), (SLURM / "world.sh").read_text()
    found = re.findall(r"--world --nodes (\d+) --gpus (\d+)", readme)
    found += re.findall(r"--nodes=(\d+) --gpus-per-node=(\d+) --ntasks-per-node=\2 slurm/world", readme + header)
    assert len(found) == 3
    for nodes, gpus in found:
        plan = plan_waves(int(nodes) * int(gpus), range(5), RECIPES["best"]().micro_batches)
        assert plan.efficiency == 1


def test_the_readme_gives_each_recipes_largest_number_of_ranks() -> None:
    text = " ".join((SLURM / "README.md").read_text().split())
    bounds = {name: recipe().micro_batches for name, recipe in RECIPES.items()}
    several = {name: count for name, count in bounds.items() if count > 1}
    assert several == {"seed": 8, "best": 4, "fifth": 4, "laptop": 2, "debug": 2}
    assert "8 with the recipe `seed`, 4 with `best` and `fifth`, 2 with `laptop` and `debug`, 1 with the others" in text


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--gpu", "4"], "--gpu is not a setting"),
        (["--gpus"], "--gpus has no value"),
        (["--gpus", "--dataset", "data/siim"], "--gpus has no value, --dataset follows; expected --gpus VALUE"),
        (["--sbatch", "-C a100 --array=0-4%2"], "found --array=0-4%2 in PNEUMO_SBATCH"),
        (["--sbatch", "-a 0-4"], "give --folds-at-once N"),
        (["--sbatch", "--dependency=afterok:1"], "found --dependency=afterok:1 in PNEUMO_SBATCH"),
        (["--folds-at-once", "2", "--world"], "PNEUMO_FOLDS_AT_ONCE is 2 with --world; expected 0"),
        (
            ["--dicom", "nowhere"],
            "PNEUMO_DICOM is nowhere, which does not exist; expected a path that does, from /",
        ),
        (["--image", "./pneumo.sif", "--dicom", "in-the-image"], "PNEUMO_IMAGE is ./pneumo.sif, which does not exist"),
        (["--gpus", "four"], "PNEUMO_GPUS is four; expected a non-negative integer"),
        (["--gpus", "08"], "PNEUMO_GPUS is 08; expected a non-negative integer"),
        (["--num-folds", "0"], "PNEUMO_NUM_FOLDS is 0; expected a positive integer"),
        (["extra"], "arguments of train.py go after --"),
        (["--dataset", "/nowhere"], "found no dataset at /nowhere; expected one, or DICOMs"),
    ],
)
def test_what_cannot_be_submitted_is_refused_in_one_line(flags: list[str], text: str) -> None:
    assert text in refusal(bash(SLURM / "submit.sh", "--dry-run", *flags))


def test_each_path_that_does_not_exist_is_named() -> None:
    names = ["dicom", "test-dicom", "masks", "patients", "expected"]
    done = bash(SLURM / "submit.sh", "--dry-run", *(word for name in names for word in (f"--{name}", f"no-{name}")))
    assert (done.returncode, done.stdout) == (2, "")
    assert re.findall(r"PNEUMO_\w+ is (\S+), which does not exist", done.stderr) == [f"no-{name}" for name in names]


def test_an_image_may_have_other_paths_and_a_name_that_a_registry_knows() -> None:
    for image in ("registry/pneumo:0.2.0", "docker://pneumo", "oras://registry/pneumo.sif"):
        assert len(dry_run("--image", image, "--dicom", "/in-the-image")) == 3


@pytest.mark.parametrize("job", JOBS)
def test_a_script_that_sbatch_did_not_start_is_refused(job: str) -> None:
    assert "found no Slurm job" in refusal(bash(SLURM / f"{job}.sh"))


def test_help_lists_every_setting() -> None:
    done = bash(SLURM / "submit.sh", "--help")
    names = re.findall(r"PNEUMO_([A-Z_]+):=", (SLURM / "settings.sh").read_text())
    assert done.returncode == 0
    assert len(names) > 20
    for name in names:
        assert f"--{name.lower().replace('_', '-')} " in done.stdout


@pytest.mark.parametrize("job", JOBS)
def test_a_job_outside_the_project_is_refused(job: str, tmp_path: Path) -> None:
    done = bash(SLURM / f"{job}.sh", cwd=tmp_path, SLURM_SUBMIT_DIR=tmp_path)
    assert done.returncode == 2
    assert f"found no slurm/common.sh in {tmp_path}; expected the directory of pneumo" in done.stderr


def programs(directory: Path, srun_help: str) -> str:
    """Return a PATH whose srun prints its arguments and whose apptainer exists: no container runtime runs here."""
    directory.mkdir()
    (directory / "srun").write_text(f'#!/bin/sh\n[ "$1" = --help ] && echo "{srun_help}" || printf "%s\\n" "$@"\n')
    (directory / "apptainer").write_text("#!/bin/sh\n")
    for name in ("srun", "apptainer"):
        (directory / name).chmod(0o755)
    return f"{directory}:/usr/bin:/bin"


def test_an_image_is_run_by_pyxis_where_srun_knows_it(tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", "--container-image=...")
    done = bash(SLURM / "ensemble.sh", PATH=path, PNEUMO_IMAGE="registry/pneumo", PNEUMO_MOUNTS="/data,/runs", **JOB)
    command = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    assert {"--container-image=registry/pneumo", f"--container-workdir={ROOT}"} < set(command)
    assert f"--container-mounts={ROOT}:{ROOT},/data:/data,/runs:/runs" in command
    assert command[command.index("python") + 1] == "/opt/pneumo/job/ensemble.py"


def test_an_image_file_is_run_by_apptainer(tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", "--container-image=...")
    image = tmp_path / "pneumo.sif"
    image.touch()
    done = bash(SLURM / "ensemble.sh", PATH=path, PNEUMO_IMAGE=image, PNEUMO_MOUNTS="/data", **JOB)
    command = done.stdout.splitlines()
    assert done.returncode == 0, done.stderr
    start = command.index("apptainer")
    assert command[start : start + 9] == [
        *("apptainer", "exec", "--nv", "--bind", f"{ROOT},/data", "--pwd", str(ROOT), str(image), "python")
    ]
    assert command[start + 9] == "/opt/pneumo/job/ensemble.py"


def test_an_image_without_a_runtime_is_refused(tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", "nothing")
    (tmp_path / "bin" / "apptainer").unlink()
    done = bash(SLURM / "ensemble.sh", PATH=path, PNEUMO_IMAGE="registry/pneumo", **JOB)
    assert "found neither Apptainer nor Pyxis on this node" in refusal(done)
