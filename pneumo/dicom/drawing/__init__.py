"""Shapes of a made-up chest and the canvas they are drawn on (see ``pneumo.dicom.phantom``)."""
