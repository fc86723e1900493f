"""Printed bytes on their way: files at once, pipes when somebody reads."""

import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any, BinaryIO

import pytest
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from overseer.cli.outlet import Outlet

MUCH = b"0123456789abcde\n" * 65_536
PATIENCE = 30.0


class Loop:
    """The thread that prints, as the test plays it: what the outlet's thread asks for waits until ``turn``."""

    def __init__(self) -> None:
        self.calls: SimpleQueue[tuple[Callable[..., object], tuple[Any, ...]]] = SimpleQueue()
        self.outlet = Outlet(lambda function, *arguments: self.calls.put((function, arguments)))

    def turn(self) -> None:
        function, arguments = self.calls.get(timeout=PATIENCE)
        function(*arguments)


def ends(coroutine: Coroutine[Any, Any, None]) -> list[Failure | None]:
    """Return what a coroutine has returned or raised, as soon as it has."""
    results: list[Failure | None] = []
    Deferred.fromCoroutine(coroutine).addBoth(results.append)
    return results


@pytest.fixture
def pipe() -> Iterator[tuple[int, BinaryIO]]:
    reader, writer = os.pipe()
    with open(writer, "wb", buffering=0) as file:
        yield reader, file


def read(reader: int, size: int) -> bytes:
    found = b""
    while len(found) < size:
        found += os.read(reader, 65_536)
    return found


def test_what_does_not_fit_into_a_pipe_waits(pipe: tuple[int, BinaryIO]) -> None:
    """In its order, while the printing thread goes on."""
    reader, file = pipe
    loop = Loop()
    loop.outlet.write(file, MUCH)
    loop.outlet.write(file, b"end")
    few, none = ends(loop.outlet.settled(len(MUCH))), ends(loop.outlet.settled(2 * len(MUCH)))
    assert (few, none) == ([], [None])
    assert read(reader, len(MUCH) + 3) == MUCH + b"end"
    loop.turn()
    assert few == [None]
    all_written = ends(loop.outlet.settled())
    loop.turn()
    assert all_written == [None]
    os.close(reader)


def test_a_reader_who_is_gone_is_told_of(pipe: tuple[int, BinaryIO]) -> None:
    """To whoever waits, and to whoever goes on writing."""
    reader, file = pipe
    os.close(reader)
    loop = Loop()
    loop.outlet.write(file, b"x")
    waiting = ends(loop.outlet.settled())
    loop.turn()
    (failure,) = waiting
    assert isinstance(failure, Failure)
    assert failure.check(BrokenPipeError)
    with pytest.raises(BrokenPipeError):
        loop.outlet.write(file, b"y")


def test_a_pipe_that_somebody_has_made_nonblocking(pipe: tuple[int, BinaryIO]) -> None:
    reader, file = pipe
    os.set_blocking(file.fileno(), False)
    loop = Loop()
    loop.outlet.write(file, MUCH)
    assert read(reader, len(MUCH)) == MUCH
    os.close(reader)


def test_a_file_is_written_at_once(tmp_path: Path) -> None:
    loop = Loop()
    with (tmp_path / "file").open("wb") as file:
        loop.outlet.write(file, MUCH)
        assert (tmp_path / "file").read_bytes() == MUCH
    assert loop.calls.empty()
