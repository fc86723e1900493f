"""What Prometheus is told of tasks, pools and clients, read back with Prometheus's own parser."""

import json
import re
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import attrs
import pytest
import txaio
from lifecycle_fakes import World
from prometheus_client.parser import text_string_to_metric_families
from twisted.internet.task import Clock

from overseer.core.config import default_config
from overseer.core.metrics import Histogram
from overseer.core.pool import PoolSettings
from overseer.core.process import Outcome
from overseer.core.retry import PartialRetryPolicy
from overseer.lifecycle.requests import RequestError
from overseer.lifecycle.supervisor import Retention
from overseer.prometheus.exposition import LAG_INTERVAL, LAG_SECONDS, Exposition, ReactorLag
from overseer.prometheus.families import FAMILIES, Sources
from overseer.websocket import ClientFactory

DASHBOARD = Path(__file__).parents[3] / "packaging/grafana/overseer.json"
OPEN_METRICS = "application/openmetrics-text; version=1.0.0"
Labels = frozenset[tuple[str, str]]


@pytest.fixture(autouse=True)
def _loop_of_autobahn() -> Iterator[None]:
    """Give Autobahn's timers back to whom they belonged: its loop is one for the whole process."""
    txaio.use_twisted()
    before = txaio.config.loop
    yield
    txaio.config.loop = before


@pytest.fixture
def world() -> Iterator[World]:
    """A supervisor at the beginning of time that after the test has to come to an end."""
    world = World()
    yield world
    world.settle()


@attrs.define
class FakeHistory:
    errors: int = 2
    waiting: int = 3
    dropped: int = 4


@attrs.define
class FakeEventLog:
    waiting_size: int = 5
    dropped: int = 6


def exposition(world: World, history: object = None, event_log: object = None) -> Exposition:
    return Exposition(
        Sources(
            supervisor=world.supervisor,
            clients=ClientFactory(
                world.clock, world.supervisor, lambda: b"{}", default_config().limits
            ),
            history=history,  # type: ignore[arg-type]
            event_log=event_log,  # type: ignore[arg-type]
            orphans_ended=lambda: 7,
            reactor_lag=Histogram(LAG_SECONDS),
        )
    )


class Numbers:
    """One scrape, read by Prometheus's parser."""

    def __init__(self, body: bytes) -> None:
        self.families = {
            family.name: family for family in text_string_to_metric_families(body.decode())
        }
        self._samples: dict[tuple[str, Labels], float] = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in self.families.values()
            for sample in family.samples
        }

    def __call__(self, name: str, **labels: str) -> float:
        return self._samples[f"overseer_{name}", frozenset(labels.items())]

    def by(self, label: str, name: str, **labels: str) -> Mapping[str, float]:
        """Return the numbers that are not 0, by one label."""
        return {
            dict(found)[label]: value
            for (sample, found), value in self._samples.items()
            if sample == f"overseer_{name}" and set(labels.items()) < found and value
        }


def scrape(world: World) -> Numbers:
    return Numbers(exposition(world).render("")[1])


def test_runs_are_counted_by_their_end(world: World) -> None:
    """Why a run was to end goes before how it did; what never began counts, too."""
    world.run("ok").end(Outcome(0))
    world.run("failed").end(Outcome(3))
    world.run("signal").end(Outcome(-1, "SIGSEGV"))
    stopped = world.run("stopped")
    world.supervisor.stop("stopped")
    stopped.end(Outcome(-1, "SIGTERM"))
    killed = world.run("killed")
    world.supervisor.stop("killed")
    killed.end(Outcome(-1, "SIGKILL"))
    world.settings.timeout = 5.0
    late = world.run("late")
    world.clock.advance(5.0)
    late.end(Outcome(0))
    world.start("never")
    world.worker.fail("no such file")
    numbers = scrape(world)
    assert numbers.by("result", "task_exits_total", action="sleep") == {
        "ok": 1,
        "failed": 1,
        "signal": 1,
        "stopped": 2,
        "timeout": 1,
        "spawn_error": 1,
    }
    assert numbers("kill_escalations_total", action="sleep") == 1
    assert numbers("orphans_killed_total") == 7
    assert numbers("task_starts_total", action="sleep") == 6
    assert numbers("tasks", action="sleep", state="stopped") == 6
    assert numbers("task_exits_total", action="other", result="ok") == 0


def test_durations_fall_into_buckets(world: World) -> None:
    """Each run counts once, with the time between its start and its exit."""
    for seconds in (0.05, 7.0, 7.0, 100_000.0):
        worker = world.run("a")
        world.clock.advance(seconds)
        worker.end(Outcome(0))
    numbers = scrape(world)
    name = "task_duration_seconds"
    buckets = numbers.by("le", f"{name}_bucket", action="sleep")
    assert (buckets["0.1"], buckets["1.0"], buckets["10.0"]) == (1, 1, 3)
    assert (buckets["86400.0"], buckets["+Inf"]) == (3, 4)
    assert numbers(f"{name}_count", action="sleep") == 4
    assert numbers(f"{name}_sum", action="sleep") == pytest.approx(100_014.05)


def test_restarts_are_told_apart_from_starts(world: World) -> None:
    """A task that is started again by its policy has one start."""
    world.start("a", policy=PartialRetryPolicy(restart_delay=1.0))
    world.worker.spawn(1)
    world.worker.end(Outcome(1))
    world.clock.advance(1.0)
    world.worker.spawn(2)
    numbers = scrape(world)
    assert numbers("task_starts_total", action="sleep") == 1
    assert numbers("task_restarts_total", action="sleep") == 1
    assert numbers("tasks", action="sleep", state="active") == 1


def test_output_counts_at_once_and_only_once(world: World) -> None:
    """While a run writes, and the same after it, each stream by itself; a last line counts as a whole one."""

    def counted(stream: str) -> tuple[float, float]:
        numbers = scrape(world)
        labels = {"action": "sleep", "stream": stream}
        return numbers("output_lines_total", **labels), numbers("output_bytes_total", **labels)

    worker = world.run("a")
    worker.write(b"one\ntwo\nthr")
    worker.write(b"problem\n", "stderr")
    assert (counted("stdout"), counted("stderr")) == ((2, 8), (1, 8))
    worker.end(Outcome(0))
    assert (counted("stdout"), counted("stderr")) == ((3, 12), (1, 8))
    world.run("a").write(b"four\n")
    assert counted("stdout") == (4, 17)


def test_pools_and_queues() -> None:
    """How full they are, how long was waited, and why some never ran."""
    world = World(pool=PoolSettings.from_keys({"size": 1, "queue_size": 2}))
    first = world.run("first")
    world.start("waits")
    world.start("leaves")
    with pytest.raises(RequestError):
        world.start("too many")
    numbers = scrape(world)
    assert numbers("pool_size", action="sleep") == numbers("pool_running", action="sleep") == 1
    assert numbers("queue_limit", action="sleep") == numbers("queue_length", action="sleep") == 2
    assert numbers("tasks", action="sleep", state="queued") == 2
    assert numbers("pool_size", action="other") == float("inf")
    assert numbers("global_pool_size") == float("inf")
    assert numbers("global_pool_running") == 1
    world.supervisor.stop("leaves")
    world.clock.advance(3.0)
    first.end(Outcome(0))
    world.worker.spawn(8)
    numbers = scrape(world)
    assert numbers("queue_wait_seconds_sum", action="sleep") == 3
    assert numbers("queue_wait_seconds_count", action="sleep") == 1
    dropped = numbers.by("reason", "queue_dropped_total", action="sleep")
    assert dropped == {"full": 1, "stopped": 1}
    world.settle()


def test_an_action_that_a_reload_took_away_keeps_its_counters(world: World) -> None:
    """A counter that vanished would look like a restart; a pool that is not there has no size."""
    world.run("a").end(Outcome(0))
    supervisor = world.supervisor
    supervisor.reconfigure({"other": world.actions["other"]}, supervisor.defaults, Retention())
    numbers = scrape(world)
    assert numbers("task_starts_total", action="sleep") == 1
    with pytest.raises(KeyError):
        numbers("pool_size", action="sleep")


def test_what_is_not_configured_has_no_family(world: World) -> None:
    """Of a history and an event log there is nothing to tell without them."""
    _, without = exposition(world).render("")
    assert b"overseer_db_" not in without
    assert b"overseer_event_log_" not in without
    numbers = Numbers(exposition(world, FakeHistory(), FakeEventLog()).render("")[1])
    assert (numbers("db_errors_total"), numbers("db_waiting"), numbers("db_dropped_total")) == (
        *(2, 3, 4),
    )
    assert numbers("event_log_waiting_bytes") == 5
    assert numbers("event_log_dropped_total") == 6


def test_the_process_is_told_of_with_the_usual_names(world: World) -> None:
    """Dashboards for any daemon work."""
    families = scrape(world).families
    assert {"process_start_time_seconds", "process_cpu_seconds", "process_open_fds"} <= set(
        families
    )


def test_names_follow_the_conventions() -> None:
    """One prefix, no name twice, a help text for each; `_total` is added to counters by the library."""
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    for family in FAMILIES:
        assert family.name.startswith("overseer_")
        assert not family.name.endswith("_total")
        assert family.help.endswith(".")
        assert not {"task_id", "pid"} & set(family.labels)


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4; charset=utf-8"),
        ("*/*", "text/plain; version=0.0.4; charset=utf-8"),
        (OPEN_METRICS, "application/openmetrics-text; version=1.0.0; charset=utf-8"),
        ("application/openmetrics-text; version=zzz", "text/plain; version=0.0.4; charset=utf-8"),
    ],
)
def test_the_format_is_what_was_asked_for(world: World, accept: str, content_type: str) -> None:
    """Prometheus's text format unless OpenMetrics is accepted; nonsense is no error."""
    told, body = exposition(world).render(accept)
    assert told.startswith(content_type)
    assert body.endswith(b"# EOF\n") is ("openmetrics" in told)


def test_five_thousand_tasks_are_told_of_in_no_time(world: World) -> None:
    """Less than 50 ms of the reactor's time: the best of five, as the machine may be busy."""
    for number in range(5_000):
        world.run(f"task-{number}", number + 1)
    told = exposition(world)
    times = []
    for _ in range(5):
        began = time.perf_counter()
        _, body = told.render("")
        times.append(time.perf_counter() - began)
    assert Numbers(body)("tasks", action="sleep", state="active") == 5_000
    assert min(times) < 0.05


def told_names() -> set[str]:
    """Return every name that a query may contain."""
    parts = ("_bucket", "_sum", "_count")
    histograms = [family for family in FAMILIES if family.kind == "histogram"]
    return {
        *(family.told_name for family in FAMILIES if family.kind != "histogram"),
        *(f"{family.name}{part}" for family in histograms for part in parts),
    }


def test_the_dashboard_asks_for_what_there_is() -> None:
    """Grafana would show nothing for a name or a label that is not told."""
    dashboard = json.loads(DASHBOARD.read_text())
    queries = [t["expr"] for panel in dashboard["panels"] for t in panel.get("targets", ())]
    assert len(queries) > 20
    asked = {name for query in queries for name in re.findall(r"\boverseer_\w+", query)}
    assert asked <= told_names()
    labels = {family.told_name: {*family.labels, "le", "instance"} for family in FAMILIES}
    for query in queries:
        for name, selector in re.findall(r"\b(overseer_\w+)\{([^}]*)\}", query):
            known = labels[name.removesuffix("_bucket")]
            assert set(re.findall(r"(\w+)=", selector)) <= known, query


def test_lag_is_how_late_a_timer_comes() -> None:
    """On time is 0, and what stops the reactor shows; nothing is left behind when it ends."""
    clock = Clock()
    lag = ReactorLag(clock)
    clock.advance(LAG_INTERVAL)
    clock.advance(LAG_INTERVAL + 0.3)
    assert sum(lag.histogram.counts) == 2
    assert lag.histogram.sum == pytest.approx(0.3)
    lag.stop()
    assert clock.getDelayedCalls() == []
