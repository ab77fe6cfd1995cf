"""Outputs of job/predict.py: a class in a file of its own for each, and its line in ``registry.OUTPUTS``."""
