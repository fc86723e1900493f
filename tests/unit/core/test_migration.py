"""What ``check --from-v2`` tells of a file: each key that does something else here, by its line."""

import pytest

from overseer.core.config.migration import GENERAL_DIFFERENCES, differences
from overseer.core.yaml_source import load_yaml

PRIVATE = "listen: 'unix:/run/o.sock:mode=660'\n"


def told(text: str) -> list[str]:
    document = load_yaml(text, "config.yaml")
    return [str(difference).removeprefix("config.yaml:") for difference in differences(document)]


def keys(text: str) -> list[str]:
    """The lines and keys of what is told, of a file that only listens on a Unix socket."""
    return [": ".join(line.split(": ")[:2]) for line in told(PRIVATE + text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Nothing that v2 would have done otherwise.
        ("", []),
        ("retry: {}", []),
        ("retry: false", []),
        ("retry: {restart_delay: null}", []),
        ("task_pool: {}", []),
        ("task_pool: {size: 0, queue_size: 0, queue_timeout: 0s}", []),
        ("task_pool: {queue: {enabled: true, size: 5, displace: false}}", []),
        ("actions: {x: {type: exec, config: {entrypoint: echo}}}", []),
        ("log_file: ''", []),
        # Restarts.
        ("retry: {restart_delay: 0s}", ["2: retry"]),
        ("actions:\n  x:\n    retry: {error_threshold: 0}", ["4: actions.x.retry"]),
        # Flat keys of pools, unless v2's own say the same.
        ("task_pool: {size: 2}", ["2: task_pool.size"]),
        ("task_pool: {limit: 2}", ["2: task_pool.limit"]),
        ("task_pool: {limit: 2, size: 2}", ["2: task_pool.limit"]),
        ("task_pool: {queue_size: 2}", ["2: task_pool.queue_size"]),
        ("task_pool: {queue_size: 2, queue: {size: 2}}", []),
        ("task_pool: {queue_timeout: 1m}", ["2: task_pool.queue_timeout"]),
        ("task_pool: {queue_timeout: 1m, queue: {max_age: 60}}", []),
        ("task_pool:\n  queue:\n    displace: true", ["4: task_pool.queue.displace"]),
        ("actions: {x: {task_pool: {size: 1}}}", ["2: actions.x.task_pool.size"]),
        # Conditions at their older place.
        (
            "actions: {x: {config: {stdout_condition: 'true', stderr_condition: 'false'}}}",
            [
                "2: actions.x.config.stdout_condition",
                "2: actions.x.config.stderr_condition",
            ],
        ),
        (
            "actions: {x: {config: {stdout_condition: 'true', output: {stdout: {condition: 'true'}}}}}",
            [],
        ),
        # The event log.
        ("log_file: o.jsonl", ["2: log_file"]),
        ("log_file: o.jsonl\nlog_rotate: {backups: 1}", []),
        # A network concerns only who listens on one.
        ("trusted_cidrs: 10.0.0.0/8", []),
    ],
)
def test_keys(text: str, expected: list[str]) -> None:
    """Told is what this file says, and nothing about what it does not."""
    assert keys(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x", ["1: listen: web pages"]),
        ("listen: ':8080'", ["1: listen: web pages"]),
        ("listen: [stdio, '127.0.0.1:80']", ["1: listen: web pages"]),
        ("listen: stdio", []),
        ("listen: ':8080'\nallowed_origins: ['https://example.org']", []),
        (
            "listen: ':8080'\ntrusted_cidrs: 10.0.0.0/8",
            ["1: listen: web pages", "2: trusted_cidrs: holds for"],
        ),
        ("listen: unix:/run/o.sock", ["1: listen: the Unix"]),
        ("listen: unix:/run/o.sock\nunix_mode: '0660'", []),
        ("listen: nonsense", []),
    ],
)
def test_who_may_connect(text: str, expected: list[str]) -> None:
    """Origins concern network listeners, modes the Unix sockets."""
    assert [" ".join(line.split()[:4]) for line in told(text)] == expected


def test_the_order_is_that_of_the_file() -> None:
    """Whoever edits the file goes through it once."""
    text = "actions:\n  x:\n    task_pool: {size: 1}\n    retry: {restart_delay: 1s}\nlog_file: o\n"
    assert [line.split(": ")[1] for line in told(text)] == [
        "listen",
        "actions.x.task_pool.size",
        "actions.x.retry",
        "log_file",
    ]


def test_the_words() -> None:
    """A line says what applies, and how to leave it out."""
    assert told(PRIVATE + "retry: {restart_delay: 1s}") == [
        "2: retry: applies now, v2 never did it: a task is started again after every exit, code 0 too"
        " (restart_on: failure leaves that out)"
    ]
    assert told(PRIVATE + "retry: {restart_delay: 1s, restart_on: failure}") == [
        "2: retry: applies now, v2 never did it: a task is started again after an exit code of failure"
        " or a signal"
    ]
    assert told(PRIVATE + "task_pool: {size: 10}") == [
        "2: task_pool.size: counts now, in v2 only limit did: at most 10 tasks run at once"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "5",
        "listen: {a: 1}",
        "actions: []",
        "actions: {x: 5}",
        "actions: {x: {config: [], task_pool: 5, retry: []}}",
        "task_pool: {size: {}, queue: [], queue_size: ten, queue_timeout: soon}",
    ],
)
def test_a_wrong_file_is_no_obstacle(text: str) -> None:
    """What is wrong is told elsewhere."""
    told(text)


def test_general_differences_are_one_line_each() -> None:
    """They end the list."""
    assert len(GENERAL_DIFFERENCES) >= 5
    assert not any("\n" in text for text in GENERAL_DIFFERENCES)
