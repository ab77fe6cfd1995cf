"""Benchmarks: every figure stands beside a peer's or a limit's, measured in the same run (see README.md)."""
