"""What every command stands on: command line, log, errors, files, locks, configuration."""
