"""Pneumothorax segmentation: DICOM -> dataset -> run -> submission."""

__version__ = "0.1.0"
