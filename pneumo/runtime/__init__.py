"""What every command is built on: command line, log, errors, files, locks, configuration."""
