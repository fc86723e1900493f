"""Prints the events of a task as they come: each stream to its own, as many lines as possible in one write."""

import sys
from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import attrgetter
from typing import BinaryIO, cast

import msgspec

from overseer.cli.outlet import Outlet
from overseer.cli.tables import place_in_queue
from overseer.cli.terminal import notice
from overseer.client.output import Event, OutputBlock
from overseer.core.process import Stream
from overseer.protocol.messages import (
    Errored,
    Exited,
    Lagged,
    Message,
    Output,
    Queued,
    Restarting,
)

_stream = attrgetter("stream")
_data = attrgetter("data")
_partial = attrgetter("partial")


class Printer:
    """Prints events: stdout to stdout, stderr to stderr, and for a person what else happens.

    :param outlet: writes them.
    :param timestamps: whether every line begins with its time.
    :param as_json: print all events as JSON, one a line.
    :param only: the one stream that is printed.
    :param from_what_is_kept: whether older lines, which the daemon keeps no longer, are no loss.
    :param outputs: where the streams go; stdout and stderr unless given.
    """

    def __init__(
        self,
        outlet: Outlet,
        *,
        timestamps: bool = False,
        as_json: bool = False,
        only: Stream | None = None,
        from_what_is_kept: bool = False,
        outputs: Mapping[Stream, BinaryIO] | None = None,
    ) -> None:
        self.outlet = outlet
        self._timestamps = timestamps
        self._as_json = as_json
        self._only = only
        self._from_what_is_kept = from_what_is_kept
        self._outputs = outputs or {"stdout": sys.stdout.buffer, "stderr": sys.stderr.buffer}
        self._encode = msgspec.json.Encoder().encode
        # Whether the last line of a stream goes on.
        self._within: dict[str, bool] = {}

    def print(self, events: Sequence[Event]) -> None:
        """Print events.

        :raises BrokenPipeError: when nobody reads them any more.
        """
        for kind, group in groupby(events, type):
            if kind is Output:
                self._lines(cast("list[Output]", list(group)))
            elif kind is OutputBlock:
                for block in group:
                    self._block(cast("OutputBlock", block))
            else:
                for event in group:
                    self._event(cast("Message", event))

    def _block(self, block: OutputBlock) -> None:
        if self._timestamps or self._as_json:
            self._lines(block.messages())
        elif self._only in (None, block.stream):
            self._within[block.stream] = False
            self._write(block.stream, block.data)

    def _lines(self, lines: list[Output]) -> None:
        for name, group in groupby(lines, _stream):
            if self._only not in (None, name):
                continue
            some = list(group)
            if self._as_json:
                self._write("stdout", b"\n".join([*map(self._encode, some), b""]))
            elif self._timestamps or any(map(_partial, some)):
                self._write(name, "".join(self._pieces(name, some)).encode())
            else:
                self._within[name] = False
                self._write(name, "\n".join([*map(_data, some), ""]).encode())

    def _pieces(self, name: Stream, lines: list[Output]) -> list[str]:
        pieces = []
        for line in lines:
            if self._timestamps and not self._within.get(name):
                pieces.append(f"{line.ts} ")
            pieces.append(line.data)
            self._within[name] = line.partial
            if not line.partial:
                pieces.append("\n")
        return pieces

    def _event(self, event: Message) -> None:
        if self._as_json:
            self._write("stdout", self._encode(event) + b"\n")
            return
        match event:
            case Lagged(from_seq=1) if self._from_what_is_kept:
                pass  # nobody has asked for it
            case Lagged(from_seq=first, to_seq=last):
                what = f"line {first} is" if first == last else f"lines {first} to {last} are"
                self._write("stderr", f"overseer: {what} missing here\n".encode())
            case Queued():
                notice(f"the task {place_in_queue(event.position)}")
            case Restarting():
                notice(f"it starts again in {event.restart_delay}")
            case Exited(reason=reason) if reason is not None:
                notice(f"it was ended: {reason}")
            case Errored(reason=None):
                notice("it has failed too often; `overseer reset` starts it again")
            case Errored(reason=reason):
                notice(f"it has failed for good: {reason}")

    def _write(self, name: Stream, data: bytes) -> None:
        self.outlet.write(self._outputs[name], data)
