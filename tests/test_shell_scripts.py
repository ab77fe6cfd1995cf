"""Every shell script: its style, and what launch.sh refuses."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from waiting import LONG_S

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = [".ci/run", *sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("*.sh"))]
SCRIPTS += sorted(
    str(path.relative_to(ROOT)) for part in ("docker", "slurm", "tests") for path in ROOT.glob(f"{part}/**/*.sh")
)


@pytest.mark.parametrize("command", [["shellcheck", "-x"], ["shfmt", "-d", "-i", "4", "-ci"]], ids=lambda c: c[0])
def test_shell_scripts_are_clean(command: list[str]) -> None:
    tool = Path(sys.executable).with_name(command[0])
    if not tool.exists():
        pytest.skip(f"needs {command[0]}, of the extra check")
    assert {"launch.sh", "docker/wheelhouse.sh", "slurm/submit.sh", "tests/slurm/cluster.sh"} <= set(SCRIPTS)
    done = subprocess.run([tool, *command[1:], *SCRIPTS], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nosuch"], "found nosuch; expected setup, demo, test, lint, check, bench or wheelhouse"),
        ([], "found nothing; expected setup"),
        (["lint", "pneumo", "job"], "found lint pneumo job; expected no arguments"),
        (["setup", "--cpu"], "found setup --cpu; expected --cpu with the address of a package index"),
        (["setup", "--cpu", "yes"], "found setup --cpu yes; expected --cpu with the address of a package index"),
        (
            ["setup", "--cpu", "https://x.y/cpu", "z"],
            "found setup --cpu https://x.y/cpu z; expected --cpu with the address",
        ),
        (["demo"], "PNEUMO_PYTHON=/nowhere/python is no executable file; expected a Python"),
        (["wheelhouse", "--out", "x"], "PNEUMO_PYTHON=/nowhere/python is no executable file; expected a Python"),
    ],
)
def test_what_launch_cannot_do_is_refused_in_one_line(words: list[str], message: str) -> None:
    environment = os.environ | {"PNEUMO_PYTHON": "/nowhere/python"}
    done = subprocess.run(
        [ROOT / "launch.sh", *words], env=environment, capture_output=True, text=True, timeout=LONG_S, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(rf"launch\.sh: {re.escape(message)}.*; .+\n", done.stderr)


def test_a_python_without_the_project_is_refused_with_the_command_that_installs_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [ROOT / "launch.sh", "test"], env=os.environ | {"PNEUMO_PYTHON": "false"}, capture_output=True, text=True,
        timeout=LONG_S, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert "PNEUMO_PYTHON=false cannot import pneumo; expected" in done.stderr
    assert "run: false -m pip install -e" in done.stderr


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """launch.sh beside stand-ins: a Python whose environments hold one, and a pip that writes down what it installs."""
    (tmp_path / "docker").mkdir()
    for name in ("launch.sh", "pyproject.toml", "docker/weights.txt"):
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / "bin" / "python3.13"
    python.parent.mkdir()
    python.write_text(PYTHON)
    python.chmod(0o755)
    return tmp_path


PYTHON = r"""#!/usr/bin/env bash
echo "$*" >>"$LOG"
case "$*" in
    *torch.version.cuda*) [[ -z ${CUDA:-} ]] ;;
    -c*) ;;
    "-m venv"*)
        mkdir -p "$3/bin" && cp "$0" "$3/bin/python"
        [[ -z ${NO_ENSUREPIP:-} ]] || { echo "ensurepip is not available" >&2; exit 1; }
        touch "$3/pip"
        ;;
    "-m ensurepip"*) [[ -z ${NO_ENSUREPIP:-} ]] && touch "$(dirname "$0")/../pip" ;;
    "-m pip --version") test -e "$(dirname "$0")/../pip" ;;
    "-m pip install"*editable*) [[ -z ${KILLED:-} ]] || kill -9 $PPID ;;
esac
"""


def set_up(checkout: Path, *words: str, **environment: str) -> tuple[int, str, list[str]]:
    """Run ./launch.sh setup; return its exit code, standard error, and the arguments of each call of Python."""
    log = checkout / "log"
    log.write_text("")
    kept = {key: value for key, value in os.environ.items() if key != "PNEUMO_PYTHON"}
    done = subprocess.run(
        [checkout / "launch.sh", "setup", *words],
        env=kept | {"PATH": f"{checkout / 'bin'}:/usr/bin:/bin", "LOG": str(log)} | environment,
        capture_output=True, text=True, timeout=LONG_S, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr, log.read_text().splitlines()


def installs(calls: list[str]) -> int:
    return sum(call.startswith("-m pip install") for call in calls)


def test_setup_installs_once_and_again_when_what_it_installs_changes(checkout: Path) -> None:
    code, errors, calls = set_up(checkout)
    assert (code, installs(calls)) == (0, 3), errors
    assert set_up(checkout) == (0, "", [])
    for name in ("pyproject.toml", "docker/weights.txt"):
        with (checkout / name).open("a") as file:
            file.write("# changed\n")
        code, errors, calls = set_up(checkout)
        assert (code, installs(calls)) == (0, 3), errors
        assert set_up(checkout) == (0, "", [])


def test_an_environment_without_pip_is_explained_and_made_anew(checkout: Path) -> None:
    """As on Debian without python3-venv, which the user then installs."""
    code, errors, calls = set_up(checkout, NO_ENSUREPIP="1")
    assert (code, installs(calls)) == (2, 0)
    assert "ensurepip is not available" in errors
    assert "-m venv failed, see above; expected Python's modules venv and ensurepip; install them" in errors
    code, errors, calls = set_up(checkout)
    assert (code, installs(calls)) == (0, 3), errors
    assert "an earlier set-up was interrupted; making" in errors


@pytest.mark.parametrize("first", [False, True])
def test_an_environment_whose_installation_was_killed_is_made_anew(checkout: Path, first: bool) -> None:
    if not first:
        set_up(checkout)
        with (checkout / "pyproject.toml").open("a") as project:
            project.write("# changed\n")
    code, _, _ = set_up(checkout, KILLED="1")
    assert code == -9
    (checkout / ".venv" / "half-written").touch()
    code, errors, calls = set_up(checkout)
    assert (code, installs(calls)) == (0, 3), errors
    assert not (checkout / ".venv" / "half-written").exists()
    assert set_up(checkout) == (0, "", [])


def test_an_environment_made_by_hand_is_filled_and_never_removed(checkout: Path) -> None:
    """uv, for one, makes environments without pip."""
    made = checkout / ".venv" / "bin" / "python"
    made.parent.mkdir(parents=True)
    shutil.copy(checkout / "bin" / "python3.13", made)
    (checkout / ".venv" / "mine").touch()
    assert set_up(checkout, KILLED="1")[0] == -9
    code, errors, calls = set_up(checkout)
    assert (code, installs(calls)) == (0, 3), errors
    assert (checkout / ".venv" / "mine").exists()


INDEX = ("--cpu", "https://wheels.example/cpu")


def test_a_set_up_for_cpus_takes_torch_from_its_index_and_no_dali(checkout: Path) -> None:
    code, errors, calls = set_up(checkout, *INDEX)
    assert (code, installs(calls)) == (0, 4), errors
    torch = calls.index(f"-m pip install --quiet --index-url {INDEX[1]} torch torchvision")
    (project,) = (n for n, call in enumerate(calls) if "--editable" in call)
    assert torch < project, "the project then needs no other torch"
    assert calls[project].endswith("[test,check,s3]")
    assert "about 2 GB" in errors


def test_a_set_up_for_cpus_stays_one(checkout: Path) -> None:
    set_up(checkout, *INDEX)
    assert set_up(checkout, *INDEX) == (0, "", [])
    assert set_up(checkout) == (0, "", []), "as ./launch.sh demo calls it"
    with (checkout / "pyproject.toml").open("a") as file:
        file.write("# changed\n")
    code, errors, calls = set_up(checkout)
    assert (code, installs(calls)) == (0, 4), errors
    assert any(INDEX[1] in call for call in calls)


def test_an_environment_with_cuda_is_not_made_one_for_cpus(checkout: Path) -> None:
    set_up(checkout)
    code, errors, calls = set_up(checkout, *INDEX)
    assert (code, calls) == (2, [])
    assert "with CUDA libraries; expected none, or one made with --cpu; remove it" in errors
    assert set_up(checkout) == (0, "", [])


def test_an_index_without_builds_for_cpus_is_refused(checkout: Path) -> None:
    code, errors, calls = set_up(checkout, *INDEX, CUDA="1")
    assert (code, installs(calls)) == (2, 2), "pip and torch, and not the project"
    assert f"torch from {INDEX[1]} is built for CUDA, or does not start; expected a build for CPUs" in errors


def test_a_set_up_for_cpus_into_a_python_of_the_user_is_refused(checkout: Path) -> None:
    code, errors, calls = set_up(checkout, *INDEX, PNEUMO_PYTHON=str(checkout / "bin" / "python3.13"))
    assert (code, calls) == (2, [])
    assert "into which nothing is installed; expected one of the two; unset PNEUMO_PYTHON" in errors


APT_GET = r"""#!/usr/bin/env bash
echo "$DEBIAN_FRONTEND $*" >>"$LOG"
[[ -z ${OFFLINE:-} ]] || { echo "could not resolve the mirror" >&2; exit 100; }
[[ $1 != install ]] || { cp "$0" "$(dirname "$0")/dcmj2pnm" && cp "$0" "$(dirname "$0")/dcmdjpeg"
    cp "$0" "$(dirname "$0")/dcmdump" && cp "$0" "$(dirname "$0")/dciodvfy"; }
"""


@pytest.mark.parametrize(
    ("user", "environment", "calls", "skips"),
    [
        (
            0,
            {},
            [
                "noninteractive update -qq",
                "noninteractive install -y -qq --no-install-recommends dcmtk dicom3tools",
            ],
            False,
        ),
        (0, {"OFFLINE": "1"}, ["noninteractive update -qq"], True),
        (1000, {}, [], True),
    ],
)
def test_ci_installs_the_decoder_that_tests_compare_with_where_it_may(
    tmp_path: Path, user: int, environment: dict[str, str], calls: list[str], skips: bool
) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", tmp_path / ".ci")
    programs = tmp_path / "bin"
    programs.mkdir()
    stand_ins = {"bin/apt-get": APT_GET, "bin/id": f"#!/bin/bash\necho {user}\n", "launch.sh": "#!/bin/bash\necho $*\n"}
    for name, content in stand_ins.items():
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o755)
    # Of this machine's programs only those that the script calls: dcmtk may be among the others.
    for name in ("bash", "dirname", "timeout", "cp"):
        (programs / name).symlink_to(shutil.which(name) or name)
    log = tmp_path / "log"
    log.touch()
    done = subprocess.run(
        ["bash", tmp_path / ".ci" / "run", "test"],
        env={"PATH": str(programs), "LOG": str(log)} | environment,
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, "test --durations=15" in done.stdout) == (0, True), done.stderr
    assert log.read_text().splitlines() == calls
    assert ("found no dcmtk dicom3tools; the tests that compare with them skip" in done.stderr) == skips


APART = ("browser", "chaos", "slurm", "k8s")
"""Parts of .ci/run whose tests are in a directory of their own."""
CALLS = {part: f"test tests/{part} -m {part}" for part in APART}
PARTS = ["lint", "test", "demo --fresh", "test -m slow", *CALLS.values()]


def test_the_tests_of_a_part_of_ci_are_in_its_directory() -> None:
    marked = re.compile(rf"mark\.({'|'.join(APART)})\b")
    found = {
        (path.relative_to(ROOT / "tests").parts[0], part)
        for path in (ROOT / "tests").rglob("*.py") for part in marked.findall(path.read_text())
    }  # fmt: skip
    assert found == {(part, part) for part in APART}


@pytest.mark.parametrize(
    ("words", "failing", "parts"),
    [
        ([], "", PARTS),
        # What runs beside others does not hide its failure, and is not hidden by that of another.
        ([], CALLS["browser"], [part for part in PARTS if part not in (CALLS["k8s"], CALLS["chaos"])]),
        *(([], CALLS[part], PARTS) for part in ("chaos", "slurm")),
        ([], "lint", ["lint"]),
        (["lint", "chaos"], "", ["lint", CALLS["chaos"]]),
        (["chaos", "lint"], CALLS["chaos"], [CALLS["chaos"]]),
    ],
)
def test_ci_runs_its_parts_and_fails_when_one_fails(
    words: list[str], failing: str, parts: list[str], tmp_path: Path
) -> None:
    (tmp_path / ".ci").mkdir()
    shutil.copy(ROOT / ".ci/run", tmp_path / ".ci/run")
    stub = 'line="$*"; line=${line% --durations=*}; echo "$line" | tee -a calls; [[ $line != "$FAILING" ]]\n'
    (tmp_path / "launch.sh").write_text(f"#!/usr/bin/env bash\n{stub}")
    # The programs that root would install.
    for name in ("dcmj2pnm", "dcmdjpeg", "dcmdump", "dciodvfy", "chromium", "chromedriver"):
        (tmp_path / name).touch(mode=0o755)
    (tmp_path / "launch.sh").chmod(0o755)
    done = subprocess.run(
        ["bash", ".ci/run", *words], cwd=tmp_path, capture_output=True, text=True, timeout=LONG_S, check=False,
        env=os.environ | {"FAILING": failing, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert sorted((tmp_path / "calls").read_text().splitlines()) == sorted(["setup", *parts])
    assert done.returncode == (1 if failing else 0), done.stderr
    assert ("== all done" in done.stdout) == (not failing)
    for part in parts:
        assert re.search(rf"^{part}$", done.stdout, re.MULTILINE), done.stdout
