"""Writes the families down as Prometheus reads them, and measures how late the reactor is.

Imported at the first scrape only, as importing the library takes longer than an answer does. Everything happens
in the reactor's thread: what is read there belongs to it.
"""

# mypy: allow-untyped-calls

from collections.abc import Iterator
from itertools import accumulate

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString
from twisted.internet.interfaces import IDelayedCall, IReactorTime

from overseer.core.metrics import Histogram
from overseer.prometheus.families import FAMILIES, Family, Scrape, Sources

LAG_INTERVAL = 0.5
"""Seconds between two looks at how late the reactor is."""
LAG_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)
"""Bounds of that histogram."""


class ReactorLag:
    """Measures how late timers come, from now until :meth:`stop`."""

    def __init__(self, clock: IReactorTime) -> None:
        self.histogram = Histogram(LAG_SECONDS)
        self._clock = clock
        self._call: IDelayedCall = self._next()

    def stop(self) -> None:
        """Measure no more."""
        if self._call.active():
            self._call.cancel()

    def _next(self) -> IDelayedCall:
        due = self._clock.seconds() + LAG_INTERVAL
        return self._clock.callLater(LAG_INTERVAL, self._look, due)

    def _look(self, due: float) -> None:
        self.histogram.observe(max(self._clock.seconds() - due, 0.0))
        self._call = self._next()


class Exposition(Collector):
    """Makes the answers of ``GET /metrics``."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._registry = CollectorRegistry()
        self._registry.register(self)
        # Times, memory and descriptors of the process, where there is a /proc.
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[str, bytes]:
        """Return content type and body, in the format that the header ``Accept`` asks for."""
        try:
            encode, content_type = choose_encoder(accept)
        except (TypeError, ValueError):  # a version that is none
            encode, content_type = choose_encoder("")
        return content_type, encode(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield all families that have numbers: called by the library."""
        scrape = Scrape(self._sources)
        for family in FAMILIES:
            metric = _metric(family, scrape)
            if metric.samples:
                yield metric


def _metric(family: Family, scrape: Scrape) -> Metric:
    if family.kind == "histogram":
        histograms = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, value in family.read(scrape):
            assert isinstance(value, Histogram)
            bounds = [*map(floatToGoString, value.bounds), "+Inf"]
            buckets = list(zip(bounds, accumulate(value.counts), strict=True))
            histograms.add_metric(labels, buckets, value.sum)
        return histograms
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    numbers = kind(family.name, family.help, labels=family.labels)
    for labels, value in family.read(scrape):
        assert not isinstance(value, Histogram)
        numbers.add_metric(labels, value)
    return numbers
