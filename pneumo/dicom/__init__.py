"""One DICOM file at a time: read it safely, pass its frame through or render it, write it, and draw made-up ones."""
