"""The exploratory analysis of a dataset: statistics in modules of their own, and the page of job/explore.py."""
