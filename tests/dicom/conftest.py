"""Nothing but its place: pytest imports from a folder with a conftest, so that encodings/ finds reference_files."""
