"""The last bytes of a pipe."""

import os
from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.python.failure import Failure

from overseer.process.pipes import OutputPipe


class Reactor:
    """Notes who is read."""

    def __init__(self) -> None:
        self.readers: list[object] = []

    def addReader(self, reader: object) -> None:
        self.readers.append(reader)

    def removeReader(self, reader: object) -> None:
        if reader in self.readers:
            self.readers.remove(reader)


def test_what_is_left_at_a_hang_up_is_still_read() -> None:
    """A terminal may be told to have hung up before its last lines were read."""
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    told: list[Any] = []
    reactor = Reactor()
    pipe = OutputPipe(reactor, read_end, told.append, lambda: told.append("ended"))
    pipe.resume()
    os.write(write_end, b"the last line\n")
    os.close(write_end)
    pipe.connectionLost(Failure(ConnectionLost()))
    assert told == [b"the last line\n", "ended"]
    assert (pipe.closed, reactor.readers) == (True, [])
