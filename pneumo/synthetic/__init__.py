"""Synthetic chest X-rays and their DICOM files, for the demo, the tests and the benchmarks only."""
