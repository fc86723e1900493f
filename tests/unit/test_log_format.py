"""The daemon's own log as lines of JSON."""

import io
import json

from twisted.logger import Logger

from overseer.cli.log_format import json_observer


def test_a_line_has_time_level_namespace_message_and_fields() -> None:
    """A log collector finds the values without taking the text apart."""
    stream = io.StringIO()
    log = Logger(namespace="overseer.test", observer=json_observer(stream))
    log.warn("{count} tasks\nof {who!r}", count=3, who={"a": "ü"}, odd=object)
    (text,) = stream.getvalue().splitlines()
    line = json.loads(text)
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "warn",
        "namespace": "overseer.test",
        "message": "3 tasks\nof {'a': 'ü'}",
        "fields": {"count": 3, "who": {"a": "ü"}, "odd": "<class 'object'>"},
    }


def test_a_failure_has_its_traceback() -> None:
    """In one line like everything else."""
    stream = io.StringIO()
    log = Logger(namespace="overseer.test", observer=json_observer(stream))
    try:
        raise ValueError("broken")
    except ValueError:
        log.failure("it failed")
    (text,) = stream.getvalue().splitlines()
    line = json.loads(text)
    assert (line["level"], line["message"]) == ("critical", "it failed")
    assert line["traceback"].endswith("ValueError: broken\n")
    assert "fields" not in line
