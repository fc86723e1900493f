"""Writes to a client that do not wait until the reactor asks for them.

Twisted sends nothing at once: it tells epoll that there is something to write, hears that there is room, as
nearly always, sends it, and tells epoll that this was all. For a line to a client that is a large part of the
work. Here what is written to a client in one turn of the reactor is sent by one call right after it, and only
what does not fit goes the long way, which is also what pauses the producer.
"""

from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

PROMPT_SIZE = 64 * 1024
"""Bytes of one client that are gathered in a turn; more is sent within it."""


class Turns:
    """I flush transports after the turn of the reactor in which they were written to."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._waiting: list[PromptTransport] = []

    def flush_soon(self, transport: "PromptTransport") -> None:
        """Flush ``transport`` after this turn."""
        if not self._waiting:
            self._clock.callLater(0, self._flush)
        self._waiting.append(transport)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        for transport in waiting:
            try:
                transport.flush()
            except Exception:
                self._log.failure("cannot write to a client")


class PromptTransport:
    """The transport of one client with a quicker ``write``: over TCP and Unix sockets, not through TLS."""

    def __init__(self, transport: Any, turns: Turns) -> None:
        self._transport = transport
        self._turns = turns
        self._data: list[bytes] = []
        self._size = 0
        # Below a wrapper, as overseer's own listeners have one.
        descriptor = getattr(transport, "transport", transport)
        plain = isinstance(descriptor, FileDescriptor) and hasattr(descriptor, "_tempDataBuffer")
        with_tls = getattr(descriptor, "TLS", False)
        self._descriptor: Any = descriptor if plain and not with_tls else None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send after this turn, or in it if it is much."""
        if self._descriptor is None:
            self._transport.write(data)
            return
        if not self._data:
            self._turns.flush_soon(self)
        self._data.append(data)
        self._size += len(data)
        if self._size > PROMPT_SIZE:
            self.flush()

    def loseConnection(self) -> None:
        """Close once all is sent."""
        self.flush()
        self._transport.loseConnection()

    def flush(self) -> None:
        """Send what was written."""
        if not self._data:
            return
        data = self._data[0] if len(self._data) == 1 else b"".join(self._data)
        self._data.clear()
        self._size = 0
        descriptor = self._descriptor
        # What the reactor is still to send comes first. Twisted keeps it in these two.
        if descriptor.connected and not (descriptor.dataBuffer or descriptor._tempDataBuffer):
            sent = descriptor.writeSomeData(data)
            if sent == len(data):
                return
            if isinstance(sent, int) and sent > 0:  # a lost connection the reactor finds out itself
                data = data[sent:]
        self._transport.write(data)
