#!/usr/bin/env bash
#SBATCH --job-name=pneumo-world
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem-per-cpu=8G
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm/logs/%x-%j.log

# Train all folds side by side in one job, over the GPUs of all its nodes; then ensemble.
#
#     sbatch --nodes=5 --gpus-per-node=4 --ntasks-per-node=4 slurm/world.sh
#
# Settings: slurm/settings.sh; arguments are passed to job/train.py. These 20 ranks train 5 folds in groups of 4, each on
# a node of its own. A fold can use at most batch_size / micro_batch_size ranks (recipe best: 4); more ranks wait, and
# take part in the predictions. --signal goes to the ranks, which agree to save and exit with 3.
set -euo pipefail

# sbatch runs a copy of this file elsewhere: the project is where sbatch was called.
root=${PNEUMO_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}}
# shellcheck source=slurm/common.sh
. "$root/slurm/common.sh" || {
    echo "found no slurm/common.sh in $root; expected the directory of pneumo; run sbatch there, or set PNEUMO_ROOT" >&2
    exit 2
}

run_ranks train.py --run "$PNEUMO_RUN" --recipe "$PNEUMO_RECIPE" "$@"
