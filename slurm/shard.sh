#!/usr/bin/env bash
#SBATCH --job-name=pneumo-shard
#SBATCH --array=0-3
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --mem-per-cpu=8G
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=slurm/logs/%x-%A_%a.log

# Write the dataset's shards, element I every N-th; the element that ends last completes the dataset.
#
#     sbatch slurm/shard.sh            settings: slurm/settings.sh; arguments are passed to job/shard.py
set -euo pipefail

# sbatch runs a copy of this file elsewhere: the project is where sbatch was called.
root=${PNEUMO_ROOT:-${SLURM_SUBMIT_DIR:-$PWD}}
# shellcheck source=slurm/common.sh
. "$root/slurm/common.sh" || {
    echo "found no slurm/common.sh in $root; expected the directory of pneumo; run sbatch there, or set PNEUMO_ROOT" >&2
    exit 2
}

[[ -n $PNEUMO_DICOM ]] || fail "PNEUMO_DICOM is empty; expected the directory of the DICOMs; set it (slurm/settings.sh)"
inputs=(--dicom "$PNEUMO_DICOM")
[[ -z $PNEUMO_TEST_DICOM ]] || inputs+=(--test-dicom "$PNEUMO_TEST_DICOM")
[[ -z $PNEUMO_MASKS ]] || inputs+=(--masks "$PNEUMO_MASKS")
[[ -z $PNEUMO_PATIENTS ]] || inputs+=(--patients "$PNEUMO_PATIENTS")
# Not SLURM_ARRAY_TASK_COUNT: that is 1 for an element that is submitted again by itself.
run_step shard.py "${inputs[@]}" --out "$PNEUMO_DATASET" --num-folds "$PNEUMO_NUM_FOLDS" \
    --task "${SLURM_ARRAY_TASK_ID:-0}/$PNEUMO_SHARD_TASKS" "$@"
