"""The names of the loaders, which are values of a flag."""

from typing import Literal

LoaderKind = Literal["auto", "dali", "opencv"]
"""``auto`` is resolved by ``pneumo.loading.build.resolve_loader``."""
