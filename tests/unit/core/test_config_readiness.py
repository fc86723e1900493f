"""When a task is ready and what it waits for, as it is configured."""

import pytest

from overseer.core.config import ActionConfig, ConfigError, load_config
from overseer.core.dependencies import Dependency
from overseer.core.readiness import (
    ExecCheck,
    HttpCheck,
    LogLineCheck,
    ReadinessProbe,
    TcpCheck,
)

CONFIG = """
actions:
  db: {{type: exec, ready_log_line: up, config: {{entrypoint: db}}}}
  x: {{type: exec, {}, config: {{entrypoint: x}}}}
"""


def action(text: str) -> ActionConfig:
    return load_config(CONFIG.format(text), "config.yaml").actions["x"]


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_config(CONFIG.format(text), "config.yaml")
    found = [str(problem) for problem in caught.value.problems]
    return [text.removeprefix("config.yaml:4: actions.x.") for text in found]


def test_nothing() -> None:
    config = action("description: d")
    assert (config.readiness, config.depends_on, config.autostart) == (None, (), False)


@pytest.mark.parametrize(
    ("text", "probe"),
    [
        ("http_get: {}",
         ReadinessProbe(check=HttpCheck(
             host="127.0.0.1", scheme="http", path="/", port="", status_code=200))),
        ("http_get: {host: h, scheme: https, path: /p, port: '[[.p]]', status_code: 204}",
         ReadinessProbe(check=HttpCheck(
             host="h", scheme="https", path="/p", port="[[.p]]", status_code=204))),
        ("tcp: {port: 5432}", ReadinessProbe(check=TcpCheck(host="127.0.0.1", port="5432"))),
        ("exec: {command: [pg_isready, -h, '[[.h]]']}",
         ReadinessProbe(check=ExecCheck(command=("pg_isready", "-h", "[[.h]]")))),
        ('exec: {command: "test -e ''[[.a]] b''"}',
         ReadinessProbe(check=ExecCheck(command=("test", "-e", "[[.a]]", "b")))),
        ("tcp: {port: 1}, initial_delay_seconds: 2, period_seconds: 0.5, timeout_seconds: 3,"
         " success_threshold: 4, failure_threshold: 5",
         ReadinessProbe(check=TcpCheck(host="127.0.0.1", port="1"), initial_delay=2.0, period=0.5,
                        timeout=3.0, success_threshold=4, failure_threshold=5)),
    ],
)  # fmt: skip
def test_probes(text: str, probe: ReadinessProbe) -> None:
    assert action(f"readiness_probe: {{{text}}}").readiness == probe


def test_a_line_instead_of_a_probe() -> None:
    assert action("ready_log_line: listening").readiness == ReadinessProbe(
        check=LogLineCheck(text="listening")
    )


@pytest.mark.parametrize(
    ("written", "condition"),
    [
        *((name, name) for name in ("started", "ready", "completed", "completed_successfully")),
        ("process_started", "started"),
        ("{condition: process_healthy}", "ready"),
        ("{condition: process_log_ready}", "ready"),
        ("{condition: process_completed}", "completed"),
        ("process_completed_successfully", "completed_successfully"),
    ],
)
def test_conditions(written: str, condition: str) -> None:
    """In short and as in process-compose, by themselves and in a mapping."""
    depends_on = action(f"depends_on: {{db: {written}}}").depends_on
    assert [(one.action, one.condition) for one in depends_on] == [("db", condition)]
    assert all(isinstance(one, Dependency) for one in depends_on)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("readiness_probe: {period_seconds: 1}",
         "readiness_probe: expected exactly one of http_get, tcp, exec"),
        ("readiness_probe: {tcp: {port: 1}, exec: {command: [a]}}",
         "readiness_probe: expected exactly one of http_get, tcp, exec"),
        ("readiness_probe: {tcp: {}}", "readiness_probe.tcp.port: is required"),
        ("readiness_probe: {tcp: {port: 1}, period_seconds: 0}",
         "readiness_probe.period_seconds: expected a number of seconds above 0, at most 1000000000,"
         " got 0"),
        ("readiness_probe: {exec: {command: []}}", "readiness_probe.exec.command: names no program"),
        ("readiness_probe: {exec: {command: '[[.a]] b'}}",
         "readiness_probe.exec.command: the program may not depend on parameters: only arguments may"),
        ("readiness_probe: {exec: {command: 'a \"b'}}",
         "readiness_probe.exec.command: no closing quotation"),
        ("readiness_probe: {exec: {command: ['a', '[[']}}",
         "readiness_probe.exec.command[1]: template line 1: expected ]], found end of the template"),
        ("readiness_probe: {tcp: {port: 1}}, ready_log_line: up",
         "ready_log_line: not together with readiness_probe"),
        ("depends_on: {db: soon}",
         "depends_on.db: expected one of started, ready, completed, completed_successfully,"
         " process_started, process_healthy, process_log_ready, process_completed,"
         ' process_completed_successfully, got "soon"'),
        ("depends_on: {db: ~}", "depends_on.db: expected a condition"),
        ("depends_on: {db: {}}", "depends_on.db.condition: is required"),
        ("depends_on: {nobody: started}", "depends_on.nobody: there is no such action"),
        ("depends_on: {x: completed}",
         "depends_on: the actions wait for each other: x → x"),
    ],
)  # fmt: skip
def test_mistakes(text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_ready_needs_something_that_tells_it() -> None:
    text = "actions:\n  a: {type: exec, depends_on: {b: ready}}\n  b: {type: exec}\n"
    with pytest.raises(ConfigError) as caught:
        load_config(text, "config.yaml")
    assert str(caught.value) == (
        "config.yaml:2: actions.a.depends_on.b:"
        " the action has neither readiness_probe nor ready_log_line"
    )
