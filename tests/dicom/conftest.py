"""Nothing but its place: pytest imports from a directory with a conftest, so that encodings/ finds reference_files."""
