"""A daemon that is killed at any moment under load: the next one finds everything in order."""

import random
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress

import pytest
from conftest import Client, Daemon, eventually, is_alive

CONFIG = """
db: history.db
listen: "127.0.0.1:0"
actions:
  sh:
    type: exec
    task_pool: {size: 12, queue_size: 50}
    retry: {restart_on: failure, restart_delay: 5ms, error_threshold: 3}
    config:
      entrypoint: sh
      command: ["-c", "[[.script]]"]
      parameters: {script: {}}
  keeper:
    type: exec
    restore: true
    config: {entrypoint: sh, command: ["-c", "while echo x; do sleep 0.01; done"]}
"""
SCRIPTS = (
    "exit 0",
    "exit 3",
    "seq 2000",
    "sleep 0.05; exit 7",
    "setsid sleep 1000 & sleep 1000",
    "sleep 1000",
)
STUBBORN = "trap '' TERM; setsid sleep 1000 & sleep 1000"
EVERY_SO_MANY = 4
"""One kill in so many leaves stubborn processes, which cost the next daemon a grace."""
TOLD_FOR = 0.2
"""Seconds after which what was told must survive."""


class Load(threading.Thread):
    """A client that starts, stops and restarts until the daemon is gone.

    :ivar exits: when each ``exited`` came, with its task, process id and exit code.
    """

    def __init__(
        self, daemon: Daemon, number: int, chance: random.Random, scripts: Sequence[str]
    ) -> None:
        super().__init__(daemon=True)
        self.exits: list[tuple[float, str, int, int]] = []
        self._daemon = daemon
        self._number = number
        self._chance = chance
        self._scripts = scripts

    @property
    def has_been_told_for_a_while(self) -> bool:
        """Whether it was told of an exit that must survive."""
        return bool(self.exits) and self.exits[0][0] < time.monotonic() - TOLD_FOR

    def run(self) -> None:
        with suppress(Exception), self._daemon.client() as client:
            for step in range(10**6):
                self._step(client, step)

    def _step(self, client: Client, step: int) -> None:
        name = f"{self._number}-{step}"
        earlier = f"{self._number}-{self._chance.randrange(step + 1)}"
        script = self._chance.choice(self._scripts)
        client.send(type="start", action="sh", task_id=name, params={"script": script})
        if step % 2:
            kind = self._chance.choice(["stop", "restart"])
            client.send(type=kind, task_id=earlier, grace="0s")
        client.send(type="list", action="nothing", id=name)
        while (message := client.receive()).get("id") != name or message["type"] != "tasks":
            if message["type"] == "exited":
                self.exits.append(
                    (
                        time.monotonic(),
                        message["task_id"],
                        message["pid"],
                        message["exit_code"],
                    )
                )


def keeper(daemon: Daemon) -> tuple[str, int]:
    """Return the epoch and the newest number of the task that is always started again, once it prints."""
    with daemon.client() as client:
        eventually(lambda: client.ask(type="list", state="active", action="keeper")["tasks"])
        subscribed = client.ask(type="subscribe", task_id="keeper")
        printed = client.until("output")[-1]
        assert printed["seq"] == subscribed["last_seq"] + 1
        return subscribed["epoch"], printed["seq"]


def is_kept(daemon: Daemon) -> bool:
    """Return whether the database knows what to start again."""
    with closing(sqlite3.connect(daemon.folder / "history.db")) as connection:
        return bool(connection.execute("SELECT task_id FROM overseer_tasks").fetchall())


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_at_any_moment(launch: Callable[..., Daemon], kills: int) -> None:
    """What was told for 200 ms is in the history, nothing is shown running, and nothing goes on.

    But for the one task that is started again: it has the same epoch and other numbers each time.
    """
    seed = random.SystemRandom().getrandbits(64)
    print("seed:", seed)
    chance = random.Random(seed)
    told: set[tuple[str, int, int]] = set()
    daemon = launch(CONFIG)
    with daemon.client() as client:
        client.start("keeper", task_id="keeper")
    eventually(lambda: is_kept(daemon))
    for kill in range(kills):
        scripts = SCRIPTS if kill % EVERY_SO_MANY else (*SCRIPTS, STUBBORN)
        load = [
            Load(daemon, 10 * kill + number, random.Random(seed + kill), scripts)
            for number in (1, 2)
        ]
        epoch, last_seq = keeper(daemon)
        for one in load:
            one.start()
        threading.Event().wait(chance.uniform(0.0, 1.0))
        if kill == kills - 1 and not told:
            eventually(lambda load=load: any(one.has_been_told_for_a_while for one in load))
        below = daemon.descendants()
        moment = time.monotonic()
        daemon.process.kill()
        daemon.process.wait()
        for one in load:
            one.join()
            told |= {tuple(rest) for at, *rest in one.exits if at < moment - TOLD_FOR}
        daemon = launch(CONFIG)
        ready = time.monotonic()
        while left := {pid for pid in below if is_alive(pid)}:
            assert time.monotonic() < ready + 6, left
        again, first_seq = keeper(daemon)
        assert again == epoch
        assert first_seq > last_seq
    with daemon.client() as client:
        runs = [run for run in client.all_runs() if run["task_id"] != "keeper"]
    assert {run["state"] for run in runs} <= {"exited", "lost", "failed", "cancelled"}
    shown = {(r["task_id"], r["pid"], r["exit_code"]) for r in runs if r["state"] == "exited"}
    assert told
    assert told <= shown
    assert not re.search("damaged|cannot write", daemon.log)
    assert daemon.stop() == 0
    with closing(sqlite3.connect(daemon.folder / "history.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    print(
        f"{len(runs)} runs, {len(told)} exits told, {sum(r['state'] == 'lost' for r in runs)} lost"
    )
