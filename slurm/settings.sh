# shellcheck shell=bash
# Every setting of the Slurm scripts. An environment variable of the same name overrides the value here, and so does a
# flag of submit.sh: PNEUMO_TEST_DICOM is --test-dicom. Paths are relative to the project's directory.

# What is trained on what
: "${PNEUMO_DATASET:=data/siim}" # dataset; built from the DICOMs below when it does not exist
: "${PNEUMO_RUN:=runs/best}"     # run directory, on a file system that all nodes share
: "${PNEUMO_RECIPE:=best}"       # recipe, one of the table in README.md
: "${PNEUMO_NUM_FOLDS:=5}"       # folds of a dataset that is built; one that exists has its own
: "${PNEUMO_EXPECTED:=}"         # CSV with the image ids that the submission must have (Kaggle's sample submission)

# Input of the dataset
: "${PNEUMO_DICOM:=}"        # directory of training DICOMs
: "${PNEUMO_TEST_DICOM:=}"   # directory of test DICOMs
: "${PNEUMO_MASKS:=}"        # CSV of run-length encoded masks
: "${PNEUMO_PATIENTS:=}"     # CSV of ImageId,PatientId
: "${PNEUMO_SHARD_TASKS:=4}" # elements of the array that writes shards
: "${PNEUMO_SHARD_CPUS:=8}"  # cores of each of them

# Requests to Slurm; empty = the cluster's default
: "${PNEUMO_FOLDS_AT_ONCE:=0}"  # folds that are trained at the same time; 0 = all
: "${PNEUMO_ACCOUNT:=}"         # account to charge
: "${PNEUMO_PARTITION:=}"       # partition
: "${PNEUMO_QOS:=}"             # quality of service
: "${PNEUMO_TIME:=24:00:00}"    # time limit of a job; a fold that needs longer is saved, requeued and resumed
: "${PNEUMO_SAVE_SECONDS:=300}" # seconds before the time limit at which the ranks get the signal to save
: "${PNEUMO_GPUS:=1}"           # GPUs per node, with one rank each; 0 = one rank without a GPU
: "${PNEUMO_NODES:=1}"          # nodes per fold; with --world: nodes of the whole job
: "${PNEUMO_CPUS:=8}"           # cores per rank
: "${PNEUMO_MEMORY:=8G}"        # memory per core: a node needs PNEUMO_MEMORY x PNEUMO_CPUS x its ranks
: "${PNEUMO_SBATCH:=}"          # more options of sbatch for all jobs, such as --constraint=a100
: "${PNEUMO_SRUN:=}"            # more options of srun, such as --gpu-bind=closest
: "${PNEUMO_LOGS:=slurm/logs}"  # directory of the jobs' logs

# Where Python comes from
: "${PNEUMO_VENV:=.venv}" # virtual environment
: "${PNEUMO_IMAGE:=}"     # container image instead: a .sif file (Apptainer), or an image name for Pyxis or Apptainer
: "${PNEUMO_MOUNTS:=}"    # comma-separated directories to mount in the container besides the project's

: "${PNEUMO_RETRIES:=2}" # restarts of a crashed step before its job fails
