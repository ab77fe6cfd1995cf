# shellcheck shell=bash
# Sourced by the batch scripts, with $root set to the project's directory: runs one command of job/ as a step of one
# rank per GPU, and acts on its exit code.

cd "${root:?}" || exit 2
# shellcheck source=slurm/settings.sh
. slurm/settings.sh

say() {
    echo "$(date +%T) slurm: $*" >&2
}

fail() {
    say "$*"
    exit 2
}

# Set `launch` to the words before a command of job/.
#
# srun starts the ranks itself, one per GPU: signals reach each rank directly, exit codes survive, and Slurm names a
# rank that fails. (torchrun and accelerate turn every code into 1, die of SIGUSR1, and kill after 30 s.)
# No --gpus-per-task: every rank would see its GPU as device 0, and LOCAL_RANK would name one that is not there.
choose_launch() {
    # Since Slurm 22.05 srun does not take --cpus-per-task over from the job. A failed rank is no reason to kill the
    # step: other folds may go on, and the ranks of the same fold notice it themselves, and say which one it was.
    launch=(srun "--cpus-per-task=${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=0 --wait=0)
    local words
    read -ra words <<<"$PNEUMO_SRUN"
    launch+=("${words[@]}")
    if [[ -z $PNEUMO_IMAGE ]]; then
        [[ -x $PNEUMO_VENV/bin/python ]] ||
            fail "found no $PNEUMO_VENV/bin/python; run ./launch.sh setup, or set PNEUMO_VENV or PNEUMO_IMAGE"
        launch+=("$PNEUMO_VENV/bin/python" job/)
        return
    fi
    local mounts=$root${PNEUMO_MOUNTS:+,$PNEUMO_MOUNTS}
    # Not the checkout's job/: commands and package come from the image together.
    local jobs=/opt/pneumo/job/
    if [[ ! -f $PNEUMO_IMAGE ]] && [[ $(srun --help 2>/dev/null) == *--container-image* ]]; then
        local pairs=() directory
        for directory in ${mounts//,/ }; do
            pairs+=("$directory:$directory")
        done
        launch+=("--container-image=$PNEUMO_IMAGE" "--container-workdir=$root")
        launch+=("--container-mounts=$(
            IFS=,
            echo "${pairs[*]}"
        )" python "$jobs")
    elif command -v apptainer >/dev/null; then
        launch+=(apptainer exec --nv --bind "$mounts" --pwd "$root" "$PNEUMO_IMAGE" python "$jobs")
    else
        fail "PNEUMO_IMAGE=$PNEUMO_IMAGE needs Apptainer or Pyxis, and this node has neither; set PNEUMO_VENV instead"
    fi
}

# A GPU without a rank would idle, and a GPU with two ranks would be shared.
check_gpus() {
    local gpus=${SLURM_GPUS_ON_NODE:-0} tasks=${SLURM_NTASKS_PER_NODE:-1}
    ((gpus == 0 || gpus == tasks)) ||
        fail "$gpus GPU(s) and $tasks task(s) on each node; expected one task per GPU: sbatch" \
            "--gpus-per-node=$gpus --ntasks-per-node=$gpus, or --gpus of slurm/submit.sh"
}

# Give the job back to the queue, and nothing else of its array: a bare array id would requeue every element.
# A job that is cancelled does not come here: Slurm ends this shell first.
requeue() {
    local id=$SLURM_JOB_ID
    [[ -z ${SLURM_ARRAY_JOB_ID:-} ]] || id=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    say "$1; job $id is requeued and goes on from the last checkpoint"
    scontrol requeue "$id" || say "job $id cannot be requeued; submit it again, it goes on as well"
    exit 3
}

# Run a command of job/, such as `run_step train.py --folds 3`, and end the job according to its exit code. The code of
# a step with several ranks is the highest of theirs, 128 + N for signal N: a wrong input or a stop wins over the 1 of
# ranks that only lost the others, and a kill over both; started again, the step says 2 or 3 by itself.
run_step() {
    local command=$1 attempt code last
    shift
    choose_launch
    last=$((${#launch[@]} - 1))
    launch[last]+=$command
    for ((attempt = 0; ; attempt++)); do
        code=0
        "${launch[@]}" "$@" || code=$?
        case $code in
            0) return ;;
            2) fail "$command refused its input (exit code 2): not tried again" ;;
            3) requeue "$command saved its state" ;;
            # 128 + SIGUSR1
            138) requeue "$command was told to stop before it could save" ;;
        esac
        if ((attempt == PNEUMO_RETRIES)); then
            say "$command failed with exit code $code, started $((attempt + 1)) time(s): giving up"
            exit "$code"
        fi
        say "$command failed with exit code $code; starting it again ($((attempt + 1)) of $PNEUMO_RETRIES)"
    done
}
