"""What each request does, and what its client is answered."""

from collections.abc import Callable
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from session_fakes import NOON, Client, Daemon, action_settings, error
from twisted.logger import capturedLogs

from overseer.core.pool import PoolSettings
from overseer.core.retry import PartialRetryPolicy
from overseer.core.timestamps import format_timestamp
from overseer.lifecycle.retention import Retention
from overseer.lifecycle.supervisor import Defaults
from overseer.protocol.messages import (
    REQUESTS,
)


@pytest.fixture
def daemon() -> Daemon:
    return Daemon()


@pytest.fixture
def client(daemon: Daemon) -> Client:
    return Client(daemon)


# ------------------------------------------------------------------------------------- the answers


def test_start_is_answered_once_the_task_runs(daemon: Daemon, client: Client) -> None:
    """With the id of the request for its sender, without for others; output and exit follow."""
    other = Client(daemon)
    assert other.ask(type="subscribe", task_id="t") == [
        {"type": "subscribed", "id": "r1", "task_id": "t"}
    ]
    assert client.ask(type="start", id="s1", action="echo", task_id="t", params={"a": "b"}) == []
    daemon.worker.spawn(7)
    moment = format_timestamp(NOON)
    started = {"type": "started", "id": "s1", "task_id": "t", "pid": 7, "ts": moment}
    assert client.told() == [started]
    assert other.told() == [started | {"id": ""}]
    daemon.output("one", "two")
    daemon.exit(3)
    rest = client.told()
    assert [message["type"] for message in rest] == ["output", "output", "exited"]
    assert [message.get("seq") for message in rest] == [1, 2, None]
    assert rest == other.told()


def test_start_without_an_id_makes_one(daemon: Daemon, client: Client) -> None:
    """Which `started` tells."""
    client.ask(type="start", action="echo")
    daemon.worker.spawn(7)
    (started,) = client.told()
    assert started["task_id"].startswith("id-")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({"type": "start", "action": "nope"}, 'unknown action: "nope"'),
        (
            {"type": "start", "action": "echo", "params": {"wrong": "x"}},
            "validation error: params.wrong: no such parameter",
        ),
        (
            {"type": "start", "action": "echo", "task_id": "t"},
            "task already running or starting",
        ),
        ({"type": "stop", "task_id": "nope"}, "task not found"),
        ({"type": "stop", "task_id": "nope", "ack": True}, "task not found"),
        ({"type": "replay", "task_id": "nope"}, "task not found"),
        ({"type": "replay", "task_id": "nope", "ack": True}, "task not found"),
        ({"type": "describe", "action": "nope"}, 'unknown action: "nope"'),
        ({"type": "subscribe", "task_id": "*", "since_seq": 0}, 'since_seq: not with task_id "*"'),
        ({"type": "reset", "task_id": "nope"}, "task not found"),
        ({"type": "reset", "task_id": "t"}, "task is not in errored state"),
        ({"type": "pool_info", "action": "nope"}, 'unknown action: "nope"'),
        ({"type": "set_pool", "action": "nope", "size": 1}, 'unknown action: "nope"'),
        ({"type": "set_pool"}, "size, queue_size or excess is required"),
        ({"type": "set_pool", "action": "echo"}, "size, queue_size or excess is required"),
        (
            {"type": "set_pool", "size": 1, "limit": 2},
            "limit: is another name of size and disagrees with it",
        ),
        ({"type": "set_pool", "size": -1}, "size: expected integer >= 0, got -1"),
        ({"type": "set_pool", "size": 1.5}, "size: expected integer, got number"),
        ({"type": "set_pool", "queue_size": -1}, "queue_size: expected integer >= 0, got -1"),
        (
            {"type": "set_pool", "size": 1, "excess": {"grace": -1}},
            "excess.grace: expected integer >= 0, got -1",
        ),
        ({"type": "purge", "action": "nope"}, 'unknown action: "nope"'),
        ({"type": "metrics", "action": "nope"}, 'unknown action: "nope"'),
        ({"type": "metrics", "task_id": "nope"}, "task not found"),
        ({"type": "metrics", "action": "echo", "task_id": "nope"}, "task not found"),
        (
            {"type": "start", "action": "echo", "retry_policy": {"restart_delay": "soon"}},
            'retry_policy.restart_delay: expected a duration such as "1m30s", got "soon"',
        ),
        ({"type": "nope"}, "unknown message type: nope"),
        ({"type": "start"}, "action is required"),
    ],
)
def test_what_cannot_be_done_is_answered_with_the_reason(
    daemon: Daemon, request_: dict[str, Any], message: str
) -> None:
    """The connection goes on."""
    client = daemon.begin("t")
    assert client.ask(**request_) == error(message)
    assert client.ask(type="unsubscribe", task_id="x") == [
        {"type": "unsubscribed", "id": "r1", "task_id": "x"}
    ]


def test_a_program_that_cannot_be_run_is_an_error_of_its_start(
    daemon: Daemon, client: Client
) -> None:
    """With the reason, and no task is left behind."""
    assert client.ask(type="start", action="echo", task_id="t") == []
    daemon.worker.fail("no such program")
    assert client.told() == error("no such program")
    assert client.ask(type="list") == [{"type": "tasks", "id": "r1", "tasks": []}]


def test_stop_has_no_answer_of_its_own(daemon: Daemon) -> None:
    """But with `ack` it has one."""
    client = daemon.begin()
    assert client.ask(type="stop", task_id="t", grace="1500ms") == []
    assert client.ask(type="stop", task_id="t", ack=True) == [
        {"type": "ack", "id": "r1", "task_id": "t", "last_seq": 0}
    ]
    assert daemon.worker.calls == ["start", ("terminate", 1.5)]
    daemon.exit()
    assert [message["intentional"] for message in client.told()] == [True]


def test_list_passes_its_filters_on(daemon: Daemon) -> None:
    """Action, state, time and number."""
    client = daemon.begin("a")
    daemon.exit(3)
    daemon.now += 1_000_000
    daemon.begin("b")

    def listed(**filters: Any) -> list[str]:
        (answer,) = client.ask(type="list", **filters)
        assert (answer["type"], answer["id"]) == ("tasks", "r1")
        return [task["task_id"] for task in answer["tasks"]]

    assert listed() == ["a", "b"]
    assert listed(state="stopped") == ["a"]
    assert listed(action="other") == []
    assert listed(since=format_timestamp(NOON + 1)) == ["b"]
    assert listed(limit=1) == ["b"]
    (answer,) = client.ask(type="list", state="stopped")
    assert answer["tasks"] == [
        {
            "task_id": "a",
            "action": "echo",
            "params": {"seconds": "1"},
            "state": "stopped",
            "worker_state": "exited",
            "restart_count": 0,
            "created_at": format_timestamp(NOON),
            "last_started_at": format_timestamp(NOON),
            "last_exited_at": format_timestamp(NOON),
            "last_exit_code": 3,
        }
    ]


def test_describe_tells_of_all_actions_or_one(client: Client) -> None:
    """In the shape of v2."""
    echo = {
        "name": "echo",
        "type": "fake",
        "description": "Says it.",
        "task_pool": {"limit": 0, "excess": {"action": "", "order": "", "grace": 0}},
        "retry": {},
    }
    assert client.ask(type="describe", action="echo") == [
        {"type": "actions", "id": "r1", "actions": [echo]}
    ]
    (answer,) = client.ask(type="describe")
    assert [action["name"] for action in answer["actions"]] == ["echo", "big"]


def test_manifest_is_given_as_it_is(client: Client) -> None:
    """Embedded as JSON, not as text."""
    assert client.ask(type="manifest") == [
        {"type": "manifest", "id": "r1", "manifest": {"protocol": "test"}}
    ]


def test_subscribing_ends_with_unsubscribe(daemon: Daemon, client: Client) -> None:
    """Also when there was no subscription; events of other tasks never come."""
    daemon.begin("t")
    client.ask(type="subscribe", task_id="t")
    daemon.output("one")
    assert [message["data"] for message in client.told()] == ["one"]
    for _ in range(2):
        assert client.ask(type="unsubscribe", task_id="t") == [
            {"type": "unsubscribed", "id": "r1", "task_id": "t"}
        ]
    daemon.output("two")
    assert client.told() == []


def test_every_kind_of_request_is_handled(daemon: Daemon) -> None:
    """None of them is an internal error: a new message class needs its handler."""
    client = daemon.begin("t")
    with capturedLogs() as logged:
        for request in REQUESTS:
            tag = request.__struct_config__.tag
            client.ask(type=tag, task_id="t", action="echo")
    assert logged == []


# ------------------------------------------------------------------------- pools, retries, metrics


def pooled(*, size: int = 1, queue: int = 2, **keys: Any) -> Daemon:
    """A daemon whose action has a pool."""
    settings = {"size": size, "queue_size": queue, **keys}
    return Daemon(echo=action_settings("echo", task_pool=PoolSettings.from_keys(settings)))


def waiting(task_id: str, position: int) -> dict[str, Any]:
    """One entry of `queue_items`."""
    return {
        "task_id": task_id,
        "action": "echo",
        "queued_at": format_timestamp(NOON),
        "position": position,
        "forced": False,
    }


def test_a_start_beyond_the_pool_waits() -> None:
    """All are told, the caller alone with its id; `started` follows with the same id at its turn."""
    daemon = pooled()
    daemon.begin("a")
    client, other = Client(daemon), Client(daemon)
    moment = format_timestamp(NOON)
    queued = {"type": "queued", "id": "q", "task_id": "b", "action": "echo", "position": 1}
    assert client.ask(type="start", id="q", action="echo", task_id="b") == [queued | {"ts": moment}]
    assert other.told() == [queued | {"id": "", "ts": moment}]
    (listed,) = client.ask(type="list", state="queued")
    assert [(task["task_id"], task["queued_at"]) for task in listed["tasks"]] == [("b", moment)]
    daemon.exit()
    daemon.worker.spawn(8)
    assert client.told() == [{"type": "started", "id": "q", "task_id": "b", "pid": 8, "ts": moment}]
    assert other.told() == []


def test_a_start_that_finds_no_place() -> None:
    """Is an error that says why, and nothing of it remains."""
    daemon = pooled(queue=0)
    client = daemon.begin("a")
    (answer,) = client.ask(type="start", action="echo", task_id="b")
    assert (answer["type"], answer["id"]) == ("error", "r1")
    assert answer["message"].startswith("pool rejected task: ")
    (listed,) = client.ask(type="list")
    assert [task["task_id"] for task in listed["tasks"]] == ["a"]


def test_force_goes_past_the_pool() -> None:
    """And counts in `running`."""
    daemon = pooled()
    client = daemon.begin("a")
    assert client.ask(type="start", action="echo", task_id="b", force=True) == []
    daemon.worker.spawn(8)
    assert [message["type"] for message in client.told()] == ["started"]
    assert client.ask(type="pool_info", action="echo") == [
        {
            "type": "pool_info",
            "id": "r1",
            "action": "echo",
            "pool": {"limit": 1, "running": 2, "queue_depth": 0},
        }
    ]


def test_stop_of_a_waiting_task_is_told_to_all() -> None:
    """By one `dequeued`, an `ack` if wished, and `list` knows it no more."""
    daemon = pooled()
    client = daemon.begin("a")
    client.ask(type="start", action="echo", task_id="b")
    other = Client(daemon)
    gone = {"type": "dequeued", "task_id": "b", "reason": "stopped", "ts": format_timestamp(NOON)}
    assert client.ask(type="stop", task_id="b", ack=True) == [
        gone,
        {"type": "ack", "id": "r1", "task_id": "b"},
    ]
    assert other.told() == [gone]
    assert client.ask(type="stop", task_id="b") == error("task not found")


def test_pool_info_tells_who_runs_and_who_waits() -> None:
    """Of one action, or of the global pool together with those of all actions."""
    daemon = pooled(queue=5)
    client = daemon.begin("a")
    for task_id in "bc":
        client.ask(type="start", action="echo", task_id=task_id)
    mine = {
        "limit": 1,
        "running": 1,
        "queue_depth": 2,
        "queue_items": [waiting("b", 0), waiting("c", 1)],
    }
    assert client.ask(type="pool_info", action="echo") == [
        {"type": "pool_info", "id": "r1", "action": "echo", "pool": mine}
    ]
    assert client.ask(type="pool_info") == [
        {
            "type": "pool_info",
            "id": "r1",
            "pool": mine | {"limit": 0},
            "pools": {"echo": mine, "big": {"limit": 0, "running": 0, "queue_depth": 0}},
        }
    ]


@pytest.mark.parametrize("name", ["size", "limit"])
def test_a_raised_size_lets_waiting_tasks_begin(name: str) -> None:
    """The caller gets `pool_info`, everybody `pool_updated`."""
    daemon = pooled(queue=5)
    client = daemon.begin("a")
    for task_id in "bcd":
        client.ask(type="start", action="echo", task_id=task_id)
    other = Client(daemon)
    pool = {"limit": 3, "running": 3, "queue_depth": 1, "queue_items": [waiting("d", 0)]}
    updated = {"type": "pool_updated", "action": "echo", "pool": pool}
    assert client.ask(type="set_pool", action="echo", **{name: 3}) == [
        {"type": "pool_info", "id": "r1", "action": "echo", "pool": pool},
        updated,
    ]
    assert other.told() == [updated]
    assert len(daemon.echo.workers) == 3


def test_less_than_a_second_is_not_described_as_no_limit() -> None:
    """The fields of v2 are whole seconds, in which 0 has a meaning of its own."""
    daemon = pooled(queue_timeout=0.2, excess={"action": "stop", "grace": 1.5})
    (answer,) = Client(daemon).ask(type="describe", action="echo")
    described = answer["actions"][0]["task_pool"]
    assert described["queue"]["max_age"] == 1
    assert described["excess"]["grace"] == 2


def test_set_pool_keeps_what_is_not_given() -> None:
    """Size, queue and excess change one by one; without an action it is the global pool."""
    daemon = pooled(queue=5, excess={"action": "stop", "order": "last", "grace": 3})
    client = Client(daemon)

    def described(**change: Any) -> dict[str, Any]:
        if change:
            (answer, _) = client.ask(type="set_pool", action="echo", **change)
            assert answer["type"] == "pool_info"
        (answer,) = client.ask(type="describe", action="echo")
        pool: dict[str, Any] = answer["actions"][0]["task_pool"]
        return pool

    queue = {
        "enabled": True,
        "size": 5,
        "order": "first",
        "max_age": 0,
        "displace": {"enabled": False, "order": ""},
    }
    excess = {"action": "stop", "order": "last", "grace": 3}
    assert described() == {"limit": 1, "excess": excess, "queue": queue}
    assert described(size=0) == {"limit": 0, "excess": excess, "queue": queue}
    assert described(queue_size=7)["queue"] == queue | {"size": 7}
    assert "queue" not in described(queue_size=0)
    assert described(queue_size=1)["excess"] == excess
    excess = {"action": "requeue", "order": "last", "grace": 0}
    assert described(excess={"action": "requeue"})["excess"] == excess
    assert described(excess={})["excess"] == {"action": "", "order": "", "grace": 0}
    (answer, updated) = client.ask(type="set_pool", size=9)
    assert answer["pool"]["limit"] == updated["pool"]["limit"] == 9
    assert "action" not in answer
    assert "action" not in updated
    assert described()["limit"] == 0


def test_a_lowered_size_ends_the_surplus() -> None:
    """If `excess` says so; the longest running task first, with the grace that it gives."""
    daemon = pooled(size=0)
    client = daemon.begin("a", 7)
    daemon.begin("b", 8)
    client.ask(
        type="set_pool",
        action="echo",
        size=1,
        excess={"action": "stop", "order": "first", "grace": 2},
    )
    assert [worker.calls for worker in daemon.echo.workers] == [
        ["start", ("terminate", 2)],
        ["start"],
    ]


def test_purge_empties_the_queue() -> None:
    """Of one action or all; one `dequeued` a task, to all, and the count to the caller."""
    daemon = pooled(queue=5)
    client = daemon.begin("a")
    for task_id in "bc":
        client.ask(type="start", action="echo", task_id=task_id)
    other = Client(daemon)
    assert client.ask(type="purge", action="big") == [
        {"type": "purged", "id": "r1", "action": "big", "count": 0}
    ]
    moment = format_timestamp(NOON)
    gone = [
        {"type": "dequeued", "task_id": task_id, "reason": "purged", "ts": moment}
        for task_id in "bc"
    ]
    answers = client.ask(type="purge")
    assert answers == [*gone, {"type": "purged", "id": "r1", "count": 2}]
    assert other.told() == gone


def test_a_client_that_has_gone_is_told_nothing_of_queues() -> None:
    """Its waiting task begins all the same."""
    daemon = pooled()
    daemon.begin("a")
    client = Client(daemon)
    client.ask(type="start", action="echo", task_id="b")
    client.session.close()
    daemon.exit()
    assert len(daemon.echo.workers) == 2
    daemon.worker.spawn(8)
    assert client.told() == []


def test_a_start_may_bring_its_own_policy(daemon: Daemon, client: Client) -> None:
    """Over that of the action; `restarting` and the next run follow by themselves."""
    policy = {"restart_delay": "1m30s", "error_threshold": 2}
    client.ask(type="start", action="echo", task_id="t", retry_policy=policy)
    daemon.worker.spawn(7)
    (_,) = client.told()
    (listed,) = client.ask(type="list")
    assert listed["tasks"][0]["retry_policy"] == policy
    daemon.exit(1)
    moment = format_timestamp(NOON)
    exited, restarting = client.told()
    assert (exited["type"], exited["exit_code"], exited["intentional"]) == ("exited", 1, False)
    assert restarting == {
        "type": "restarting",
        "task_id": "t",
        "pid": 7,
        "restart_delay": "1m30s",
        "attempt": 1,
        "ts": moment,
    }
    daemon.clock.advance(90)
    daemon.worker.spawn(8)
    assert client.told() == [
        {"type": "started", "id": "", "task_id": "t", "pid": 8, "restart_of": 7, "ts": moment}
    ]
    daemon.exit(1)
    assert client.told()[1:] == [
        {"type": "errored", "task_id": "t", "pid": 8, "exit_count": 2, "ts": moment}
    ]


def test_an_empty_policy_turns_restarts_on(daemon: Daemon, client: Client) -> None:
    """As v2's clients expect."""
    client.ask(type="start", action="echo", task_id="t", retry_policy={})
    daemon.worker.spawn(7)
    daemon.exit()
    assert [message["type"] for message in client.told()] == ["started", "exited", "restarting"]


def test_reset_is_answered_to_its_sender(daemon: Daemon, client: Client) -> None:
    """Once, subscribed or not; for the others the id is empty."""
    client.ask(type="start", action="echo", task_id="t", retry_policy={"error_threshold": 1})
    daemon.worker.spawn(7)
    daemon.exit(1)
    assert client.told()[-1]["type"] == "errored"
    other = Client(daemon)
    assert other.ask(type="reset", task_id="t", id="again") == []
    daemon.worker.spawn(8)
    assert [message["id"] for message in other.told()] == ["again"]
    assert [(message["type"], message["id"]) for message in client.told()] == [("started", "")]
    assert other.ask(type="reset", task_id="t") == error("task is not in errored state")


def test_a_duplicate_is_refused() -> None:
    """With the id of the task in the way."""
    daemon = Daemon(echo=action_settings("echo", dedupe_key=("source",)))
    client = Client(daemon)
    client.ask(type="start", action="echo", task_id="a", params={"source": "x"})
    assert client.ask(type="start", action="echo", task_id="b", params={"source": "x"}) == [
        {
            "type": "error",
            "id": "r1",
            "message": "duplicate task: already running as a",
            "existing_task_id": "a",
        }
    ]
    assert client.ask(type="start", action="echo", task_id="b", params={"source": "y"}) == []
    (answer,) = client.ask(type="describe", action="echo")
    assert answer["actions"][0]["dedupe_key"] == ["source"]


def test_metrics_tell_of_one_thing() -> None:
    """Of a task, else of an action, else of the daemon."""
    daemon = pooled()
    client = daemon.begin("a")
    daemon.output("one", "two")
    client.ask(type="start", action="echo", task_id="b")
    client.ask(type="stop", task_id="b")
    daemon.now += 1_500_000
    daemon.exit(3)
    client.told()
    action = {
        "tasks_started": 1,
        "tasks_completed": 1,
        "tasks_errored": 0,
        "tasks_restarted": 0,
        "total_output_lines": 2,
    }
    task = {"output_lines": 2, "restart_count": 0, "runtime_ms": 1500, "last_exit_code": 3}
    queue = {"enqueued": 1, "dequeued": 1, "displaced": 0, "expired": 0}
    head = {"type": "metrics", "id": "r1"}
    assert client.ask(type="metrics", task_id="a") == [head | {"task": task}]
    assert client.ask(type="metrics", action="echo") == [head | {"action": action}]
    assert client.ask(type="metrics", action="echo", task_id="a") == [head | {"task": task}]
    assert client.ask(type="metrics") == [head | {"global": action | queue}]
    assert client.ask(type="metrics", action="big") == [head | {"action": dict.fromkeys(action, 0)}]


def test_describe_tells_the_policy_in_effect() -> None:
    """The action's own over the global one, zeros left out."""
    daemon = Daemon(
        defaults=Defaults(retry=PartialRetryPolicy(restart_delay=5.0, error_threshold=3)),
        echo=action_settings(
            "echo", retry=PartialRetryPolicy(error_threshold=0, error_window=60.0)
        ),
    )
    (answer,) = Client(daemon).ask(type="describe")
    assert [action["retry"] for action in answer["actions"]] == [
        {"restart_delay": "5s", "error_window": "1m0s"},
        {"restart_delay": "5s", "error_threshold": 3},
    ]


# ----------------------------------------------------------------------------------------- replay


def replayed(daemon: Daemon, **fields: Any) -> list[Any]:
    """Return what a replay gives: numbers of lines, types of all else."""
    other = Client(daemon)
    return [
        message.get("seq", message["type"])
        for message in other.ask(type="replay", task_id="t", **fields)
    ]


def test_replay_tells_the_caller_alone_what_is_kept(daemon: Daemon) -> None:
    """Oldest first, the exit included, and as it was told live."""
    client = daemon.begin()
    daemon.output("one", "two")
    daemon.output("three", stream="stderr")
    daemon.exit()
    live = client.told()
    other = Client(daemon)
    assert other.ask(type="replay", task_id="t") == live
    assert client.told() == []
    assert [message.get("data") for message in live] == ["one", "two", "three", None]


def test_replay_of_a_part(daemon: Daemon) -> None:
    """`since` compares instants, inclusively, `since_seq` numbers, exclusively; both hold together."""
    daemon.begin()
    for moment in range(3):
        daemon.now = NOON + moment
        daemon.output("a", "b")
    daemon.now = NOON + 3
    daemon.exit()
    second = format_timestamp(NOON + 1)
    assert replayed(daemon) == [1, 2, 3, 4, 5, 6, "exited"]
    assert replayed(daemon, since=second) == [3, 4, 5, 6, "exited"]
    assert replayed(daemon, since=format_timestamp(NOON + 3)) == ["exited"]
    assert replayed(daemon, since=format_timestamp(NOON + 4)) == []
    assert replayed(daemon, since_seq=0) == [1, 2, 3, 4, 5, 6, "exited"]
    assert replayed(daemon, since_seq=3) == [4, 5, 6, "exited"]
    assert replayed(daemon, since_seq=6) == ["exited"]
    assert replayed(daemon, since_seq=7) == []
    assert replayed(daemon, since_seq=1, since=second) == [3, 4, 5, 6, "exited"]
    assert replayed(daemon, since_seq=5, since=second) == [6, "exited"]


def test_replay_is_confirmed_after_its_last_event(daemon: Daemon) -> None:
    """When asked for: a client can tell a replay that is over from one that goes on."""
    daemon.begin()
    assert replayed(daemon, ack=True) == ["ack"]
    daemon.output("a", "b")
    assert replayed(daemon, ack=True) == [1, 2, "ack"]
    answers = Client(daemon).ask(type="replay", task_id="t", since_seq=2, ack=True)
    assert answers == [{"type": "ack", "id": "r1", "task_id": "t", "last_seq": 2}]


def test_replay_is_never_left_out(daemon: Daemon) -> None:
    """A client far behind has asked for it and gets it, however large it is."""
    daemon.begin()
    daemon.output("x" * 7000)
    client = Client(daemon, limit=1000)
    client.outbox.pause()
    client.send(type="replay", id="1", task_id="t", ack=True)
    daemon.clock.advance(0)
    client.resume()
    assert [message["type"] for message in client.told()] == ["output", "ack"]


# ------------------------------------------------------------------------------ subscribe and resume


def resumed(daemon: Daemon, **fields: Any) -> list[Any]:
    """Return what a subscription is told at once, in short."""
    told: list[Any] = []
    for message in Client(daemon).ask(type="subscribe", task_id="t", **fields):
        if message["type"] == "lagged":
            assert message["dropped"] == message["to_seq"] - message["from_seq"] + 1
            told.append(f"lost {message['from_seq']}-{message['to_seq']}")
        else:
            told.append(message.get("seq", message["type"]))
    return told


def test_subscribed_tells_where_the_task_is(daemon: Daemon, client: Client) -> None:
    """Epoch, oldest line that is kept and newest line."""
    daemon.begin()
    epoch = daemon.supervisor.task("t").record.epoch
    expected = {"type": "subscribed", "id": "r1", "task_id": "t", "epoch": epoch}
    assert client.ask(type="subscribe", task_id="t") == [expected | {"first_seq": 1, "last_seq": 0}]
    daemon.output(*"x" * 150)
    assert client.ask(type="subscribe", task_id="t") == [
        expected | {"first_seq": 51, "last_seq": 150}
    ]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, []),
        ({"since_seq": 0}, ["lost 1-2", 3, 4, 5, 6]),
        ({"since_seq": 1}, ["lost 2-2", 3, 4, 5, 6]),
        ({"since_seq": 2}, [3, 4, 5, 6]),
        ({"since_seq": 4}, [5, 6]),
        ({"since_seq": 6}, []),
        ({"since_seq": 7}, ["lost 1-2", 3, 4, 5, 6]),
        ({"since_seq": 2**63 - 1}, ["lost 1-2", 3, 4, 5, 6]),
        ({"since_seq": 4, "epoch": "EPOCH"}, [5, 6]),
        ({"since_seq": 4, "epoch": "another"}, ["lost 1-2", 3, 4, 5, 6]),
        ({"since_seq": 4, "epoch": ""}, [5, 6]),
        ({"epoch": "another"}, []),
    ],
)
def test_resuming_after_a_line(fields: dict[str, Any], expected: list[Any]) -> None:
    """What is kept follows, what is not is told first; another numbering begins at its beginning."""
    daemon = Daemon(Retention(replay_buffer=4))
    daemon.begin()
    daemon.output("1", "2", "3")
    daemon.output("4", "5", "6")
    if fields.get("epoch") == "EPOCH":
        fields = fields | {"epoch": daemon.supervisor.task("t").record.epoch}
    assert resumed(daemon, **fields) == ["subscribed", *expected]


def test_resuming_where_nothing_is_kept() -> None:
    """All of it is told as lost."""
    daemon = Daemon(Retention(replay_buffer=0))
    daemon.begin()
    daemon.output("1", "2")
    assert resumed(daemon, since_seq=0) == ["subscribed", "lost 1-2"]
    assert resumed(daemon, since_seq=1) == ["subscribed", "lost 2-2"]
    assert resumed(daemon, since_seq=2) == ["subscribed"]


def test_resuming_after_the_last_line_tells_the_exit(daemon: Daemon) -> None:
    """A client that lost its connection before the end learns of the end."""
    daemon.begin()
    daemon.output("1", "2")
    daemon.exit()
    assert resumed(daemon, since_seq=2) == ["subscribed", "exited"]


def test_subscribing_before_there_is_a_task(daemon: Daemon, client: Client) -> None:
    """Is accepted, with or without a number; the events come once it is there."""
    for fields in ({}, {"since_seq": 3}, {"since_seq": 3, "epoch": "e"}):
        assert client.ask(type="subscribe", task_id="t", **fields) == [
            {"type": "subscribed", "id": "r1", "task_id": "t"}
        ]
    daemon.begin()
    daemon.output("one")
    assert [(message["type"], message.get("seq")) for message in client.told()] == [
        ("started", None),
        ("output", 1),
    ]


def test_subscribing_to_every_task(daemon: Daemon, client: Client) -> None:
    """Present and future, each event once, also beside a subscription of its own."""
    daemon.begin("t")
    assert client.ask(type="subscribe", task_id="*") == [
        {"type": "subscribed", "id": "r1", "task_id": "*"}
    ]
    client.ask(type="subscribe", task_id="t")
    daemon.output("one")
    daemon.begin("u")
    daemon.output("two")
    assert [(message["task_id"], message["type"]) for message in client.told()] == [
        ("t", "output"),
        ("u", "started"),
        ("u", "output"),
    ]


def test_a_refused_subscription_is_none(daemon: Daemon, client: Client) -> None:
    """`*` cannot be resumed: every task has numbers of its own."""
    daemon.begin()
    client.ask(type="subscribe", task_id="*", since_seq=0)
    daemon.output("one")
    assert client.told() == []


def test_a_gap_from_before_is_told_before_the_lines_that_fill_it(daemon: Daemon) -> None:
    """A client that resumes while it is behind must not take the old gap for one of the new lines."""
    daemon.begin()
    client = Client(daemon, limit=1000)
    client.ask(type="subscribe", task_id="t")
    client.outbox.pause()
    daemon.output("x" * 600)
    daemon.output("y" * 600)
    client.send(type="subscribe", id="2", task_id="t", since_seq=1)
    daemon.clock.advance(0)
    client.resume()
    assert [(message["type"], message.get("seq")) for message in client.told()] == [
        ("output", 1),
        ("lagged", None),
        ("subscribed", None),
        ("output", 2),
    ]


@attrs.define
class Reader:
    """What a client knows of a task after it resumed; fails on anything missing or told twice."""

    seq: int
    exits: int = 0
    lost: int = 0

    def read(self, messages: list[dict[str, Any]]) -> None:
        for message in messages:
            kind = message["type"]
            if kind == "output":
                assert message["seq"] == self.seq + 1
                assert message["data"] == f"line {message['seq']}"
                self.seq += 1
            elif kind == "lagged":
                assert message["from_seq"] == self.seq + 1
                assert message["dropped"] == message["to_seq"] - self.seq > 0
                self.seq = message["to_seq"]
                self.lost += message["dropped"]
            elif kind == "exited":
                self.exits += 1


steps = st.lists(
    st.integers(1, 12) | st.sampled_from(["pause", "resume", "run again"]),
    max_size=8,
)


@settings(max_examples=80, deadline=None)
@given(
    before=steps,
    after=steps,
    since=st.integers(0, 50),
    kept=st.integers(0, 12),
    subscribed_before=st.booleans(),
)
def test_a_resumed_stream_has_no_holes(
    before: list[Any], after: list[Any], since: int, kept: int, subscribed_before: bool
) -> None:
    """At any cut, whatever is kept and however slow the client: each line once, in order, or told as lost."""
    daemon = Daemon(Retention(replay_buffer=kept))
    daemon.begin()
    client = Client(daemon, limit=4000)
    lines = exits = 0

    def do(step: Any) -> None:
        nonlocal lines, exits
        actions: dict[Any, Callable[[], None]] = {
            "pause": client.outbox.pause,
            "resume": client.resume,
        }
        if step == "run again":
            daemon.exit()
            exits += 1
            daemon.begin()
        elif step in actions:
            actions[step]()
        else:
            daemon.output(*(f"line {lines + number}" for number in range(1, step + 1)))
            lines += step
        daemon.clock.advance(0)

    if subscribed_before:
        client.ask(type="subscribe", task_id="t")
    for step in before:
        do(step)
    at_once = not client.outbox.owes_much  # else it waits until the client has taken something
    client.send(type="subscribe", id="cut", task_id="t", since_seq=since)
    daemon.clock.advance(0)
    exits_at_cut = exits
    for step in after:
        do(step)
    client.resume()
    daemon.clock.advance(0)
    assert client.overflows == 0
    told = client.told()
    cut = next(number for number, message in enumerate(told) if message.get("id") == "cut")
    start = since if since <= told[cut]["last_seq"] else 0
    reader = Reader(start)
    reader.read(told[cut + 1 :])
    assert reader.seq == lines
    if "pause" not in before + after:
        assert reader.lost == max(told[cut]["first_seq"] - start - 1, 0)
    assert reader.exits <= exits
    if at_once:
        assert reader.exits >= exits - exits_at_cut
