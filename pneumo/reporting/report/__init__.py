"""The report of a run, RUN/report.html: what was trained, how good it is, and where it is wrong."""
