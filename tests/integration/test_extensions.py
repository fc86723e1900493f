"""What this version adds for clients that ask for it: restart, duplicates, lifecycle only, snapshots."""

from collections.abc import Callable

from conftest import Client, Daemon

DEDUPED = """
listen: "127.0.0.1:0"
actions:
  sh:
    type: exec
    dedupe_key: [script]
    task_pool: {size: 1, queue_size: 5}
    config: {entrypoint: sh, command: ["-c", "[[.script]]"], parameters: {script: {}}}
"""
SCRIPT = "echo up; exec sleep 1000"


def start_sleeper(client: Client, task_id: str) -> int:
    """Start a task that goes on until it is stopped; return its process id."""
    started = client.start(task_id=task_id, params={"script": SCRIPT})
    client.until("output")
    pid: int = started["pid"]
    return pid


def test_restart_keeps_task_and_slot(launch: Callable[..., Daemon]) -> None:
    """A running task ends and runs again ahead of all that wait; its numbers go on."""
    daemon = launch(DEDUPED)
    with daemon.client() as client:
        pid = start_sleeper(client, "a")
        client.ask(type="start", action="sh", task_id="waits", params={"script": "echo later"})
        client.send(type="restart", task_id="a", id="again")
        exited, started, output = [*client.until("output")][-3:]
        assert (exited["type"], exited["pid"], exited["intentional"]) == ("exited", pid, True)
        assert (started["type"], started["id"], started["task_id"]) == ("started", "again", "a")
        assert started["pid"] != pid
        assert output["seq"] == 2
        (waiting,) = client.ask(type="list", state="queued")["tasks"]
        assert waiting["task_id"] == "waits"
        client.send(type="stop", task_id="a")
        client.until(lambda m: m["type"] == "exited" and m["task_id"] == "waits")


def test_restart_of_a_finished_task_starts_it_as_before(daemon: Daemon) -> None:
    """Same action, same parameters, the next number."""
    with daemon.client() as client:
        client.run("echo once", task_id="a")
        client.send(type="restart", task_id="a", id="again")
        started, output, _ = client.until("exited")
        assert (started["id"], output["data"], output["seq"]) == ("again", "once", 2)
        assert client.ask(type="restart", task_id="nobody")["message"] == "task not found"


def test_attach_shares_the_task_that_runs(launch: Callable[..., Daemon]) -> None:
    """A second client is answered with the running task and gets its events."""
    daemon = launch(DEDUPED)
    with daemon.client() as first, daemon.client() as second:
        pid = start_sleeper(first, "a")
        answer = second.ask(
            type="start", action="sh", params={"script": SCRIPT}, on_duplicate="attach"
        )
        assert (answer["type"], answer["task_id"], answer["pid"]) == ("started", "a", pid)
        first.send(type="stop", task_id="a")
        assert second.until("exited")[-1]["task_id"] == "a"


def test_replace_stops_the_task_in_the_way(launch: Callable[..., Daemon]) -> None:
    """The new one begins once nothing of the old one is alive."""
    daemon = launch(DEDUPED)
    with daemon.client() as client:
        pid = start_sleeper(client, "a")
        client.send(
            type="start",
            action="sh",
            task_id="b",
            params={"script": SCRIPT},
            on_duplicate="replace",
            id="new",
        )
        exited, started = client.until("started")[-2:]
        assert (exited["type"], exited["pid"]) == ("exited", pid)
        assert (started["id"], started["task_id"]) == ("new", "b")
        refused = client.ask(type="start", action="sh", params={"script": SCRIPT})
        assert refused["existing_task_id"] == "b"


def test_an_unknown_way_with_duplicates_is_an_error(daemon: Daemon) -> None:
    """The answer names the field and what it may be."""
    with daemon.client() as client:
        answer = client.ask(type="start", action="sh", on_duplicate="ignore")
        assert answer["message"] == (
            'on_duplicate: expected one of error, attach, replace, got "ignore"'
        )


def test_lifecycle_only(daemon: Daemon) -> None:
    """A dashboard hears of every start and end, and of no line; with a subscription of its own it does."""
    with daemon.client() as watcher, daemon.client() as client:
        watcher.ask(type="subscribe", task_id="*", output=False)
        client.run("echo quiet", task_id="a")
        assert [message["type"] for message in watcher.until("exited")] == ["started", "exited"]
        watcher.ask(type="subscribe", task_id="b")
        client.run("echo heard", task_id="b")
        heard = watcher.until("exited")
        assert [message["type"] for message in heard] == ["started", "output", "exited"]


def test_a_snapshot_fits_what_follows(daemon: Daemon) -> None:
    """The tasks come with the answer, and every event after it is news."""
    with daemon.client() as client, daemon.client() as watcher:
        pid = start_sleeper(client, "a")
        subscribed = watcher.ask(type="subscribe", task_id="*", snapshot=True)
        (task,) = subscribed["tasks"]
        assert (task["task_id"], task["state"], task["current_pid"]) == ("a", "active", pid)
        client.send(type="stop", task_id="a")
        (exited,) = watcher.until("exited")
        assert exited["pid"] == pid
        assert watcher.ask(type="subscribe", task_id="none", snapshot=True).get("tasks") == []
