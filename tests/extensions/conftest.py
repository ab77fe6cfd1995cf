"""Tests of the examples in CONTRIBUTING.md, at the paths that they have below tests/ once an example is added.

They import modules that are not in the package: tests/test_pages.py runs them in a copy that has them.
"""

collect_ignore_glob = ["*"]
