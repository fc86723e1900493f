"""The connection to an overseer of one's own: a child process that listens on its stdin and stdout."""

# mypy: allow-untyped-calls

import os
import sys
from typing import Any

from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

from overseer.client.address import StdioAddress
from overseer.client.errors import ConnectionRefused
from overseer.client.link import Receiver

_STDOUT = 1


class StdioLink(ProcessProtocol):
    """One overseer of one's own. It ends when its input does, and stops its tasks before that."""

    transport: Any

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._unfinished: list[bytes] = []

    def send(self, payload: bytes) -> None:
        """See :class:`~overseer.client.link.Link`."""
        self.transport.write(payload + b"\n")

    def pause(self) -> None:
        """See :class:`~overseer.client.link.Link`."""
        self.transport.pipes[_STDOUT].pauseProducing()

    def resume(self) -> None:
        """See :class:`~overseer.client.link.Link`."""
        if _STDOUT in self.transport.pipes:
            self.transport.pipes[_STDOUT].resumeProducing()

    def close(self) -> None:
        """See :class:`~overseer.client.link.Link`."""
        self.transport.closeStdin()

    def outReceived(self, data: bytes) -> None:
        """Take messages, one a line."""
        whole, newline, rest = data.rpartition(b"\n")
        if not newline:
            self._unfinished.append(data)
            return
        lines = b"".join([*self._unfinished, whole]).split(b"\n")
        self._unfinished = [rest] if rest else []
        self._receiver.received(lines)

    def processEnded(self, reason: Failure) -> None:
        """The overseer has ended."""
        status = getattr(reason.value, "exitCode", None)
        told = "by a signal" if status is None else f"with status {status}"
        self._receiver.lost(f"the overseer ended {told}")


async def dial_stdio(reactor: Any, address: StdioAddress, receiver: Receiver) -> StdioLink:
    """Start an overseer of one's own; what it logs goes to stderr.

    :raises ConnectionRefused: when no process can be started.
    """
    link = StdioLink(receiver)
    command = [sys.executable, "-m", "overseer"]
    if address.config is not None:
        command += ["--config", address.config]
    environment = {**os.environ, "OVERSEER_LISTEN": "stdio"}
    try:
        reactor.spawnProcess(
            link, command[0], command, env=environment, childFDs={0: "w", 1: "r", 2: 2}
        )
    except OSError as error:
        raise ConnectionRefused(f"cannot start an overseer: {error}") from error
    return link  # what is written to it waits in the pipe until it reads
