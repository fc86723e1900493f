"""What stands between a client and the transport below it: one connection, whatever it runs over."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from overseer.client.output import OutputBlock


class Link(Protocol):
    """One connection, as the client uses it."""

    def send(self, payload: bytes) -> None:
        """Send one message, JSON."""

    def pause(self) -> None:
        """Read nothing more for now."""

    def resume(self) -> None:
        """Read again."""

    def close(self) -> None:
        """End the connection; :meth:`Receiver.lost` follows."""


class Receiver(Protocol):
    """What a connection tells: the client."""

    def received(self, messages: Sequence[bytes | OutputBlock]) -> None:
        """Messages have come, as many as one read gave: JSON each, but for runs of output."""

    def lost(self, reason: str) -> None:
        """The connection is gone. Told once, and only after the connection was made."""


Dial: TypeAlias = Callable[[Receiver], Awaitable[Link]]
"""Makes a connection. It raises :class:`~overseer.client.errors.ConnectionRefused` when there is none."""
