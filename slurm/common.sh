# shellcheck shell=bash
# Sourced by the batch scripts with $root set to the project's directory: runs one command of job/ as a job step and acts
# on its exit code.

cd "${root:?}" || exit 2
# shellcheck source=slurm/settings.sh
. slurm/settings.sh

log() {
    echo "$(date +%T) slurm: $*" >&2
}

fail() {
    log "$*"
    exit 2
}

[[ -n ${SLURM_JOB_ID:-} ]] || fail "found no Slurm job; expected one; submit this script with sbatch"

# Set `launch` to the command line before a command of job/.
#
# srun starts the ranks itself, one per GPU: signals reach each rank, exit codes 2 and 3 survive, and Slurm names a rank
# that fails. (torchrun and accelerate exit with 1 whatever code the ranks exit with.)
choose_launch() {
    # Since Slurm 22.05 srun does not inherit --cpus-per-task from the job. A failed rank does not end the step: other
    # folds keep training, and the ranks of the same fold detect the failure themselves and name the rank.
    launch=(srun "--cpus-per-task=${SLURM_CPUS_PER_TASK:-1}" --kill-on-bad-exit=0 --wait=0)
    local options
    read -ra options <<<"$PNEUMO_SRUN"
    launch+=("${options[@]}")
    if [[ -z $PNEUMO_IMAGE ]]; then
        [[ -x $PNEUMO_VENV/bin/python ]] ||
            fail "found no $PNEUMO_VENV/bin/python; expected a virtual environment; run ./launch.sh setup, or set" \
                "PNEUMO_VENV or PNEUMO_IMAGE"
        launch+=("$PNEUMO_VENV/bin/python" job/)
        return
    fi
    local mounts=$root${PNEUMO_MOUNTS:+,$PNEUMO_MOUNTS}
    # Not the checkout's job/: commands and package come from the image together.
    local commands=/opt/pneumo/job/
    if [[ ! -f $PNEUMO_IMAGE ]] && [[ $(srun --help 2>/dev/null) == *--container-image* ]]; then
        local pairs=() directory
        for directory in ${mounts//,/ }; do
            pairs+=("$directory:$directory")
        done
        launch+=("--container-image=$PNEUMO_IMAGE" "--container-workdir=$root")
        launch+=("--container-mounts=$(
            IFS=,
            echo "${pairs[*]}"
        )" python "$commands")
    elif command -v apptainer >/dev/null; then
        launch+=(apptainer exec --nv --bind "$mounts" --pwd "$root" "$PNEUMO_IMAGE" python "$commands")
    else
        fail "found neither Apptainer nor Pyxis on this node; expected one, for PNEUMO_IMAGE=$PNEUMO_IMAGE; set" \
            "PNEUMO_VENV instead"
    fi
}

# A GPU without a rank would be idle, and a GPU with two ranks would be shared.
check_gpus() {
    local gpus=${SLURM_GPUS_ON_NODE:-0} tasks=${SLURM_NTASKS_PER_NODE:-1}
    ((gpus == 0 || gpus == tasks)) ||
        fail "found $gpus GPU(s) and $tasks task(s) on each node; expected one task per GPU; give sbatch" \
            "--gpus-per-node=$gpus --ntasks-per-node=$gpus, or slurm/submit.sh --gpus $gpus"
}

# Requeue this job, and no other element of its array: the array's id alone would requeue every element.
# Not reached when the job is cancelled: Slurm ends this shell first.
requeue() {
    local id=$SLURM_JOB_ID
    [[ -z ${SLURM_ARRAY_JOB_ID:-} ]] || id=${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID
    log "$1; job $id is requeued and resumes from what is saved"
    scontrol requeue "$id" || log "job $id cannot be requeued; submit it again, it resumes from what is saved"
    exit 3
}

# Run a command of job/, such as `run_step shard.py --out data`, and end the job according to its exit code. A step of
# several ranks has the highest of their codes, 128 + N for signal N: 2 and 3 win over the 1 of ranks that only lost a
# peer, and a kill wins over both; a restarted step then exits with 2 or 3 itself.
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
            2) fail "$command refused its input (exit code 2): not restarted" ;;
            3) requeue "$command was stopped" ;;
            # 128 + SIGUSR1
            138) requeue "$command was stopped before it could save" ;;
        esac
        if ((attempt == PNEUMO_RETRIES)); then
            log "$command failed with exit code $code, started $((attempt + 1)) time(s): giving up"
            exit "$code"
        fi
        log "$command failed with exit code $code; restarting it ($((attempt + 1)) of $PNEUMO_RETRIES)"
    done
}

# The same for a command that runs one rank per GPU on the dataset: train.py or ensemble.py.
run_ranks() {
    local command=$1 expected=()
    shift
    check_gpus
    [[ -z $PNEUMO_EXPECTED ]] || expected=(--expected "$PNEUMO_EXPECTED")
    run_step "$command" --dataset "$PNEUMO_DATASET" --expect-world "$SLURM_NTASKS" "${expected[@]}" "$@"
}
