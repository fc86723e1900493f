"""The client in the daemon's own process: a session without a socket, an admin like the one on stdio.

What it is told comes a turn of the reactor later, so that an application's own code never runs in the middle
of what the daemon is doing.
"""

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from overseer.client.link import Receiver
from overseer.lifecycle.supervisor import Supervisor
from overseer.protocol.frames import payloads
from overseer.protocol.outbox import Outbox, SendBudget
from overseer.session import Session


class LocalLink:
    """One connection in memory.

    :param receiver: the client.
    :param manifest: gives the manifest as JSON.
    :param send_buffer: bytes of output that may wait for the client.
    :param budget: what may wait for all clients together.
    """

    def __init__(
        self,
        clock: IReactorTime,
        receiver: Receiver,
        supervisor: Supervisor,
        manifest: Callable[[], bytes],
        *,
        send_buffer: int,
        budget: SendBudget,
    ) -> None:
        self._clock = clock
        self._receiver = receiver
        self._told: list[bytes] = []
        self._delivery: IDelayedCall | None = None
        self._open = True
        self._outbox = Outbox(self._write, self._overflowed, send_buffer, budget)
        self._session = Session(
            supervisor,
            self._outbox,
            clock,
            manifest,
            lambda _wanted: None,  # what the application asks is in its own memory anyway
            role="admin",
        )

    def send(self, payload: bytes) -> None:
        """See :class:`~overseer.client.link.Link`."""
        self._session.receive(payload)

    def pause(self) -> None:
        """See :class:`~overseer.client.link.Link`."""
        self._outbox.pause()

    def resume(self) -> None:
        """See :class:`~overseer.client.link.Link`."""
        self._outbox.resume()
        self._session.outbox_changed()

    def close(self, reason: str = "the client closed the connection") -> None:
        """See :class:`~overseer.client.link.Link`; what was told before still arrives."""
        if not self._open:
            return
        self._outbox.resume()
        self._open = False
        self._session.close()
        if self._delivery is not None:
            self._delivery.cancel()
        self._deliver()
        self._receiver.lost(reason)

    def _write(self, frames: bytes) -> None:
        self._told.append(frames)
        if self._delivery is None and self._open:
            self._delivery = self._clock.callLater(0, self._deliver)

    def _deliver(self) -> None:
        self._delivery = None
        told, self._told = self._told, []
        if told:
            self._receiver.received(payloads(b"".join(told)))

    def _overflowed(self) -> None:
        self._clock.callLater(0, self.close, "too slow for what it must be told")
