"""When a task counts as ready, and what is asked of it."""

import pytest

from overseer.core.readiness import (
    Check,
    ExecCheck,
    HttpCheck,
    LogLineCheck,
    ProbeError,
    ReadinessProbe,
    ReadinessState,
    TcpCheck,
    port_number,
    rendered,
)


def http(**fields: object) -> HttpCheck:
    defaults = {"host": "h", "scheme": "http", "path": "/", "port": "", "status_code": 200}
    return HttpCheck(**{**defaults, **fields})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("successes", "failures", "results", "changes"),
    [
        (1, 1, "+-+", "+-+"),
        (1, 3, "+--+---", "+.....-"),
        (2, 1, "+-++-", "...+-"),
        (3, 2, "+++-+--", "..+...-"),
        (1, 1, "---", "..."),
    ],
)
def test_so_many_in_a_row_change_it(
    successes: int, failures: int, results: str, changes: str
) -> None:
    probe = ReadinessProbe(
        check=LogLineCheck(text=""), success_threshold=successes, failure_threshold=failures
    )
    state = ReadinessState(probe)
    told = ""
    for result in results:
        changed = state.take(result == "+")
        told += ("+" if state.ready else "-") if changed else "."
    assert told == changes


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        (http(host="[[.h]]", port="8[[.p]]", path="/[[.h]]"),
         http(host="db", port="80", path="/db")),
        (TcpCheck(host="[[.h]]", port="[[.p]]"), TcpCheck(host="db", port="0")),
        (ExecCheck(command=("ping", "[[.h]]")), ExecCheck(command=("ping", "db"))),
        (LogLineCheck(text="[[.h]] is up"), LogLineCheck(text="db is up")),
    ],
)  # fmt: skip
def test_templates_become_texts(check: Check, expected: Check) -> None:
    assert rendered(check, {"h": "db", "p": "0"}) == expected


def test_a_template_that_fails_says_so() -> None:
    with pytest.raises(ProbeError, match=r"readiness_probe: template line 1"):
        rendered(LogLineCheck(text="[[slice .h 5]]"), {"h": "db"})


@pytest.mark.parametrize(
    ("check", "url"),
    [
        (http(), "http://h/"),
        (http(scheme="https", host="::1", port="8443", path="a?b"), "https://[::1]:8443/a?b"),
    ],
)
def test_urls(check: HttpCheck, url: str) -> None:
    assert check.url == url


@pytest.mark.parametrize("text", ["", "0", "65536", "99999999999", "http", "²"])
def test_what_is_no_port(text: str) -> None:
    with pytest.raises(ProbeError, match="expected a port from 1 to 65535"):
        port_number(text)
