"""How the daemon's own log looks: lines of text, or of JSON for what collects logs."""

import json
import sys
import traceback
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TextIO

from twisted.logger import (
    FileLogObserver,
    ILogObserver,
    LogEvent,
    formatEvent,
    textFileLogObserver,
)

from overseer.core.timestamps import format_timestamp

# What every event has, told by keys of our own, and what names no value that fits into a line.
_TAKEN = frozenset(
    {"time", "level", "namespace", "message", "isError", "system", "format", "failure"}
)


def format_json(event: LogEvent) -> str:
    """Return an event as one line of JSON: time, level, namespace, message, then its own fields."""
    level = event.get("log_level")
    line: dict[str, object] = {
        "time": format_timestamp(int(event["log_time"] * 1_000_000)),
        "level": getattr(level, "name", "info"),
        "namespace": event.get("log_namespace", "-"),
        "message": formatEvent(event),
    }
    fields = {
        name: value
        for name, value in event.items()
        if name not in _TAKEN and not name.startswith("log_")
    }
    if fields:
        line["fields"] = fields
    failure = event.get("log_failure")
    if failure is not None:
        line["traceback"] = "".join(
            traceback.format_exception(failure.type, failure.value, failure.getTracebackObject())
        )
    return json.dumps(line, ensure_ascii=False, default=str, separators=(",", ":")) + "\n"


def json_observer(stream: TextIO | None = None) -> FileLogObserver:
    """Return an observer that writes lines of JSON, to stderr unless told otherwise.

    ``twistd --logger=overseer.cli.log_format.json_observer`` uses it, too.
    """
    return FileLogObserver(sys.stderr if stream is None else stream, format_json)


OBSERVERS: Mapping[str, Callable[[TextIO], ILogObserver]] = MappingProxyType(
    {"text": textFileLogObserver, "json": json_observer}
)
