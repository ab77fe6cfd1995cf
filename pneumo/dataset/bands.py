"""The bands that images are divided into by a number, such as their patients' age: one division for all pages."""

from bisect import bisect_right
from dataclasses import dataclass

UNKNOWN = "unknown"
"""Band, or group, of an image of which it is not known."""


@dataclass(frozen=True)
class Bands:
    """Ranges that numbers are divided into: below the first start, from each start to the next, and above the last."""

    starts: tuple[float, ...]
    unit: str

    @property
    def names(self) -> list[str]:
        """The names of the bands in ascending order."""
        first, last = self.starts[0], self.starts[-1]
        between = [f"{a:,} to below {b:,} {self.unit}" for a, b in zip(self.starts, self.starts[1:], strict=False)]
        return [f"below {first:,} {self.unit}", *between, f"{last:,} {self.unit} and more"]

    def name(self, value: float) -> str:
        """Return the name of the band of a number."""
        return self.names[bisect_right(self.starts, value)]


AGES = Bands((18, 40, 60, 80), "years")


def name_age(years: int) -> str:
    """Return the name of the band of ``SampleTable.age_years``, where an unknown age is -1."""
    return AGES.name(years) if years >= 0 else UNKNOWN
