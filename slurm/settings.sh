# shellcheck shell=bash
# Every setting of the Slurm scripts. An environment variable of the same name wins over the value here, and so does a
# flag of submit.sh: PNEUMO_TEST_DICOM is --test-dicom. Relative paths count from the project's directory.

# What is trained on what
: "${PNEUMO_DATASET:=data/siim}" # dataset; made from the DICOMs below when it is not there
: "${PNEUMO_RUN:=runs/best}"     # run directory, on a file system that all nodes share
: "${PNEUMO_RECIPE:=best}"       # recipe: debug, demo, seed, winner or best
: "${PNEUMO_NUM_FOLDS:=5}"           # number of folds: elements of the array of folds
: "${PNEUMO_EXPECTED:=}"         # CSV with the ids that the submission must have (Kaggle's sample submission)

# Input of the dataset
: "${PNEUMO_DICOM:=}"        # directory of training DICOMs
: "${PNEUMO_TEST_DICOM:=}"   # directory of test DICOMs
: "${PNEUMO_MASKS:=}"        # CSV of run-length encoded masks
: "${PNEUMO_PATIENTS:=}"     # CSV of ImageId,PatientId
: "${PNEUMO_SHARD_TASKS:=4}" # elements of the array that writes shards
: "${PNEUMO_SHARD_CPUS:=8}"  # cores of each of them

# What Slurm is asked for; empty = the cluster's default
: "${PNEUMO_ACCOUNT:=}"         # account to charge
: "${PNEUMO_PARTITION:=}"       # partition
: "${PNEUMO_QOS:=}"             # quality of service
: "${PNEUMO_TIME:=24:00:00}"    # time limit of a job; a fold that needs longer is saved, requeued and goes on
: "${PNEUMO_SAVE_SECONDS:=300}" # so long before the limit the ranks are told to save
: "${PNEUMO_GPUS:=1}"           # GPUs a node, with one rank each; 0 = one rank without a GPU
: "${PNEUMO_NODES:=1}"          # nodes of a fold; with --world: nodes of the whole job
: "${PNEUMO_CPUS:=8}"           # cores of each rank
: "${PNEUMO_MEMORY:=8G}"        # memory of each core
: "${PNEUMO_SBATCH:=}"          # more words for sbatch, such as --constraint=a100
: "${PNEUMO_SRUN:=}"            # more words for srun, such as --gpu-bind=closest
: "${PNEUMO_LOGS:=slurm/logs}"  # directory of the jobs' logs

# Where Python comes from
: "${PNEUMO_VENV:=.venv}" # virtual environment
: "${PNEUMO_IMAGE:=}"     # container image instead: a .sif file (Apptainer), or a name that Pyxis or Apptainer knows
: "${PNEUMO_MOUNTS:=}"    # directories that the container sees besides the project's, with commas between

: "${PNEUMO_RETRIES:=2}" # times that a crashed step is started again before its job fails
