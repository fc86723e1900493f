"""What a workload is given and what comes out of it, as plain values."""

from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True)
class Effort:
    """How thorough a run is: ``pairs`` of runs of about so many ``seconds`` each; ``lines`` of a trial."""

    pairs: int = 15
    seconds: float = 1.0
    lines: int = 5_000_000


@dataclass(frozen=True)
class Figure:
    """One figure and what it must be; ``low`` and ``high`` are those of its single measurements."""

    title: str
    value: float
    unit: str = ""
    at_least: float | None = None
    at_most: float | None = None
    low: float | None = None
    high: float | None = None
    aim: float | None = None

    @classmethod
    def of(cls, title, values, unit="", **bounds):
        """Return the median of several measurements, with their spread."""
        return cls(title, median(values), unit, low=min(values), high=max(values), **bounds)

    @property
    def holds(self):
        """Whether the value keeps its bounds."""
        low_enough = self.at_most is None or self.value <= self.at_most
        return low_enough and (self.at_least is None or self.value >= self.at_least)


@dataclass
class Outcome:
    """What a workload found: figures, and the single rates of its contenders where it is a race."""

    figures: list[Figure]
    unit: str = ""
    rates: dict[str, list[float]] = field(default_factory=dict)


def percentile(values, percent):
    """Return the value that so many percent of ``values`` do not exceed: the nearest rank."""
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]
