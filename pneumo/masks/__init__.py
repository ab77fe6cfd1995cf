"""Masks as run lengths: the codec, the CSV files that users bring, the submission and its metric, image ids."""
