"""Self-contained pages for people: one file, no script, no request, readable in light, dark and print."""
