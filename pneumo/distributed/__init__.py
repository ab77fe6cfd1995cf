"""Ranks, launchers, signals and failures: the only package that knows how processes were started.

- environment: this process's rank, cores and launcher, from the variables of a launcher or of Slurm
- gpus: the GPUs that this process may use, as the driver lists them
- device: this rank's GPU or the CPU, and the precision that it has
- device_memory: memory between folds, and too little of it
- rendezvous: connects all ranks of one start, and none of another
- startup: start and end of the process groups
- world: all ranks that were started together, and this process's place among them
- partition: which ranks train which folds
- collectives: groups of ranks, and the collectives between them
- stopping: the flag that SIGTERM, SIGUSR1, SIGHUP and Ctrl-C set
- heartbeat: when this process last made progress, and whether it is waiting for others
- peers: heartbeats and exit statuses of the other ranks
- nccl: settings that leave the handling of a lost rank to the watchdog
- watchdog: ends a rank whose peer is lost, and names the peer and its error
- launcher: starts the ranks of one machine and exits with their exit code (job/launch.py)
- launcher_watch: tells the launcher that all ranks have met, and stops a rank whose launcher was killed
- exit_codes: the one exit code that stands for those of several ranks
"""
