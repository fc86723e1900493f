"""Anything that can happen to tasks with restarts in small pools, and what holds all the same.

Other than in ``test_supervisor_story.py`` there is no model that knows each message: what is told and how
things stand is held against rules that a client could check.
"""

from collections import Counter
from typing import Any

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from lifecycle_fakes import FakeWorker, Message, World, refusal

from overseer.core.pool import PoolSettings
from overseer.core.process import Outcome
from overseer.core.retry import PartialRetryPolicy
from overseer.lifecycle.retention import Retention
from overseer.lifecycle.subscriptions import EVERY_TASK
from overseer.lifecycle.supervisor import Defaults, OnDuplicate

ACTION_OF = {"a": "sleep", "b": "sleep", "c": "sleep", "d": "sleep", "x": "other", "y": "other"}
TASK_IDS = st.sampled_from(sorted(ACTION_OF))
POOLS: tuple[str | None, ...] = (None, "sleep", "other")
REFUSALS = (
    "task already running or starting",
    "a process of the task is still alive",
    "pool rejected task: ",
    "duplicate task: already running as ",
    "task is not in errored state",
    "task not found",
    "task is queued: it has not begun",
)


class PoolStory(RuleBasedStateMachine):
    """Small pools, short queues, restarts, time limits and duplicates, all at once."""

    def __init__(self) -> None:
        super().__init__()
        excess: dict[str, Any] = {"action": "requeue", "order": "last"}
        queue = {"enabled": True, "size": 2, "displace": "true", "max_age": 30.0}
        self.world = World(
            Retention(finished_count=2),
            defaults=Defaults(
                pool=PoolSettings.from_keys({"size": 3, "queue": queue, "excess": excess})
            ),
            pool=PoolSettings.from_keys({"size": 2, "excess": {"action": "stop"}}),
        )
        self.world.settings.retry = PartialRetryPolicy(
            restart_delay=1.0, error_threshold=3, error_window=20.0, release_slot=True
        )
        self.world.settings.timeout = 15.0
        other = self.world.actions["other"].settings
        other.retry = PartialRetryPolicy(restart_delay=0.5)
        other.dedupe_key = ("seconds",)
        self.events = self.world.reader(EVERY_TASK)
        self.client = self.world.client()
        self.history: list[Message] = []
        self.told: list[Message] = []
        self.accepted: dict[str, str] = {}
        self.pids = 0
        self.forced = False
        self.running: dict[str | None, int] = dict.fromkeys(POOLS, 0)

    def in_phase(self, *phases: str) -> list[FakeWorker]:
        return [worker for worker in self.world.workers if worker.phase in phases]

    def living(self) -> list[FakeWorker]:
        return [worker for worker in self.world.workers if worker.alive]

    def waiting(self) -> set[str]:
        return {item.ticket.task_id for item in self.world.supervisor.pools.info().queue_items}

    def note(self, request_id: str, task_id: str, refused: str) -> None:
        if refused == "not refused":
            self.accepted[request_id] = task_id
        else:
            assert refused.startswith(REFUSALS)

    @initialize(task_ids=st.sets(TASK_IDS, min_size=2))
    def run_some(self, task_ids: set[str]) -> None:
        """A story in which nothing runs tells little."""
        for task_id in sorted(task_ids):
            self.start(task_id, False, task_id)
        for worker in self.in_phase("new"):
            self.live(worker)

    def live(self, worker: FakeWorker) -> None:
        self.pids += 1
        worker.spawn(self.pids)

    # ------------------------------------------------------------------------- what clients can do

    @rule(
        task_id=TASK_IDS,
        force=st.sampled_from([False, False, False, True]),
        seconds=st.sampled_from("1234!"),
        on_duplicate=st.sampled_from(["error", "error", "attach", "replace"]),
    )
    def start(
        self, task_id: str, force: bool, seconds: str, on_duplicate: OnDuplicate = "error"
    ) -> None:
        request_id = f"start {len(self.accepted)} of {task_id}"
        params = {"seconds": "unrenderable" if seconds == "!" else seconds}
        force = force and on_duplicate != "replace"  # which may come true at any later time
        ask = self.world.start
        self.forced |= force
        refused = refusal(
            lambda: ask(
                task_id,
                self.client,
                action=ACTION_OF[task_id],
                request_id=request_id,
                params=params,
                force=force,
                on_duplicate=on_duplicate,
            )
        )
        self.note(request_id, task_id, refused)

    @rule(task_id=TASK_IDS)
    def reset(self, task_id: str) -> None:
        request_id = f"reset {len(self.accepted)} of {task_id}"
        ask = self.world.reset
        self.note(
            request_id,
            task_id,
            refusal(lambda: ask(task_id, self.client, request_id=request_id)),
        )

    @rule(task_id=TASK_IDS)
    def restart(self, task_id: str) -> None:
        request_id = f"restart {len(self.accepted)} of {task_id}"
        ask = self.world.restart
        self.note(
            request_id,
            task_id,
            refusal(lambda: ask(task_id, self.client, request_id=request_id)),
        )

    @rule(task_id=TASK_IDS)
    def stop(self, task_id: str) -> None:
        refused = refusal(lambda: self.world.supervisor.stop(task_id, 1.0))
        assert refused == ("not refused" if task_id in self.world.states() else refused)

    @rule(
        action=st.sampled_from(POOLS),
        size=st.integers(0, 3),
        queue_size=st.integers(0, 2) | st.none(),
        excess=st.sampled_from([None, "none", "stop", "requeue"]),
    )
    def set_pool(self, action: str | None, size: int, queue_size: int | None, excess: Any) -> None:
        enabled = None if queue_size is None else queue_size > 0
        self.world.supervisor.set_pool(
            action,
            PoolSettings(
                size=size, queue_enabled=enabled, queue_bound=queue_size, excess_action=excess
            ),
        )

    @rule(action=st.sampled_from(POOLS))
    def purge(self, action: str | None) -> None:
        waiting = self.waiting()
        if action is not None:
            waiting = {task_id for task_id in waiting if ACTION_OF[task_id] == action}
        assert self.world.supervisor.purge(action) == len(waiting)

    # ----------------------------------------------------------------------- what processes can do

    @precondition(lambda self: self.living())
    @rule(data=st.data(), steps=st.integers(1, 3), works=st.booleans())
    def go_on(self, data: st.DataObject, steps: int, works: bool) -> None:
        """A process begins, fails to, ends, or has read to its end, or several of these in a row."""
        worker = data.draw(st.sampled_from(self.living()))
        for _ in range(steps):
            if worker.phase == "new" and (works or steps > 1):
                self.live(worker)
            elif worker.phase == "new":
                worker.fail("no such file")
            elif worker.phase == "running":
                worker.exit(Outcome(int(works)))
            elif worker.phase == "exited":
                worker.drain()
            elif worker.phase == "drained":
                worker.vanish()

    @precondition(lambda self: self.in_phase("running"))
    @rule(data=st.data(), count=st.integers(1, 3))
    def crash(self, data: st.DataObject, count: int) -> None:
        """A process ends with all that it left, and so do those that are started in its place."""
        task_id = data.draw(st.sampled_from(self.in_phase("running"))).task_id
        for _ in range(count):
            for worker in self.living():
                if worker.task_id == task_id and worker.phase == "new":
                    self.live(worker)
                if worker.task_id == task_id:
                    worker.finish()
            self.world.clock.advance(1.0)

    @rule(seconds=st.sampled_from([0.5, 1.0, 12.0, 31.0]))
    def advance(self, seconds: float) -> None:
        self.world.clock.advance(seconds)

    # ------------------------------------------------------------------------- what always holds

    @invariant()
    def no_pool_goes_over_its_limit_unless_forced(self) -> None:
        for pool in POOLS:
            info = self.world.supervisor.pools.info(pool)
            if info.limit and not self.forced:
                assert info.running <= max(info.limit, self.running[pool])
            self.running[pool] = info.running
        self.forced = False

    @invariant()
    def whatever_lives_has_a_slot(self) -> None:
        living: Counter[str | None] = Counter()
        for task_id in {worker.task_id for worker in self.living()}:
            living[None] += 1
            living[ACTION_OF[task_id]] += 1
        for pool in POOLS:
            assert living[pool] <= self.world.supervisor.pools.info(pool).running

    @invariant()
    def nothing_waits_that_could_run(self) -> None:
        def has_room(pool: str | None) -> bool:
            info = self.world.supervisor.pools.info(pool)
            return not info.limit or info.running < info.limit

        for pool in ("sleep", "other"):
            if has_room(None) and has_room(pool):
                assert self.world.supervisor.pools.info(pool).queue_depth == 0

    @invariant()
    def who_waits_is_listed_as_queued(self) -> None:
        waiting = self.waiting()
        states = self.world.states()
        listed = {task_id for task_id, state in states.items() if state == "queued"}
        living = {worker.task_id for worker in self.world.workers if worker.alive}
        assert waiting <= listed
        assert listed - waiting <= living, "to wait again, once its last run is gone"

    @invariant()
    def no_task_has_two_live_runs(self) -> None:
        living = [worker.task_id for worker in self.world.workers if worker.alive]
        assert len(living) == len(set(living))

    @invariant()
    def duplicates_do_not_run(self) -> None:
        actives = [
            task.record.params["seconds"]
            for task in self.world.supervisor.select(action="other")
            if not task.record.finished
        ]
        assert len(actives) == len(set(actives))

    @invariant()
    def the_counters_are_what_was_told(self) -> None:
        self.history += self.events.take()
        self.told += self.client.take()
        kinds = Counter(event["type"] for event in self.history)
        restarts = sum("restart_of" in event for event in self.history)
        metrics = self.world.metrics
        assert metrics.tasks_started == kinds["started"] - restarts
        assert metrics.tasks_restarted == restarts
        assert metrics.tasks_errored == kinds["errored"]
        unfinished = [
            task
            for task in self.world.supervisor.select()
            if not task.record.finished and not task.record.first_run
        ]
        assert self.world.unfinished() == len(unfinished)
        told = Counter(message["type"] for message in self.told)
        assert (metrics.enqueued, metrics.displaced, metrics.expired) == (
            told["queued"],
            self.left("displaced"),
            self.left("expired"),
        )
        assert metrics.dequeued == told["dequeued"]

    def left(self, reason: str) -> int:
        return sum(message.get("reason") == reason for message in self.told)

    def teardown(self) -> None:
        self.world.settle()
        self.history += self.events.take()
        self.told += self.client.take()
        for task_id in ACTION_OF:
            check_life([event for event in self.history if event["task_id"] == task_id])
            check_waiting([told for told in self.told if told.get("task_id") == task_id])
        for request_id, task_id in self.accepted.items():
            check_fate(request_id, task_id, self.told)


def check_life(events: list[Message]) -> None:
    """Runs of a task follow each other in words that make sense."""
    pid: int | None = None
    last_pid = None
    errored = False
    for event in events:
        kind = event["type"]
        if kind == "started":
            assert pid is None
            assert not (errored and "restart_of" in event)
            assert event.get("restart_of", last_pid) == last_pid
            pid = last_pid = event["pid"]
            errored = False
        elif kind == "exited":
            assert event["pid"] == pid
            pid = None
        elif kind == "restarting":
            assert pid is None
            assert event["pid"] == last_pid
            assert not errored
        elif kind == "errored":
            assert event["pid"] == last_pid
            assert not errored
            errored = True
            pid = None


def check_waiting(told: list[Message]) -> None:
    """What was told to be in a queue begins next, or leaves it; and only that leaves one, once."""
    waiting = False
    for message in told:
        kind = message["type"]
        if kind in ("started", "dequeued"):
            assert waiting or kind == "started"
            waiting = False
        elif kind in ("queued", "exited", "restarting", "errored"):
            assert not waiting, message
            waiting = kind == "queued"
    assert not waiting


def check_fate(request_id: str, task_id: str, told: list[Message]) -> None:
    """A start that was accepted is started, or fails, or leaves the queue: one of these, once."""
    mine = [number for number, message in enumerate(told) if message.get("id") == request_id]
    kinds = [told[number]["type"] for number in mine]
    if kinds[:1] == ["queued"]:
        first = mine.pop(0)
        kinds.pop(0)
        if not kinds:
            # What follows of this task is that it left the queue.
            rest = [
                message
                for message in told[first + 1 :]
                if message.get("task_id") == task_id and message["type"] in ("dequeued", "queued")
            ]
            assert rest
            assert rest[0]["type"] == "dequeued"
            assert rest[0]["reason"] != "failed"
            return
    assert kinds in (["started"], ["error"]), (request_id, kinds)


PoolStory.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=30,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),  # to shrink such a story takes minutes
)
TestPoolStory = PoolStory.TestCase
