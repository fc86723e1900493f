"""Tasks that go on after the overseer has ended, however that ended."""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from typing import Any

import pytest
from conftest import Client, Daemon, Message, eventually
from websockets.exceptions import ConnectionClosed

CONFIG = """
db: history.db
listen: "127.0.0.1:0"
actions:
  sh: &restored
    type: exec
    restore: true
    task_pool: {size: 3, queue_size: 9}
    config:
      entrypoint: sh
      command: ["-c", "[[.script]]"]
      parameters: {script: {}}
  other: {<<: *restored, restore: false}
"""
COUNT = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.01; done"


def kill(daemon: Daemon) -> None:
    daemon.process.kill()
    daemon.process.wait()


def stop(daemon: Daemon) -> None:
    assert daemon.stop() == 0


ENDS = pytest.mark.parametrize("end", [kill, stop])


def restored(daemon: Daemon) -> set[str]:
    """Which tasks the database holds for the next daemon."""
    with closing(sqlite3.connect(daemon.folder / "history.db")) as connection:
        return {row[0] for row in connection.execute("SELECT task_id FROM overseer_tasks")}


def states(client: Client) -> dict[str, str]:
    return {task["task_id"]: task["state"] for task in client.ask(type="list")["tasks"]}


def runs(client: Client, task_id: str) -> list[tuple[int, str]]:
    found = client.ask(type="history", task_id=task_id)["runs"]
    return [(run["run"], run["state"]) for run in found]


def lines(messages: list[Message], task_id: str) -> list[Message]:
    return [one for one in messages if one["type"] == "output" and one["task_id"] == task_id]


@ENDS
def test_tasks_start_again(launch: Callable[..., Daemon], end: Callable[[Daemon], None]) -> None:
    """Those that ran, waited to restart or for a slot; not those that had ended or were asked to."""
    first = launch(CONFIG)
    with first.client() as client:
        client.run("exit 0", task_id="ended")
        client.run("exit 1", task_id="crashed")
        client.start("other", task_id="other", params={"script": "sleep 1000"})
        client.start(task_id="runs", params={"script": "sleep 1000"})
        retry = {"restart_delay": "1h"}
        client.send(
            type="start",
            action="sh",
            task_id="waits",
            params={"script": "exit 1"},
            retry_policy=retry,
        )
        client.until("restarting")
        client.start(task_id="stubborn", params={"script": "trap '' TERM; sleep 1000; sleep 1000"})
        for name in ("queued-1", "queued-2", "purged"):
            client.send(type="start", action="sh", task_id=name, params={"script": "sleep 1000"})
            client.until("queued")
        client.send(type="stop", task_id="purged")
        client.until("dequeued")
        client.send(type="stop", task_id="stubborn", grace="1s")
        eventually(lambda: restored(first) == {"runs", "waits", "queued-1", "queued-2"})
    end(first)
    second = launch(CONFIG)
    with second.client() as client:
        eventually(lambda: set(states(client)) == {"runs", "waits", "queued-1", "queued-2"})
        shown = {task["task_id"]: task for task in client.ask(type="list")["tasks"]}
        assert shown["waits"]["params"] == {"script": "exit 1"}
        assert shown["waits"]["retry_policy"] == {"restart_delay": "1h0m0s"}
        assert "retry_policy" not in shown["runs"]
        assert shown["queued-2"]["state"] == "queued"
        expected = [(2, "running"), (1, "lost" if end is kill else "exited")]
        eventually(lambda: runs(client, "runs") == expected)
        client.send(type="stop", task_id="runs")
        eventually(lambda: "runs" not in restored(second))


@ENDS
def test_numbers_go_on(launch: Callable[..., Daemon], end: Callable[[Daemon], None]) -> None:
    """No number comes twice, and who asks since the last one that it has seen learns what it has missed."""
    first = launch(CONFIG)
    with first.client() as client:
        client.start(task_id="count", params={"script": COUNT})
        client.until(lambda message: message.get("seq") == 20)
        before = client.ask(type="subscribe", task_id="count")
        eventually(lambda: restored(first) == {"count"})
        end(first)
        told = [message["seq"] for message in lines(client.seen, "count")]
        with suppress(ConnectionClosed):
            while True:
                told += [one["seq"] for one in lines([client.receive()], "count")]
    assert told == list(range(1, told[-1] + 1))
    second = launch(CONFIG)
    with second.client() as client:
        known: dict[str, Any] = {"since_seq": told[-1], "epoch": before["epoch"]}
        after = client.ask(type="subscribe", task_id="count", **known)
        assert after["epoch"] == before["epoch"]
        client.until(lambda message: message.get("data") == "9")
        gaps = [message for message in client.seen if message["type"] == "lagged"]
        later = [message["seq"] for message in lines(client.seen, "count")]
        assert later == list(range(later[0], later[-1] + 1))
        if end is stop:
            assert not gaps or after["first_seq"] == told[-1] + 1
            assert later[0] == told[-1] + 1
        else:
            assert later[0] > told[-1]
            assert [(one["from_seq"], one["to_seq"]) for one in gaps] == [
                (told[-1] + 1, later[0] - 1)
            ]


def test_a_firehose_does_not_outrun_its_numbers(launch: Callable[..., Daemon]) -> None:
    """Though the database is locked for a while, the next daemon's lines have other numbers."""
    first = launch(CONFIG)
    with first.client() as client:
        client.start(task_id="yes", params={"script": "exec yes"})
        eventually(lambda: restored(first) == {"yes"})
        with closing(sqlite3.connect(first.folder / "history.db")) as connection:
            connection.execute("BEGIN IMMEDIATE")
            client.until(lambda message: message.get("seq", 0) > 100_000)
            kill(first)
        told = max(message.get("seq", 0) for message in client.seen)
    second = launch(CONFIG)
    with second.client() as client:
        assert client.ask(type="subscribe", task_id="yes")["last_seq"] > told


def test_what_cannot_be_started_again_is_told(launch: Callable[..., Daemon]) -> None:
    """Once: it is not tried again and again."""
    first = launch(CONFIG)
    with first.client() as client:
        client.start(task_id="a", params={"script": "sleep 1000"})
        eventually(lambda: restored(first) == {"a"})
    assert first.stop() == 0
    second = launch(CONFIG.replace("restore: true", "restore: false"))
    second.wait_for_log('task a is not started again: the action "sh" does not restore')
    assert second.stop() == 0
    assert not restored(second)


def test_a_database_that_comes_late(launch: Callable[..., Daemon]) -> None:
    """Its tasks start once it is there."""
    config = CONFIG.replace("history.db", "volume/history.db")
    first = launch(config, ready=False)
    volume = first.folder / "volume"
    volume.mkdir()
    with first.wait_until_ready().client() as client:
        client.start(task_id="a", params={"script": "sleep 1000"})
    assert first.stop() == 0
    volume.rename(first.folder / "elsewhere")
    second = launch(config)
    second.wait_for_log("cannot write the history volume/history.db: No such file or directory")
    with second.client() as client:
        assert states(client) == {}
        (first.folder / "elsewhere").rename(volume)
        eventually(lambda: states(client) == {"a": "active"})
