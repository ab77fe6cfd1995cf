"""Ranges of numbers that several commands and documents share."""

from typing import Annotated

from annotated_types import Interval

MAX_FOLDS = 127
"""Folds are stored in eight bits in the sample table."""

Count = Annotated[int, Interval(ge=0, le=10**12)]
"""A number of files, images, patients or steps."""
Seed = Annotated[int, Interval(ge=0, le=2**32 - 1)]
Workers = Annotated[int, Interval(ge=1, le=4096)]
"""Threads or processes on one machine; a larger number is a typing error that would exhaust it."""
WorkersOrAuto = Annotated[int, Interval(ge=0, le=4096)]
"""The same; 0 = as many as there are cores."""
NumFolds = Annotated[int, Interval(ge=2, le=MAX_FOLDS)]
FoldIndex = Annotated[int, Interval(ge=0, le=MAX_FOLDS - 1)]
ExpectedWorld = Annotated[int, Interval(ge=0, le=65_536)]
"""Ranks that a launcher was asked for; 0 = not checked."""
RankTimeout = Annotated[float, Interval(ge=1, le=7 * 86_400)]
"""Seconds."""
WaitTime = Annotated[float, Interval(ge=0, le=7 * 86_400)]
"""Seconds."""
CheckpointInterval = Annotated[float, Interval(ge=0, le=7 * 1440)]
"""Minutes."""
Fraction = Annotated[float, Interval(ge=0, le=1)]
PositiveFraction = Annotated[float, Interval(gt=0, le=1)]
FractionBelowOne = Annotated[float, Interval(ge=0, lt=1)]
ReferenceArea = Annotated[float, Interval(ge=0, le=1 << 20)]
"""An area in pixels of a 1024x1024 image."""
Percent = Annotated[float, Interval(ge=0, le=100)]
