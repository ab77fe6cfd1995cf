"""Benchmarks: each time or rate beside a baseline's or a limit's, measured in the same run (see README.md)."""
