"""Ranks, nodes, launchers, signals and failures: the only part that knows where the job runs.

- environment: what a launcher or Slurm says about this process's place
- rendezvous: the meeting of all ranks of one start, and none of another
- world: ranks, fold groups, and the collectives between them
- stopping: the flag that SIGTERM, SIGUSR1 and Ctrl-C set
- pulse: when this process last made progress, and whether it waits for others
- watch: threads that end a rank whose peer is lost, and say which, and why
- launcher: starts the ranks of one machine and passes their exit code on (job/launch.py)
"""
