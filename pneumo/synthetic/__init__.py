"""Made-up chest X-rays and the DICOM files they are in, for the demo, the tests and the benchmarks alone."""
