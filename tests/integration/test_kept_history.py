"""The history in its file: what is in it, how it is asked for, and what it survives."""

import json
import os
import re
import resource
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from conftest import SHELL, Client, Daemon, Message, eventually, is_alive

HISTORY = f"db: history.db\n{SHELL}"
POOLED = """
db: history.db
listen: "127.0.0.1:0"
actions:
  sh:
    type: exec
    task_pool: {size: 1, queue_size: 5}
    config:
      entrypoint: sh
      command: ["-c", "[[.script]]"]
      parameters: {script: {}, password: {default: "", secret: true}}
  missing: {type: exec, config: {entrypoint: /nowhere/at/all}}
  again:
    type: exec
    retry: {restart_delay: 10ms, error_threshold: 3}
    config: {entrypoint: "false"}
"""


@pytest.fixture
def kept(launch: Callable[..., Daemon]) -> Daemon:
    """A daemon that keeps a history."""
    return launch(HISTORY)


def runs(client: Client, **fields: Any) -> list[Message]:
    found: list[Message] = client.ask(type="history", **fields)["runs"]
    return found


def body(answer: str) -> Any:
    return json.loads(answer.partition("\r\n\r\n")[2])


def get(daemon: Daemon, path: str) -> tuple[int, Any]:
    answer = daemon.http(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    return int(answer.split()[1]), body(answer)


def test_every_run_is_there_with_what_is_known_of_it(launch: Callable[..., Daemon]) -> None:
    """Exits, signals, stops, restarts, failures to start, and what never left its queue."""
    daemon = launch(POOLED)
    with daemon.client() as client:
        client.run("printf 'a\\nb'; exit 3", task_id="code")
        client.run("kill -9 $$", task_id="killed")
        client.start(task_id="stopped", params={"script": "sleep 60", "password": "x"})
        client.send(type="start", action="sh", task_id="waits", params={"script": "true"})
        client.until("queued")
        client.send(type="purge", action="sh")
        client.until("dequeued")
        client.send(type="stop", task_id="stopped")
        client.until("exited")
        client.send(type="start", action="missing", task_id="none")
        client.until("error")
        client.send(type="start", action="again", task_id="again")
        client.until("errored")
        found = {(run["task_id"], run["run"]): run for run in runs(client)}
    for run in found.values():
        for name in ("started_at", "exited_at", "pid"):
            assert (name in run) == (run["state"] == "exited")
    shown = {
        key: (run["state"], run.get("exit_code"), run.get("signal"), run["intentional"])
        for key, run in found.items()
    }
    assert shown == {
        ("code", 1): ("exited", 3, None, False),
        ("killed", 1): ("exited", -1, "SIGKILL", False),
        ("stopped", 1): ("exited", -1, "SIGTERM", True),
        ("waits", 1): ("cancelled", None, None, True),
        ("none", 1): ("failed", None, None, False),
        **{("again", number): ("exited", 1, None, False) for number in (1, 2, 3)},
    }
    assert (found["code", 1]["output_lines"], found["code", 1]["output_bytes"]) == (2, 4)
    assert found["code", 1]["params"] == {"script": "printf 'a\\nb'; exit 3", "password": "***"}
    assert found["waits", 1]["error_message"] == "purged"
    assert "queued_at" in found["waits", 1]
    assert "/nowhere/at/all" in found["none", 1]["error_message"]
    assert [found["again", number].get("attempt", 0) for number in (1, 2, 3)] == [0, 1, 2]
    assert daemon.stop() == 0
    content = b"".join(file.read_bytes() for file in daemon.folder.glob("history.db*"))
    assert b"sleep 60" in content
    assert b'"x"' not in content


def test_it_outlives_the_daemon(launch: Callable[..., Daemon]) -> None:
    """Another daemon on the same file knows what the first one ran, and goes on."""
    first = launch(HISTORY)
    with first.client() as client:
        client.run("exit 1", task_id="old")
    assert first.stop() == 0
    second = launch(HISTORY)
    with second.client() as client:
        client.run("exit 2", task_id="new")
        assert [(run["task_id"], run["exit_code"]) for run in runs(client)] == [
            ("new", 2),
            ("old", 1),
        ]
    mode = (second.folder / "history.db").stat().st_mode
    assert mode & 0o777 == 0o600
    assert second.stop() == 0
    with closing(sqlite3.connect(second.folder / "history.db")) as connection:
        events = connection.execute(
            "SELECT type, overseer_runs.task_id FROM overseer_events JOIN overseer_runs"
            " ON overseer_runs.id = overseer_events.run ORDER BY overseer_events.id"
        ).fetchall()
    assert events == [
        ("started", "old"),
        ("exited", "old"),
        ("started", "new"),
        ("exited", "new"),
    ]


def test_filters_and_pages(kept: Daemon) -> None:
    """Newest first; each page begins where the one before ended; HTTP answers the same."""
    with kept.client() as client:
        for number in range(5):
            client.run(f"exit {number % 2}", task_id=f"task-{number}")
        client.send(type="start", action="echo", task_id="other")
        client.until("exited")
        everything = runs(client)
        assert [run["task_id"] for run in everything] == [
            "other",
            *(f"task-{number}" for number in (4, 3, 2, 1, 0)),
        ]
        assert runs(client, action="echo") == everything[:1]
        assert runs(client, task_id="task-3") == [everything[2]]
        third = everything[2]["started_at"]
        assert runs(client, since=third) == everything[:3]
        assert runs(client, until=third) == everything[3:]
        pages: list[Message] = []
        answer: Message = {"next": None}
        while "next" in answer:
            answer = client.ask(type="history", action="sh", limit=2, before=answer["next"] or "")
            assert len(answer["runs"]) <= 2
            pages += answer["runs"]
        assert pages == everything[1:]
        told = client.ask(type="history", statistics=True, limit=1)["statistics"]
        assert [(one["action"], one["runs"], one["failures"]) for one in told] == [
            ("echo", 1, 0),
            ("sh", 5, 2),
        ]
        assert all(one["p95"].endswith("s") and one["mean"].endswith("s") for one in told)
        refused = client.ask(type="history", before="yesterday")
        assert refused["message"] == "before: expected the next of an earlier answer"
    assert get(kept, f"/history?action=sh&since={third}&limit=2") == (
        200,
        {"type": "history", "id": "", "runs": everything[1:3]},
    )
    assert get(kept, "/history?statistics=true&limit=1")[1]["statistics"] == told
    assert get(kept, "/history?limit=many") == (
        400,
        {"error": "limit: expected integer, got string"},
    )
    assert get(kept, "/history?before=x")[0] == 400


def test_answers_keep_their_order(kept: Daemon) -> None:
    """What is asked after the history is answered after it."""
    with kept.client() as client:
        client.run("true")
        for name in "abc":
            client.send(type="history", id=f"history {name}")
            client.send(type="list", id=f"list {name}")
        messages = client.until(lambda message: message["id"] == "list c")
    expected = [f"{kind} {name}" for name in "abc" for kind in ("history", "list")]
    assert [message["id"] for message in messages] == expected


def test_without_a_database(launch: Callable[..., Daemon]) -> None:
    """Who asks is told why there is none."""
    daemon = launch()
    reason = 'there is no history: the configuration has no "db"'
    with daemon.client() as client:
        assert client.ask(type="history")["message"] == reason
    assert get(daemon, "/history") == (404, {"error": reason})


def test_what_was_running_is_lost(launch: Callable[..., Daemon]) -> None:
    """After a kill -9 nothing is shown running, and what had been told is there."""
    first = launch(HISTORY)
    with first.client() as client:
        client.run("exit 4", task_id="ended")
        client.start(task_id="runs", params={"script": "sleep 5"})
        eventually(lambda: {run["state"] for run in runs(client)} == {"exited", "running"})
        first.process.kill()
        first.process.wait()
    second = launch(HISTORY)
    with second.client() as client:
        shown = [(run["task_id"], run["state"], run.get("exit_code")) for run in runs(client)]
    assert shown == [("runs", "lost", None), ("ended", "exited", 4)]


# ------------------------------------------------------------------------------------- after a crash


def mark_of(daemon: Daemon) -> str:
    return (daemon.folder / "history.db.lock").read_text().split()[0]


def marked(mark: str) -> set[int]:
    """Live processes that an overseer with this database has started, or their children."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if f"OVERSEER_INSTANCE={mark}".encode() in (entry / "environ").read_bytes():
                    found.add(int(entry.name))
    return found


SURVIVORS = """
trap '' TERM HUP PIPE
setsid sh -c 'trap "" TERM HUP; sleep 1000 & sleep 1000' &
(env -i sleep 1000 &)
sleep 1000
"""


def test_what_a_killed_daemon_left_is_ended(launch: Callable[..., Daemon]) -> None:
    """Whatever it ignores and wherever it went; nobody else's processes, and before anything starts."""
    first = launch(HISTORY)
    with first.client() as client, subprocess.Popen(["sleep", "1000"]) as bystander:
        for number in range(3):
            client.start(task_id=f"task-{number}", params={"script": SURVIVORS})
        mark = mark_of(first)
        eventually(lambda: len(marked(mark)) >= 15 and len(first.descendants()) >= 18)
        below = first.descendants()
        first.process.kill()
        first.process.wait()
        second = launch(HISTORY)
        assert re.search(r"ended \d+ processes of an earlier overseer", second.log)
        assert not {pid for pid in below if is_alive(pid)}
        assert bystander.poll() is None
        bystander.kill()


def test_what_a_task_knows_of_itself(kept: Daemon) -> None:
    """Its names, and how often it was started again."""
    script = "echo $OVERSEER_TASK_ID $OVERSEER_ACTION $OVERSEER_ATTEMPT; exit 1"
    with kept.client() as client:
        client.send(
            type="start",
            action="sh",
            task_id="me",
            params={"script": script},
            retry_policy={"restart_delay": "1ms", "error_threshold": 2},
        )
        messages = client.until("errored")
    assert [message["data"] for message in messages if message["type"] == "output"] == [
        "me sh 0",
        "me sh 1",
    ]


def test_one_database_one_overseer(kept: Daemon, launch: Callable[..., Daemon]) -> None:
    """The second one is told who the first one is, and leaves its processes alone."""
    with kept.client() as client:
        pid = client.start(params={"script": "sleep 1000"})["pid"]
        second = launch(HISTORY, ready=False)
        assert second.process.wait(20) == 1
        second.wait_for_log(
            f'db "history.db": it is in use by another overseer, process {kept.process.pid}'
        )
        assert is_alive(pid)


# ----------------------------------------------------------------------------------- storage faults


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the write lock of a database, as another process would."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


def stream(client: Client, task_id: str) -> list[Message]:
    """Run something that prints for a while, and check that not a line of it is lost."""
    script = "i=0; while [ $i -lt 100 ]; do i=$((i+1)); echo $i; sleep 0.02; done"
    messages = client.run(script, task_id=task_id)
    printed = [message["data"] for message in messages if message["type"] == "output"]
    assert printed == [str(number) for number in range(1, 101)]
    return messages


def test_another_process_holds_the_lock(kept: Daemon) -> None:
    """Tasks go on, one warning comes, and all of it is written afterwards."""
    with kept.client() as client:
        client.run("true", task_id="before")
        assert len(runs(client)) == 1
        with locked(kept.folder / "history.db"):
            stream(client, "meanwhile")
            client.run("exit 5", task_id="too")
            kept.wait_for_log("cannot write the history history.db: database is locked")
            # Reading goes on, of what could be written.
            assert [run["task_id"] for run in runs(client)] == ["before"]
        kept.wait_for_log("the history history.db can be written again; 0 changes are not in it")
        shown = [(run["task_id"], run.get("exit_code")) for run in runs(client)]
        assert shown == [("too", 5), ("meanwhile", 0), ("before", 0)]
    assert kept.log.count("cannot write the history") == 1


def test_a_full_disk(kept: Daemon) -> None:
    """As with a lock; no file of the daemon may grow for a while."""
    with kept.client() as client:
        client.run("true", task_id="before")
        limits = resource.prlimit(kept.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(kept.process.pid, resource.RLIMIT_FSIZE, (4096, limits[1]))
        stream(client, "meanwhile")
        kept.wait_for_log("cannot write the history")
        resource.prlimit(kept.process.pid, resource.RLIMIT_FSIZE, limits)
        kept.wait_for_log("can be written again; 0 changes")
        assert [run["task_id"] for run in runs(client)] == ["meanwhile", "before"]


def test_a_damaged_file_is_set_aside(launch: Callable[..., Daemon], tmp_path: Path) -> None:
    """It is kept under another name, and the history begins anew."""
    rubbish = b"this is no database" * 1000
    (tmp_path / "history.db").write_bytes(rubbish)
    daemon = launch(HISTORY)
    daemon.wait_for_log("the history history.db is damaged: it is now history.db.damaged-")
    with daemon.client() as client:
        client.run("true", task_id="new")
        assert [run["task_id"] for run in runs(client)] == ["new"]
    (aside,) = tmp_path.glob("history.db.damaged-*")
    assert aside.read_bytes() == rubbish


def test_a_file_that_is_damaged_while_it_is_written(kept: Daemon) -> None:
    """What waits goes to the new file."""
    path = kept.folder / "history.db"
    with kept.client() as client:
        client.run("true", task_id="before")
        runs(client)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        size = path.stat().st_size
        with path.open("r+b") as file:
            file.write(os.urandom(size))
        client.run("true", task_id="after")
        kept.wait_for_log("is damaged")
        eventually(lambda: [run["task_id"] for run in runs(client)][:1] == ["after"])
    assert list(kept.folder.glob("history.db.damaged-*"))


def test_tables_of_a_newer_version(launch: Callable[..., Daemon], tmp_path: Path) -> None:
    """This program could only spoil them."""
    with closing(sqlite3.connect(tmp_path / "history.db")) as connection:
        connection.execute("CREATE TABLE overseer_schema (version INTEGER)")
        connection.execute("INSERT INTO overseer_schema VALUES (99)")
        connection.commit()
    daemon = launch(HISTORY, ready=False)
    assert daemon.process.wait(20) == 1
    daemon.wait_for_log(
        'db "history.db": its tables have version 99, this overseer knows up to 2: use a newer'
    )


def test_a_folder_that_is_not_there_yet(launch: Callable[..., Daemon], tmp_path: Path) -> None:
    """It may be of a volume that is mounted later: tasks go on, and all is written then."""
    daemon = launch(HISTORY.replace("history.db", "volume/history.db"))
    daemon.wait_for_log("cannot write the history volume/history.db: .*No such file or directory")
    with daemon.client() as client:
        client.run("true", task_id="before")
        (tmp_path / "volume").mkdir()
        daemon.wait_for_log("can be written again; 0 changes")
        assert [run["task_id"] for run in runs(client)] == ["before"]
    second = launch(HISTORY.replace("history.db", "volume/history.db"), ready=False)
    assert second.process.wait(20) == 1
    second.wait_for_log("it is in use by another overseer")


def test_a_folder_where_the_file_should_be(launch: Callable[..., Daemon], tmp_path: Path) -> None:
    """A mistake in the configuration is told at once."""
    (tmp_path / "history.db").mkdir()
    daemon = launch(HISTORY, ready=False)
    assert daemon.process.wait(20) == 1
    daemon.wait_for_log('db "history.db": Is a directory')


def test_a_file_of_another_program(launch: Callable[..., Daemon], tmp_path: Path) -> None:
    """Its tables stay as they are."""
    with closing(sqlite3.connect(tmp_path / "history.db")) as connection:
        connection.execute("CREATE TABLE exits (code INTEGER)")
        connection.execute("INSERT INTO exits VALUES (7)")
        connection.commit()
    daemon = launch(HISTORY)
    with daemon.client() as client:
        client.run("true")
        assert len(runs(client)) == 1
    assert daemon.stop() == 0
    with closing(sqlite3.connect(tmp_path / "history.db")) as connection:
        assert connection.execute("SELECT code FROM exits").fetchall() == [(7,)]


def test_old_runs_are_deleted(launch: Callable[..., Daemon]) -> None:
    """At most ``max_rows`` are kept: a look at start-up and one a minute see to that."""
    first = launch(HISTORY)
    with first.client() as client:
        for number in range(6):
            client.run("true", task_id=f"task-{number}")
    assert first.stop() == 0
    second = launch(f"history: {{max_rows: 2}}\n{HISTORY}")
    with second.client() as client:
        eventually(lambda: len(runs(client)) == 2)
        assert [run["task_id"] for run in runs(client)] == ["task-5", "task-4"]
