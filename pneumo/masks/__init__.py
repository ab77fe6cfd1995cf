"""Masks as text: run lengths, the CSV files that people bring, the submission and its metric, image ids."""
