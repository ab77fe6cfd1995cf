"""Benchmarks: each time or rate is compared with a peer's or a limit's, measured in the same run (see README.md)."""
