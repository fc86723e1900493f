"""Storms: everything at once, at random, for as long as asked, and what must hold all the while.

``OVERSEER_STORM_SECONDS`` says how long the slow storm takes, 60 when it says nothing.
"""

import fcntl
import os
import queue
import random
import signal
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import DEADLINE, Daemon, Message, RawClient, eventually

Launch = Callable[..., Daemon]

# ------------------------------------------------------------------------- what runs in the storm

CHILD = """
# FOLDER ACTION SLOTS TASK SCRIPT: runs SCRIPT, and holds locks as long as anything of it is alive. The kernel
# gives them back when the last process that inherited them has ended, so there is no moment at which a
# process lives and its lock is free.
folder=$1 task=$4 script=$5

hold() {  # DESCRIPTOR NAME COUNT: one of COUNT locks
    tried=0
    while [ "$tried" -lt "$3" ]; do
        eval "exec $1>>\\"$folder/locks/$2-$((($$ + tried) % $3))\\""
        flock -n "$1" && return
        tried=$((tried + 1))
    done
    echo "more than $3 at once: $2, by $task" >>"$folder/violations"
}

hold 7 "task-$task" 1
if [ "$3" -gt 0 ]; then
    hold 8 "action-$2" "$3"
    hold 9 global GLOBAL_SIZE
fi
eval "$script"
"""

LIVE = "echo up; exec sleep 100"
STUBBORN = "trap '' TERM; echo up; sleep 100"
BRIEF = (
    "exit 1",
    "echo a; echo b",
    "echo a; exec sleep 0.05",
    "exec sleep 0.1",
    "sleep 0.1 & echo c; exit 2",
    # Leftovers that hold the output, and one that does not: then the exit is told, but the task is not gone.
    "(trap '' TERM; exec sleep 0.2) & exit 0",
    "(trap '' TERM; exec sleep 0.4 >&- 2>&-) & exit 3",
)
SCRIPTS = (*BRIEF * 3, LIVE, STUBBORN)

GLOBAL_SIZE = 8
LARGEST = {"steady": 3, "storm": 3, "resized": 4, "reloaded": 3, "passing": 2, "unique": 2}
"""The largest that the pool of an action ever is. No start of these is forced, so no more ever run."""
FORCED = "forced"
"""Of this action some are: its children hold the lock of their task alone."""
ACTIONS = (*LARGEST, FORCED)


def config(folder: Path, values: Mapping[str, Any], *, passing: bool = True) -> str:
    """Return a configuration; ``values`` are what reloads change, ``passing`` an action that comes and goes."""

    def action(name: str, *keys: str) -> str:
        lines = [
            f"  {name}:",
            "    type: exec",
            "    stop_grace: 300ms",
            "    config:",
            "      entrypoint: sh",
            f'      command: ["{folder}/child.sh", "{folder}", {name}, "{LARGEST.get(name, 0)}",'
            ' "[[.task]]", "[[.script]]"]',
            '      parameters: {script: {}, task: {}, key: {default: ""}}',
            *(f"    {key}" for key in keys),
        ]
        return "\n".join(lines)

    parts = [
        'listen: "127.0.0.1:0"',
        f"task_pool: {{size: {values['general']}, queue_size: 12}}",
        "actions:",
        action("steady", "task_pool: {size: 3, queue_size: 3}"),
        action(
            "storm",
            "task_pool: {size: 3, queue_size: 3}",
            f"retry: {{restart_delay: {values['delay']}, restart_jitter: 20ms,"
            f" error_threshold: {values['threshold']}, release_slot: {values['release']}}}",
        ),
        action(
            "resized",
            "task_pool: {size: 2, queue_timeout: 300ms, queue: {size: 3, displace: true}}",
        ),
        action("reloaded", f"task_pool: {{size: {values['reloaded']}, queue: {{order: last}}}}"),
        action(
            "unique",
            "dedupe_key: [key]",
            "task_pool: {size: 2}",
            "retry: {restart_delay: 50ms, error_threshold: 4}",
        ),
        action(FORCED, "task_pool: {size: 2, excess: {action: stop}}"),
    ]
    if passing:
        parts.append(action("passing", "task_pool: {size: 2, queue: {enabled: false}}"))
    return "\n".join(parts) + "\n"


CALM: Mapping[str, Any] = {
    "general": GLOBAL_SIZE,
    "delay": "10ms",
    "threshold": 3,
    "release": "true",
    "reloaded": 2,
}
MISTAKES = ("wrong: 1\n", "retain: {count: -1}\n", "  broken: {type: exec\n", "name: [")


# ------------------------------------------------------------------------------- who takes part in it


class Caller:
    """A connection that asks, and keeps what it is still owed an answer to."""

    def __init__(self, port: int) -> None:
        self.client = RawClient(port)
        self.owed: set[str] = set()
        self._messages = self.client.messages()
        self._number = 0

    def send(self, **fields: Any) -> str:
        """Send a request, which is owed an answer from now on."""
        self._number += 1
        number = f"request-{self._number}"
        self.owed.add(number)
        self.client.send(id=number, **fields)
        return number

    def ask(self, **fields: Any) -> Message:
        """Send a request and return its answer."""
        number = self.send(**fields)
        for message in self._messages:
            self.owed.discard(message.get("id", ""))
            if message.get("id") == number:
                return message
        raise AssertionError(f"closed with {self.client.close_code}")

    def close(self, code: int | None) -> None:
        """Go, with a word if there is a code."""
        if code is not None:
            self.client.socket.sendall(RawClient.frame(code.to_bytes(2), 8))
        self.client.close()


class Participant(threading.Thread, ABC):
    """Does one thing after another until the end; ``failure`` is what went wrong."""

    def __init__(self, daemon: Daemon, seed: str, end: float) -> None:
        super().__init__(daemon=True)
        self.process = daemon
        self.chance = random.Random(seed)
        self.end = end
        self.failure: BaseException | None = None
        self.steps = 0

    def run(self) -> None:
        try:
            while time.monotonic() < self.end:
                self.step()
                self.steps += 1
        except BaseException as error:
            self.failure = error

    @abstractmethod
    def step(self) -> None:
        """Do one thing."""


class Trouble(Participant):
    """A client that does whatever a client may do. Every request has to be answered."""

    def __init__(self, daemon: Daemon, seed: str, end: float) -> None:
        super().__init__(daemon, seed, end)
        self.caller = Caller(daemon.port)
        steps: dict[Callable[[], object], int] = {
            self._start: 40,
            self._stop: 20,
            self._restart: 6,
            self._reset: 5,
            self._set_pool: 8,
            self._purge: 1,
            self._list: 3,
            self._subscribe: 4,
            self._unsubscribe: 3,
            self._replay: 4,
            self._reconnect: 2,
        }
        self._steps, self._weights = list(steps), list(steps.values())

    def step(self) -> None:
        (do,) = self.chance.choices(self._steps, self._weights)
        do()

    def _task(self, action: str) -> str:
        # Shared with the other clients. Some ids belong to all actions: a task may change its own.
        group = action if self.chance.random() < 0.8 else "any"
        return f"{group}-{self.chance.randrange(6)}"

    def _some_task(self) -> str:
        return self._task(self.chance.choice(ACTIONS))

    def _start(self) -> None:
        action = self.chance.choice(ACTIONS)
        named = self.chance.random() < 0.9
        task_id = self._task(action) if named else f"{action}-{self.chance.getrandbits(64)}"
        request: dict[str, Any] = {
            "action": action,
            "params": {
                "task": task_id,
                "script": self.chance.choice(SCRIPTS),
                "key": str(self.chance.randrange(4)),
            },
            "force": action == FORCED and self.chance.random() < 0.3,
            "on_duplicate": self.chance.choice(["error", "error", "attach", "replace"]),
        }
        if named:
            request["task_id"] = task_id
        if self.chance.random() < 0.2:
            delay = self.chance.choice(["0s", "20ms", "200ms"])
            request["retry_policy"] = {"restart_delay": delay, "error_threshold": 3}
        # The answer may have to wait until the task in the way is gone.
        self.caller.send(type="start", **request)
        self.caller.ask(type="pool_info")

    def _stop(self) -> None:
        grace = self.chance.choice(["", "0s", "100ms", "1s"])
        self.caller.ask(type="stop", task_id=self._some_task(), grace=grace, ack=True)

    def _restart(self) -> None:
        grace = self.chance.choice(["", "0s", "100ms"])
        self.caller.send(type="restart", task_id=self._some_task(), grace=grace)
        self.caller.ask(type="pool_info", action="steady")

    def _reset(self) -> None:
        self.caller.ask(type="reset", task_id=self._some_task())

    def _set_pool(self) -> None:
        actions: dict[str, dict[str, Any]] = {
            "": {"size": self.chance.randrange(5, GLOBAL_SIZE + 1)},
            "resized": {
                "size": self.chance.randrange(1, LARGEST["resized"] + 1),
                "queue_size": self.chance.randrange(0, 5),
            },
            FORCED: {"size": self.chance.randrange(1, 4)},
        }
        action, settings = self.chance.choice(list(actions.items()))
        excess = {
            "action": self.chance.choice(["stop", "requeue", "requeue", ""]),
            "order": self.chance.choice(["first", "last"]),
            "grace": self.chance.choice([0, 1]),
        }
        self.caller.ask(type="set_pool", action=action, excess=excess, **settings)

    def _purge(self) -> None:
        self.caller.ask(type="purge", action=self.chance.choice(["", *ACTIONS]))

    def _list(self) -> None:
        state = self.chance.choice(["", "active", "queued", "errored"])
        self.caller.ask(type="list", state=state)

    def _subscribe(self) -> None:
        snapshot, output = self.chance.random() < 0.3, self.chance.random() < 0.8
        task_id = self.chance.choice(["*", self._some_task()])
        self.caller.ask(type="subscribe", task_id=task_id, snapshot=snapshot, output=output)

    def _unsubscribe(self) -> None:
        self.caller.ask(type="unsubscribe", task_id=self.chance.choice(["*", self._some_task()]))

    def _replay(self) -> None:
        since = self.chance.randrange(0, 20)
        self.caller.ask(type="replay", task_id=self._some_task(), since_seq=since, ack=True)

    def _reconnect(self) -> None:
        self.caller.close(self.chance.choice([None, 1000]))
        self.caller = Caller(self.process.port)


class Reloads(Participant):
    """Writes one configuration after another, right and wrong ones, and has each read."""

    def step(self) -> None:
        values = {
            "general": self.chance.randrange(5, GLOBAL_SIZE + 1),
            "delay": self.chance.choice(["0s", "10ms", "100ms"]),
            "threshold": self.chance.choice([2, 3, 5]),
            "release": self.chance.choice(["true", "false"]),
            "reloaded": self.chance.randrange(1, LARGEST["reloaded"] + 1),
        }
        text = config(self.process.folder, values, passing=self.chance.random() < 0.6)
        if self.chance.random() < 0.25:
            self.read(text + self.chance.choice(MISTAKES), "the configuration was not reloaded: ")
        else:
            self.read(text, "the configuration was reloaded: ")

    def read(self, text: str, told: str) -> None:
        """Have a configuration read and wait until the daemon has said what it made of it."""
        (self.process.folder / "config-0.yaml").write_text(text)
        size = len(self.process.log)
        self.process.process.send_signal(signal.SIGHUP)
        eventually(lambda: told in self.process.log[size:])


class Watcher(threading.Thread):
    """Subscribed to everything: counts what is told, and holds it against what a client may rely on.

    :ivar problems: what was told that should not have been.
    """

    def __init__(self, port: int) -> None:
        super().__init__(daemon=True)
        self.told: Counter[str] = Counter()
        self.problems: list[str] = []
        self._client = RawClient(port)
        self._answers: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._pid_of: dict[str, int] = {}
        self._waiting: set[str] = set()
        self._last_seq: dict[str, int] = {}
        self._limits = dict(LARGEST)

    def run(self) -> None:
        for message in self._client.messages():
            if message.get("id"):
                self._answers.put(message)
            else:
                self._take(message)

    def ask(self, **fields: Any) -> Message:
        """Return an answer; everything that came before it has been counted by then."""
        self._client.send(**fields)
        return self._answers.get(timeout=DEADLINE)

    def _take(self, message: Message) -> None:
        kind = message["type"]
        if kind == "started":
            kind = "restarted" if "restart_of" in message else "started"
        if kind == "lagged":
            self.told["output"] += message["dropped"]
            self._last_seq[message["task_id"]] = message["to_seq"]
        self.told[kind] += 1
        if kind == "pool_updated":
            self._note_limit(message)
        elif kind != "lagged":
            problem = self._problem(kind, message["task_id"], message)
            if problem:
                self.problems.append(f"{problem}: {message}")

    def _note_limit(self, message: Message) -> None:
        if message.get("action") == "resized":
            # What ran when the limit was lowered may run on; no other may come as long as it does.
            info = message["pool"]
            self._limits["resized"] = max(info["limit"], info["running"])

    def _problem(self, kind: str, task_id: str, message: Message) -> str:
        """Take note of one event of a task, and return what is wrong with it."""
        running, waiting = task_id in self._pid_of, task_id in self._waiting
        problem = ""
        if kind in ("started", "restarted"):
            self._waiting.discard(task_id)
            self._pid_of[task_id] = message["pid"]
            problem = "started while running" if running else self._over_a_limit()
        elif kind == "queued":
            self._waiting.add(task_id)
            problem = "queued while running or queued" if running or waiting else ""
        elif kind == "dequeued":
            self._waiting.discard(task_id)
            problem = "" if waiting else "dequeued and was not queued"
        elif kind == "exited":
            pid = self._pid_of.pop(task_id, None)
            problem = "" if pid == message["pid"] else "exited and was not running"
        elif kind == "output":
            last, seq = self._last_seq.get(task_id, 0), message["seq"]
            self._last_seq[task_id] = seq
            if self._pid_of.get(task_id) != message["pid"]:
                problem = "output of no running process"
            elif seq not in (last + 1, 1):  # 1: the task was forgotten and is another one now
                problem = f"output out of order after {last}"
        elif running:
            problem = f"{kind} while running"
        return problem

    def _over_a_limit(self) -> str:
        running = Counter(task_id.partition("-")[0] for task_id in self._pid_of)
        for action, limit in self._limits.items():
            if running[action] > limit:
                return f"{running[action]} of {action} run, and the limit is {limit}"
        unforced = sum(running[action] for action in LARGEST)
        return "" if unforced <= GLOBAL_SIZE else f"{unforced} run, and the limit is {GLOBAL_SIZE}"


# ------------------------------------------------------------------------------- a storm of clients

CLIENTS = 10
ORDINARY, LONG = 3.0, float(os.environ.get("OVERSEER_STORM_SECONDS", "60"))


@pytest.mark.parametrize("seconds", [ORDINARY, pytest.param(LONG, marks=pytest.mark.slow)])
def test_a_storm_of_clients_and_reloads(launch: Launch, tmp_path: Path, seconds: float) -> None:
    """Whatever they do: limits hold, a task runs once at a time, counters add up, and nothing is left."""
    seed = "storm" if seconds == ORDINARY else str(time.time_ns())
    print(f"seed: {seed}")
    (tmp_path / "locks").mkdir()
    (tmp_path / "child.sh").write_text(CHILD.replace("GLOBAL_SIZE", str(GLOBAL_SIZE)))
    violations = tmp_path / "violations"
    violations.touch()
    daemon = launch(config(tmp_path, CALM))
    watcher = Watcher(daemon.port)
    watcher.start()
    watcher.ask(type="subscribe", task_id="*")

    end = time.monotonic() + seconds
    clients = [Trouble(daemon, f"{seed} client {number}", end) for number in range(CLIENTS)]
    reloads = Reloads(daemon, f"{seed} reloads", end)
    everybody: list[Participant] = [*clients, reloads]
    for participant in everybody:
        participant.start()
    for participant in everybody:
        participant.join()
    for participant in everybody:
        if participant.failure is not None:
            raise participant.failure
    print(f"{sum(client.steps for client in clients)} requests, {reloads.steps} reloads,", end=" ")
    assert min(client.steps for client in clients) > 10
    assert reloads.steps > 2
    reloads.read(config(tmp_path, CALM), "the configuration was reloaded: ")

    caller = Caller(daemon.port)
    caller.ask(type="purge")

    def nothing_goes_on() -> bool:
        tasks = caller.ask(type="list")["tasks"]
        going_on = [task for task in tasks if task["state"] in ("active", "queued")]
        for task in going_on:
            caller.ask(type="stop", task_id=task["task_id"], grace="0s", ack=True)
        return not going_on and caller.ask(type="pool_info")["pool"]["running"] == 0

    eventually(nothing_goes_on)
    for client in clients:
        client.caller.ask(type="list", limit=1)
        assert client.caller.owed == set()
        client.caller.close(1000)

    counters = watcher.ask(type="metrics")["global"]
    told = watcher.told
    print(dict(told))
    assert watcher.problems == []
    assert violations.read_text() == ""
    assert {
        "tasks_started": told["started"],
        "tasks_restarted": told["restarted"],
        "tasks_errored": told["errored"],
        "total_output_lines": told["output"],
        "enqueued": told["queued"],
        "dequeued": told["dequeued"],
    }.items() <= counters.items()
    assert told["exited"] == told["started"] + told["restarted"]
    assert counters["tasks_started"] == counters["tasks_completed"] + counters["tasks_errored"]
    parts = [watcher.ask(type="metrics", action=name)["action"] for name in ACTIONS]
    for name in parts[0]:
        assert sum(part[name] for part in parts) == counters[name], name
    for action, info in caller.ask(type="pool_info")["pools"].items():
        assert (info["running"], info["queue_depth"]) == (0, 0), action
    eventually(lambda: not daemon.descendants())

    # And with everything that there can be, running, waiting and about to run again:
    for number, script in enumerate((LIVE, STUBBORN, *BRIEF) * 2):
        for action in ("steady", "storm", "unique", FORCED):
            task_id = f"{action}-last-{number}"
            params = {"task": task_id, "script": script, "key": str(number)}
            caller.ask(type="start", action=action, task_id=task_id, params=params)
    assert daemon.stop() == 0
    watcher.join(DEADLINE)
    # By locks and not by pids: in ten minutes those come up again.
    for path in (tmp_path / "locks").iterdir():
        with path.open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # or something of a child is alive
    assert violations.read_text() == ""
    assert watcher.problems == []
    for sign in ("Traceback", "Unhandled", "see the log"):
        assert sign not in daemon.log


# ------------------------------------------------------------------------------ a storm of retries

RETRIES = """
listen: "127.0.0.1:0"
actions:
  storm:
    type: exec
    config: {entrypoint: sh, command: ["-c", "echo failing; exit 1"]}
    retry: {restart_delay: "0s", error_threshold: 3}
    task_pool: {size: 4, queue_size: 1000}
"""
PROBE = Path(__file__).with_name("reactor_probe.py")
TURN = 50.0
"""Milliseconds for which nobody else may be kept waiting."""


@pytest.mark.parametrize("rounds", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_a_storm_of_retries(launch: Launch, rounds: int) -> None:
    """200 tasks that all exit at once: the limit holds at every moment, and the reactor is never blocked.

    A turn that takes long while it does not compute is the machine's, which runs other things too.
    """
    daemon = launch(RETRIES, command=(sys.executable, str(PROBE)))
    count = 200
    running: set[int] = set()
    kinds: Counter[str] = Counter()
    with daemon.raw_client() as client:
        messages = client.messages()
        for _ in range(rounds):
            for number in range(count):
                client.send(type="start", action="storm", task_id=f"t{number}")
            errored = 0
            while errored < count:
                message = next(messages)
                kinds[message["type"]] += 1
                if message["type"] == "started":
                    running.add(message["pid"])
                    assert len(running) <= 4
                elif message["type"] == "exited":
                    running.remove(message["pid"])
                errored += message["type"] == "errored"
        runs = 3 * count * rounds
        assert (kinds["started"], kinds["exited"], kinds["output"]) == (runs, runs, runs)
        assert (kinds["restarting"], kinds["errored"]) == (2 * count * rounds, count * rounds)
        client.send(type="metrics", action="storm", id="metrics")
        counters = client.until(lambda message: message.get("id") == "metrics")[-1]["action"]
        assert counters == {
            "tasks_started": count * rounds,
            "tasks_completed": 0,
            "tasks_errored": count * rounds,
            "tasks_restarted": 2 * count * rounds,
            "total_output_lines": runs,
        }
        client.send(type="pool_info", action="storm", id="pool")
        pool = client.until(lambda message: message.get("id") == "pool")[-1]["pool"]
        assert pool == {"limit": 4, "running": 0, "queue_depth": 0}
    assert daemon.stop() == 0
    told = daemon.wait_for_log(r"longest of (\d+) turns took (\S+) ms.* busiest (\S+) ms")
    print(told[0])
    turns, _longest, busiest = map(float, told.groups())
    assert turns > runs
    assert busiest < TURN
