"""Read one DICOM file safely: parse it, check and decode its pixel data, pass its frame through or render it."""
