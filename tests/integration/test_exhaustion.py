"""A machine that has no more to give costs the start that asks for it, and nothing else."""

import contextlib
import getpass
import os
import resource
from collections.abc import Iterator

import pytest
from conftest import Client, Daemon

USER = "nobody" if os.geteuid() == 0 else getpass.getuser()
CONFIG = f"""
listen: "127.0.0.1:0"
actions:
  sleep: {{type: exec, config: {{entrypoint: sleep, command: ["1000"]}}}}
  sleep-as: {{type: exec, config: {{entrypoint: sleep, command: ["1000"], user: {USER}}}}}
  echo: {{type: exec, config: {{entrypoint: echo, command: [hello]}}}}
"""


@pytest.fixture(scope="module")
def daemon(launch_shared) -> Daemon:
    """A daemon that has started a task of each kind before anything runs short."""
    daemon = launch_shared(CONFIG)
    with daemon.client() as client:
        client.send(type="start", action="echo")
        client.until("exited")
    return daemon


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """A client of it, with a task that runs all the while."""
    with daemon.client() as client:
        clock = client.start("sleep")["task_id"]
        client.start("sleep-as")
        yield client
        tasks = client.ask(type="list")["tasks"]
        assert clock in [task["task_id"] for task in tasks if task["state"] == "active"]
        # Whatever ran short is there again, and so is everything else.
        client.send(type="start", action="echo")
        assert [message["type"] for message in client.until("exited")][-2:] == ["output", "exited"]


@contextlib.contextmanager
def limited(daemon: Daemon, kind: int, limit: int) -> Iterator[None]:
    """Hold the daemon to a limit for a while."""
    limits = resource.prlimit(daemon.process.pid, kind)
    resource.prlimit(daemon.process.pid, kind, (limit, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(daemon.process.pid, kind, limits)


def test_out_of_descriptors(daemon: Daemon, client: Client) -> None:
    """Those that still fit are started, the next ones are refused, and requests are answered."""
    in_use = len(os.listdir(f"/proc/{daemon.process.pid}/fd"))
    with limited(daemon, resource.RLIMIT_NOFILE, in_use + 16):
        kinds = [client.start("sleep")["type"] for _ in range(12)]
        assert kinds == sorted(kinds, reverse=True)
        assert {"started", "error"} == set(kinds)
        refused = client.start("sleep")
        assert refused["message"] == 'cannot execute "sleep": Too many open files'
        started = [task for task in client.ask(type="list")["tasks"] if task["state"] == "active"]
        client.ask(type="stop", task_id=started[-1]["task_id"], ack=True)
        client.until("exited")
        assert client.start("sleep")["type"] == "started"


def test_out_of_processes(daemon: Daemon, client: Client) -> None:
    """The user of a task has no more of them."""
    with limited(daemon, resource.RLIMIT_NPROC, 1):
        for _ in range(3):
            refused = client.start("sleep-as")
            assert "Resource temporarily unavailable" in refused["message"]


def test_out_of_memory(daemon: Daemon, client: Client) -> None:
    """The kernel refuses the process, or kills it before its program begins; the daemon goes on."""
    # Leaves room in the memory that the daemon has: its own needs are not what is tried here.
    client.ask(type="start", action="no-such-action", params={"large": "x" * 100_000})
    with limited(daemon, resource.RLIMIT_AS, 4096):
        for _ in range(3):
            answer = client.start("sleep")
            if answer["type"] == "started":
                ended = client.until("exited")[-1]
                assert ended["task_id"] == answer["task_id"]
                assert ended["exit_code"] != 0
            else:
                assert answer["message"] == 'cannot execute "sleep": Cannot allocate memory'
