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
#     sbatch --nodes=4 --gpus-per-node=8 --ntasks-per-node=8 slurm/world.sh
#
# Settings: slurm/settings.sh; words after the script go to job/train.py. 32 ranks and 5 folds are 5 groups of 6 or 7
# ranks. --signal goes to the ranks, which agree to save and exit with 3.
set -euo pipefail

# sbatch runs a copy of this file, so that its own place does not tell where the project is.
root=${PNEUMO_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}}
if [[ ! -f $root/slurm/common.sh ]]; then
    echo "$root is not the directory of pneumo; run sbatch there, or set PNEUMO_ROOT to it" >&2
    exit 2
fi
# shellcheck source=slurm/common.sh
. "$root/slurm/common.sh"

check_gpus
expected=()
[[ -z $PNEUMO_EXPECTED ]] || expected=(--expected "$PNEUMO_EXPECTED")
run_step train.py --dataset "$PNEUMO_DATASET" --run "$PNEUMO_RUN" --recipe "$PNEUMO_RECIPE" \
    --expect-world "$SLURM_NTASKS" "${expected[@]}" "$@"
