"""A client library that nobody here wrote drives the daemon, over TCP and over a Unix socket."""

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import SHELL, Daemon


@pytest.mark.parametrize("transport", ["tcp", "unix"])
def test_start_stream_stop_replay(
    launch: Callable[..., Daemon], tmp_path: Path, transport: str
) -> None:
    """Everything a client does in a day works with ``websockets``, whichever way it connects."""
    path = tmp_path / "overseer.sock"
    listen = '"127.0.0.1:0"' if transport == "tcp" else f"[unix:{path}]"
    daemon = launch(SHELL.replace('"127.0.0.1:0"', listen))
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(
            daemon.client() if transport == "tcp" else daemon.unix_client(path)
        )
        started = client.start(
            task_id="ticker", params={"script": "while echo tick; do sleep 0.1; done"}
        )
        assert (started["type"], started["task_id"]) == ("started", "ticker")
        ticks = [client.until("output")[-1] for _ in range(3)]
        assert [(tick["data"], tick["seq"], tick["stream"]) for tick in ticks] == [
            ("tick", 1, "stdout"),
            ("tick", 2, "stdout"),
            ("tick", 3, "stdout"),
        ]
        (task,) = client.ask(type="list")["tasks"]
        assert (task["state"], task["current_pid"]) == ("active", started["pid"])
        client.send(type="stop", task_id="ticker")
        exited = client.until("exited")[-1]
        assert (exited["exit_code"], exited["intentional"], exited["signal"]) == (
            -1,
            True,
            "SIGTERM",
        )
        client.send(type="replay", task_id="ticker", since_seq=1, ack=True)
        *events, ack = client.until("ack")
        assert [event.get("seq") for event in events if event["type"] == "output"] == list(
            range(2, ack["last_seq"] + 1)
        )
        assert events[-1] == exited
