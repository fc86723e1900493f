"""One session and the daemon around it, as tests want them: real but for workers, transport and time."""

import json
from typing import Any

from lifecycle_fakes import FakeHandler, FakeSettings, FakeWorker, decode_frames, fake_action
from twisted.internet.task import Clock

from overseer.core.process import Outcome, Stream
from overseer.core.tokens import Role
from overseer.lifecycle.retention import Retention
from overseer.lifecycle.subscriptions import Subscriptions
from overseer.lifecycle.supervisor import Defaults, Supervisor
from overseer.lifecycle.surroundings import Surroundings
from overseer.protocol.outbox import Outbox, SendBudget
from overseer.session import Session

NOON = 1_700_000_000_000_000
MEBIBYTE = 1024 * 1024


class BusyClock(Clock):
    """A clock that also moves by ``step`` whenever somebody looks at it, as time does during work."""

    step = 0.0

    def seconds(self) -> float:
        self.rightNow += self.step
        return float(self.rightNow)

    def turn(self) -> None:
        """Call what is due now, but nothing that this makes due: one round of a reactor."""
        due = [call for call in self.calls if call.time <= self.rightNow]
        for call in due:
            self.calls.remove(call)
            call.called = 1
            call.func(*call.args, **call.kw)


def action_settings(name: str, **keys: Any) -> FakeSettings:
    """Return what is configured of an action that is never held."""
    settings = FakeSettings(name)
    for key, value in {"description": "Says it.", "backpressure": "drop", **keys}.items():
        setattr(settings, key, value)
    return settings


class Client:
    """A session, its outbox, and what it was told."""

    def __init__(self, daemon: "Daemon", limit: int = 8 * MEBIBYTE, role: Role = "admin") -> None:
        self.daemon = daemon
        self.frames: list[bytes] = []
        self.reading: list[bool] = []
        self.overflows = 0
        self.outbox = Outbox(self.frames.append, self._overflowed, limit, SendBudget(64 * MEBIBYTE))
        self.session = Session(
            daemon.supervisor,
            self.outbox,
            daemon.clock,
            lambda: b'{"protocol":"test"}',
            self.reading.append,
            role=role,
        )

    def _overflowed(self) -> None:
        self.overflows += 1
        self.session.close()

    def send(self, **request: Any) -> None:
        self.session.receive(json.dumps(request).encode())

    def ask(self, **request: Any) -> list[dict[str, Any]]:
        """Send a request and return what it leads to at once."""
        self.told()
        self.send(**{"id": "r1", **request})
        self.daemon.clock.advance(0)
        return self.told()

    def told(self) -> list[dict[str, Any]]:
        """Return what came since the last look."""
        frames = b"".join(self.frames)
        self.frames.clear()
        return decode_frames(frames)

    def resume(self) -> None:
        """The client reads again, as the transport tells outbox and session."""
        self.outbox.resume()
        self.session.outbox_changed()


class Daemon:
    """Everything around a session, with time standing still."""

    def __init__(
        self,
        retention: Retention | None = None,
        defaults: Defaults | None = None,
        echo: FakeSettings | None = None,
    ) -> None:
        self.clock = BusyClock()
        self.now = NOON
        self.echo = FakeHandler()
        numbers = iter(range(1, 10**6))
        self.supervisor = Supervisor(
            {
                "echo": fake_action(echo or action_settings("echo"), self.echo),
                "big": fake_action(
                    action_settings("big", description="x" * 300_000), FakeHandler()
                ),
            },
            Surroundings(
                clock=self.clock,
                now=lambda: self.now,
                random=lambda: 0.5,
                subscriptions=Subscriptions(),
                line_size=MEBIBYTE,
            ),
            retention or Retention(),
            lambda: f"id-{next(numbers)}",
            defaults,
        )

    @property
    def worker(self) -> FakeWorker:
        return self.echo.workers[-1]

    def begin(self, task_id: str = "t", pid: int = 7) -> Client:
        """Start a task and return the client that did."""
        client = Client(self)
        client.ask(type="start", action="echo", task_id=task_id)
        self.worker.spawn(pid)
        client.told()
        return client

    def output(self, *lines: str, stream: Stream = "stdout") -> None:
        self.worker.write("".join(f"{line}\n" for line in lines).encode(), stream)

    def exit(self, code: int = 0) -> None:
        self.worker.end(Outcome(code))


def error(message: str, identifier: str = "r1") -> list[dict[str, Any]]:
    return [{"type": "error", "id": identifier, "message": message}]
