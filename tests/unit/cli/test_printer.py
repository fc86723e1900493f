"""What is printed of a task's events: streams apart, lines whole, in one write a batch."""

import io
import json
from typing import Any

import pytest

from overseer.cli import printer
from overseer.cli.outlet import Outlet
from overseer.cli.printer import Printer
from overseer.client.output import Event, OutputBlock
from overseer.protocol.codec import encode_message
from overseer.protocol.frames import text_frame
from overseer.protocol.messages import Errored, Exited, Lagged, Message, Output, Restarting

TS = "2026-11-22T22:07:47.123456Z"


class Recorder(io.BytesIO):
    """Counts what is written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self.writes.append(bytes(data))
        return len(data)


class Screen:
    """A printer, and what it has written."""

    def __init__(self, **options: Any) -> None:
        self.out, self.err = Recorder(), Recorder()
        outlet = Outlet(lambda function, *arguments: function(*arguments))
        self.printer = Printer(outlet, **options, outputs={"stdout": self.out, "stderr": self.err})

    def print(self, *events: Event) -> None:
        self.printer.print(list(events))


def line(data: str, seq: int, stream: str = "stdout", partial: bool = False) -> Output:
    return Output("t", 1, stream, data, TS, seq, partial)  # type: ignore[arg-type]


def exited(code: int = 0) -> Exited:
    return Exited("t", 1, code, False, TS)


def test_a_batch_is_one_write_for_each_run_of_a_stream() -> None:
    """Their order at a terminal, where both go to the same place, is that of the task."""
    events: list[Message] = [
        line("a", 1),
        line("b", 2),
        line("c", 3, "stderr"),
        line("d", 4),
        exited(),
    ]
    screen = Screen()
    screen.print(*events)
    assert screen.out.writes == [b"a\nb\n", b"d\n"]
    assert screen.err.writes == [b"c\n"]


def test_pieces_of_a_line_become_one() -> None:
    """Across batches, and with one time only."""
    screen = Screen()
    screen.print(line("ab", 1, partial=True))
    screen.print(line("cd", 2), line("e", 3))
    assert b"".join(screen.out.writes) == b"abcd\ne\n"
    screen.out.writes.clear()
    screen = Screen(timestamps=True)
    screen.print(line("ab", 1, partial=True))
    screen.print(line("cd", 2), line("é", 3))
    assert b"".join(screen.out.writes).decode() == f"{TS} abcd\n{TS} é\n"


def test_a_block_is_its_lines() -> None:
    """However they are printed."""
    lines = [line("a", 1, "stderr"), line("", 2, "stderr"), line("é", 3, "stderr")]
    frames = b"".join(text_frame(encode_message(one)) for one in lines)
    block = OutputBlock("t", "stderr", "a\n\né\n".encode(), 3, len(frames), frames)
    ways: list[dict[str, Any]] = [
        {},
        {"timestamps": True},
        {"as_json": True},
        {"only": "stdout"},
        {"only": "stderr"},
    ]
    for options in ways:
        screen, expected = Screen(**options), Screen(**options)
        screen.print(line("z", 0, "stderr", partial=True), block, line("b", 4))
        expected.print(line("z", 0, "stderr", partial=True), *lines, line("b", 4))
        assert b"".join(screen.err.writes) == b"".join(expected.err.writes)
        assert b"".join(screen.out.writes) == b"".join(expected.out.writes)


def test_only_one_stream() -> None:
    screen = Screen(only="stderr")
    screen.print(line("a", 1), line("b", 2, "stderr"))
    assert (screen.out.writes, screen.err.writes) == ([], [b"b\n"])


def test_as_json_everything_goes_to_stdout() -> None:
    screen = Screen(as_json=True)
    screen.print(line("a", 1), line("b", 2, "stderr"), exited(3))
    told = [json.loads(text) for text in b"".join(screen.out.writes).splitlines()]
    assert [one["type"] for one in told] == ["output", "output", "exited"]
    assert told[1]["data"] == "b"
    assert screen.err.writes == []


def test_what_got_lost_is_always_told() -> None:
    """What else happens is for terminals only."""
    screen = Screen()
    screen.print(Lagged("t", 1, 5, 5), Restarting("t", 1, "5s", 1, TS))
    assert screen.out.writes == []
    assert screen.err.writes == [b"overseer: lines 1 to 5 are missing here\n"]


def test_who_begins_with_what_is_kept_misses_nothing_older() -> None:
    """The numbers may begin high, too: those of a restored task after a crash."""
    screen = Screen(from_what_is_kept=True)
    screen.print(Lagged("t", 1, 1_000_000, 1_000_000), line("a", 1_000_001))
    screen.print(Lagged("t", 1_000_002, 1_000_002, 1))
    assert screen.out.writes == [b"a\n"]
    assert screen.err.writes == [b"overseer: line 1000002 is missing here\n"]


def test_a_person_is_told_that_a_task_has_failed_for_good(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what to do, where there is something to do."""
    told: list[str] = []
    monkeypatch.setattr(printer, "notice", told.append)
    Screen().print(Errored("t", 1, 3, TS), Errored("t", 1, 0, TS, "unkillable"))
    assert told == [
        "it has failed too often; `overseer reset` starts it again",
        "it has failed for good: unkillable",
    ]
