#!/usr/bin/env bash
#SBATCH --job-name=pneumo-folds
#SBATCH --array=0-4
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem-per-cpu=8G
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm/logs/%x-%A_%a.log

# Train the folds, one in each element of the array.
#
#     sbatch slurm/folds.sh                settings: slurm/settings.sh; arguments are passed to job/train.py
#     sbatch --array=3 slurm/folds.sh      one fold again; it resumes from its last checkpoint
#
# --signal without B: the signal goes to the ranks, which save and exit with 3, and not to this shell.
set -euo pipefail

# sbatch runs a copy of this file elsewhere: the project is where sbatch was called.
root=${PNEUMO_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}}
# shellcheck source=slurm/common.sh
. "$root/slurm/common.sh" || {
    echo "found no slurm/common.sh in $root; expected the directory of pneumo; run sbatch there, or set PNEUMO_ROOT" >&2
    exit 2
}

[[ -n ${SLURM_ARRAY_TASK_ID:-} ]] || fail "found no array; expected one element per fold; give sbatch --array=0-4"
run_ranks train.py --run "$PNEUMO_RUN" --recipe "$PNEUMO_RECIPE" --folds "$SLURM_ARRAY_TASK_ID" "$@"
