#!/usr/bin/env bash
# Submit the jobs from DICOMs to a submission: shards, folds, ensembler, each after the one before.
#
#   slurm/submit.sh [--SETTING VALUE ...] [--world] [--dry-run] [-- ARGUMENTS OF job/train.py]
#
#   --world      train all folds in one job over --nodes nodes, instead of one job per fold
#   --dry-run    print the sbatch commands
#
# Settings, with their current values:
set -euo pipefail

root=${PNEUMO_ROOT:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)}

fail() {
    echo "submit.sh: $*" >&2
    exit 2
}

usage() {
    sed -n '2,9s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
    . "$root/slurm/settings.sh"
    local name comment
    while IFS=$'\t' read -r name comment; do
        # shellcheck disable=SC2018,SC2019
        printf '   --%-14s %-12s %s\n' "$(tr 'A-Z_' 'a-z-' <<<"${name#PNEUMO_}")" "${!name:--}" "$comment"
    done < <(sed -n 's/^: "${\(PNEUMO_[A-Z_]*\):=.*}" *# /\1\t/p' "$root/slurm/settings.sh")
}

# Flags become the environment variables that settings.sh knows.
world='' dry_run=''
while (($#)); do
    case $1 in
        --) shift && break ;;
        -h | --help) usage && exit 0 ;;
        --world) world=yes ;;
        --dry-run) dry_run=yes ;;
        --*)
            # shellcheck disable=SC2018,SC2019
            name=PNEUMO_$(tr 'a-z-' 'A-Z_' <<<"${1#--}")
            grep -q "^: \"\${$name:=" "$root/slurm/settings.sh" ||
                fail "$1 is not a setting; expected one that slurm/submit.sh --help lists; arguments of train.py go after --"
            (($# > 1)) || fail "$1 has no value; expected $1 VALUE; give one"
            export "$name=$2"
            shift
            ;;
        *) fail "found $1; expected flags; arguments of train.py go after --" ;;
    esac
    shift
done
train=("$@")
asked_folds=${PNEUMO_NUM_FOLDS:-}
# All settings are passed to the jobs: a later change of settings.sh does not affect a job that is requeued.
set -a
# shellcheck source=slurm/settings.sh
. "$root/slurm/settings.sh"
set +a
export PNEUMO_ROOT=$root
cd "$root"

for name in PNEUMO_{NUM_FOLDS,SHARD_TASKS,SHARD_CPUS,NODES,CPUS}; do
    [[ ${!name} =~ ^[1-9][0-9]*$ ]] || fail "$name is ${!name}; expected a positive integer; correct it"
done
for name in PNEUMO_{GPUS,RETRIES,SAVE_SECONDS}; do
    [[ ${!name} =~ ^(0|[1-9][0-9]*)$ ]] || fail "$name is ${!name}; expected a non-negative integer; correct it"
done
# A dataset that exists has its number of folds: an array of more elements would fail in the surplus ones.
if [[ -f $PNEUMO_DATASET/dataset.json ]]; then
    found=$(sed -n 's/^ *"num_folds": \([1-9][0-9]*\),\{0,1\}$/\1/p' "$PNEUMO_DATASET/dataset.json")
    [[ $found =~ ^[0-9]+$ ]] ||
        fail "found no num_folds in $PNEUMO_DATASET/dataset.json; expected the number of folds; build the dataset again"
    [[ -z $asked_folds || $asked_folds == "$found" ]] ||
        fail "PNEUMO_NUM_FOLDS is $asked_folds; expected $found, the folds of $PNEUMO_DATASET; correct it, or leave it out"
    PNEUMO_NUM_FOLDS=$found
fi
if [[ -z $dry_run ]]; then
    command -v sbatch >/dev/null || fail "found no sbatch; expected it on PATH; run this on a login node of Slurm"
    [[ -n $PNEUMO_IMAGE || -x $PNEUMO_VENV/bin/python ]] ||
        fail "found no $PNEUMO_VENV/bin/python; expected a virtual environment; run ./launch.sh setup, or give --venv" \
            "or --image"
    mkdir -p "$PNEUMO_LOGS"
fi

common=(--parsable "--chdir=$root" --export=ALL "--time=$PNEUMO_TIME" "--mem-per-cpu=$PNEUMO_MEMORY")
[[ -z $PNEUMO_ACCOUNT ]] || common+=("--account=$PNEUMO_ACCOUNT")
[[ -z $PNEUMO_PARTITION ]] || common+=("--partition=$PNEUMO_PARTITION")
[[ -z $PNEUMO_QOS ]] || common+=("--qos=$PNEUMO_QOS")
read -ra more <<<"$PNEUMO_SBATCH"
ranks=("--cpus-per-task=$PNEUMO_CPUS" "--ntasks-per-node=$((PNEUMO_GPUS ? PNEUMO_GPUS : 1))" "--gpus-per-node=$PNEUMO_GPUS")
signal=--signal=USR1@$PNEUMO_SAVE_SECONDS
per_element="--output=$PNEUMO_LOGS/%x-%A_%a.log" per_job="--output=$PNEUMO_LOGS/%x-%j.log"

# Submit slurm/$1.sh with these options of sbatch, to start after the job before, and print its id; cancel the jobs
# already submitted when it fails. Options of the setting PNEUMO_SBATCH come last, so that they override.
submitted=()
submit() {
    local script=$1 command id
    shift
    command=(sbatch "${common[@]}" "$@")
    ((${#submitted[@]} == 0)) || command+=("--dependency=afterok:${submitted[-1]}" --kill-on-invalid-dep=yes)
    command+=("${more[@]}" "slurm/$script.sh")
    case $script in
        folds | world) command+=("${train[@]}") ;;
    esac
    if [[ -n $dry_run ]]; then
        printf '%q ' "${command[@]}" && echo
        submitted+=("ID_OF_${script^^}")
        return
    fi
    if ! id=$("${command[@]}"); then
        ((${#submitted[@]} == 0)) || scancel "${submitted[@]}"
        fail "sbatch refused slurm/$script.sh, see above; expected a job id; correct the settings: nothing is left in" \
            "the queue"
    fi
    submitted+=("${id%%;*}")
    echo "$script ${submitted[-1]}"
}

# With DICOMs, also where the dataset exists: job/shard.py keeps one of the same files, and refuses one of others.
if [[ -n $PNEUMO_DICOM || ! -f $PNEUMO_DATASET/dataset.json ]]; then
    [[ -n $PNEUMO_DICOM ]] ||
        fail "found no dataset at $PNEUMO_DATASET; expected one, or DICOMs to build it from; give --dataset, or" \
            "--dicom and --masks"
    submit shard "$per_element" "--array=0-$((PNEUMO_SHARD_TASKS - 1))" "--cpus-per-task=$PNEUMO_SHARD_CPUS" \
        "$signal"
fi
if [[ -n $world ]]; then
    submit world "$per_job" "--nodes=$PNEUMO_NODES" "${ranks[@]}" "$signal"
else
    submit folds "$per_element" "--array=0-$((PNEUMO_NUM_FOLDS - 1))" "--nodes=$PNEUMO_NODES" "${ranks[@]}" "$signal"
    submit ensemble "$per_job" "${ranks[@]}"
fi
