#!/usr/bin/env bash
#SBATCH --job-name=pneumo-ensemble
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem-per-cpu=8G
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm/logs/%x-%j.log

# Finish a run whose folds are all trained: decision rule, metrics, out-of-fold masks and RUN/submission.csv.
#
#     sbatch slurm/ensemble.sh         settings: slurm/settings.sh; arguments are passed to job/ensemble.py
#
# No --signal: an ensembler that does not fit into its time limit has nothing to save, and would be requeued forever.
set -euo pipefail

# sbatch runs a copy of this file elsewhere: the project is where sbatch was called.
root=${PNEUMO_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}}
# shellcheck source=slurm/common.sh
. "$root/slurm/common.sh" || {
    echo "found no slurm/common.sh in $root; expected the directory of pneumo; run sbatch there, or set PNEUMO_ROOT" >&2
    exit 2
}

run_ranks ensemble.py --runs "$PNEUMO_RUN" --out "$PNEUMO_RUN/submission.csv" "$@"
