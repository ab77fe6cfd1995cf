#!/usr/bin/env bash
# Submit the jobs from DICOMs to a submission: shards, folds, ensembler, each after the one before.
#
#   slurm/submit.sh [--SETTING VALUE ...] [--world] [--dry-run] [-- ARGUMENTS OF job/train.py]
#
#   --world      train all folds in one job over --nodes nodes, instead of one job per fold
#   --dry-run    print the sbatch commands, after the settings that they get through the environment
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
            # Options of another program begin with -- as a flag of this one does.
            [[ $2 != --* || $1 == --sbatch || $1 == --srun ]] ||
                fail "$1 has no value, $2 follows; expected $1 VALUE; give one"
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
for name in PNEUMO_{FOLDS_AT_ONCE,GPUS,RETRIES,SAVE_SECONDS}; do
    [[ ${!name} =~ ^(0|[1-9][0-9]*)$ ]] || fail "$name is ${!name}; expected a non-negative integer; correct it"
done
[[ -z $world || $PNEUMO_FOLDS_AT_ONCE == 0 ]] ||
    fail "PNEUMO_FOLDS_AT_ONCE is $PNEUMO_FOLDS_AT_ONCE with --world; expected 0, as one job trains all folds; leave out" \
        "one of them"
read -ra more <<<"$PNEUMO_SBATCH"
for option in "${more[@]}"; do
    # sbatch accepts shortened names, too.
    case $option in
        -a* | --ar*)
            fail "found $option in PNEUMO_SBATCH; expected options for all jobs, each of which has an array of its own or" \
                "none; give --folds-at-once N to train N folds at a time, or --shard-tasks N"
            ;;
        -d* | --dep*)
            fail "found $option in PNEUMO_SBATCH; expected options for all jobs, each of which waits for the one before;" \
                "submit when the other job has ended"
            ;;
    esac
done
# Otherwise a node finds out, hours later. With an image, mounts of the cluster may give paths that are not here.
paths=(PNEUMO_{DICOM,TEST_DICOM,MASKS,PATIENTS,EXPECTED})
[[ -z $PNEUMO_IMAGE ]] || paths=()
# What is neither is a name that a registry knows, or an address.
[[ $PNEUMO_IMAGE != @(/|./|../)* && $PNEUMO_IMAGE != *.@(sif|sqsh) || $PNEUMO_IMAGE == *://* ]] || paths=(PNEUMO_IMAGE)
missing=''
for name in "${paths[@]}"; do
    [[ -z ${!name} || -e ${!name} ]] ||
        (fail "$name is ${!name}, which does not exist; expected a path that does, from $root; correct it") || missing=yes
done
[[ -z $missing ]] || exit 2
# A dataset that exists has its number of folds: an array of more elements would fail in the surplus ones.
if [[ -f $PNEUMO_DATASET/dataset.json ]]; then
    found=$(sed -n 's/^ *"num_folds": \([1-9][0-9]*\),\{0,1\}$/\1/p' "$PNEUMO_DATASET/dataset.json")
    [[ $found =~ ^[0-9]+$ ]] ||
        fail "found no num_folds in $PNEUMO_DATASET/dataset.json; expected the number of folds; build the dataset again"
    [[ -z $asked_folds || $asked_folds == "$found" ]] ||
        fail "PNEUMO_NUM_FOLDS is $asked_folds; expected $found, the folds of $PNEUMO_DATASET; correct it, or leave it out"
    PNEUMO_NUM_FOLDS=$found
fi
[[ -n $PNEUMO_DICOM || -f $PNEUMO_DATASET/dataset.json ]] ||
    fail "found no dataset at $PNEUMO_DATASET; expected one, or DICOMs to build it from; give --dataset, or" \
        "--dicom and --masks"
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
ranks=("--cpus-per-task=$PNEUMO_CPUS" "--ntasks-per-node=$((PNEUMO_GPUS ? PNEUMO_GPUS : 1))" "--gpus-per-node=$PNEUMO_GPUS")
signal=--signal=USR1@$PNEUMO_SAVE_SECONDS
per_element="--output=$PNEUMO_LOGS/%x-%A_%a.log" per_job="--output=$PNEUMO_LOGS/%x-%j.log"

# Print what the jobs get through the environment, as commands of a shell: the settings that are not those of settings.sh.
print_settings() {
    local name
    printf 'export PNEUMO_ROOT=%q\n' "$PNEUMO_ROOT"
    for name in "${!PNEUMO_@}"; do
        grep -q "^: \"\${$name:=" slurm/settings.sh || continue
        # shellcheck source=/dev/null
        [[ ${!name} == "$(unset "$name" && . slurm/settings.sh && echo "${!name}")" ]] ||
            printf 'export %s=%q\n' "$name" "${!name}"
    done
}

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

[[ -z $dry_run ]] || print_settings
# With DICOMs, also where the dataset exists: job/shard.py keeps one of the same files, and refuses one of others.
if [[ -n $PNEUMO_DICOM ]]; then
    submit shard "$per_element" "--array=0-$((PNEUMO_SHARD_TASKS - 1))" "--cpus-per-task=$PNEUMO_SHARD_CPUS" \
        "$signal"
fi
if [[ -n $world ]]; then
    submit world "$per_job" "--nodes=$PNEUMO_NODES" "${ranks[@]}" "$signal"
else
    array=--array=0-$((PNEUMO_NUM_FOLDS - 1))
    ((PNEUMO_FOLDS_AT_ONCE == 0)) || array+=%$PNEUMO_FOLDS_AT_ONCE
    submit folds "$per_element" "$array" "--nodes=$PNEUMO_NODES" "${ranks[@]}" "$signal"
    submit ensemble "$per_job" "${ranks[@]}"
fi
