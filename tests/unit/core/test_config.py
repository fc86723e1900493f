"""A configuration comes out complete and checked, or as the list of everything that is wrong."""

import signal

import pytest
from configurations import DOCUMENT

from overseer.core.config import (
    ConfigError,
    ExecConfig,
    Limits,
    Parameter,
    Problem,
    Retain,
    default_config,
    load_config,
    read_keys,
)
from overseer.core.config.exec_driver import EXEC
from overseer.core.history import Keep
from overseer.core.pool import ExcessPolicy, PoolLimits, PoolSettings
from overseer.core.retry import PartialRetryPolicy, RetryPolicy, effective_policy
from overseer.core.rotation import Rotation

MODE = 'unix_mode: expected an octal number up to 0777 such as "0660",'


def load(text, **environment):
    return load_config(text, "config.yaml", environment)


def problems(text, **environment):
    with pytest.raises(ConfigError) as error:
        load(text, **environment)
    assert str(error.value) == "\n".join(map(str, error.value.problems))
    return [str(problem) for problem in error.value.problems]


def warnings(text, **environment):
    return [str(warning) for warning in load(text, **environment).warnings]


def action(text):
    """Return the one action ``x`` with the keys in ``text``, a YAML flow mapping's inside."""
    return load(f"actions: {{x: {{type: exec, {text}}}}}").actions["x"]


def action_problems(text):
    prefix = "config.yaml:1: actions.x."
    found = problems(f"actions: {{x: {{type: exec, {text}}}}}")
    assert all(problem.startswith(prefix) for problem in found)
    return [problem.removeprefix(prefix) for problem in found]


def parse_exec_config(section):
    """Return what the config of an action says to the exec driver."""
    keys, _warnings = read_keys(EXEC, section)
    return ExecConfig.from_keys(section, keys)


def exec_config(text):
    return parse_exec_config(action(f"config: {{entrypoint: p, {text}}}").config)


def exec_problems(text):
    section = load(f"actions: {{x: {{type: exec, config: {{{text}}}}}}}").actions["x"].config
    with pytest.raises(ConfigError) as error:
        parse_exec_config(section)
    prefix = "config.yaml:1: actions.x.config."
    found = [str(problem) for problem in error.value.problems]
    assert all(problem.startswith(prefix) for problem in found)
    return [problem.removeprefix(prefix) for problem in found]


def test_the_users_own_document_loads():
    config = load(DOCUMENT)
    assert config.warnings == ()
    assert (config.db, config.history) == ("overseer.db", Keep())
    assert config.task_pool.limits() == PoolLimits(size=10, queue_size=100)
    assert config.retry == PartialRetryPolicy()
    echo = parse_exec_config(config.actions["echo"].config)
    assert (echo.entrypoint, echo.command) == ("echo", ("[[.message]]",))
    assert echo.parameters == {"message": Parameter(default="hello")}


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "{}", "actions:\nlimits: {}\n"])
def test_an_empty_file_means_the_defaults(text):
    config = load(text)
    assert config.name == "sticky-overseer"
    assert config.listen == (":8080",)
    assert config.unix_mode == 0o600
    assert (config.allowed_origins, config.allowed_hosts) == ((), ())
    assert (config.replay_buffer, config.replay_bytes) == (100, 262144)
    assert config.retain == Retain(count=1000, age=86400.0)
    assert config.limits == Limits(
        message_size=1048576,
        line_size=1048576,
        send_buffer=8388608,
        total_send_buffer=268435456,
        connections=1024,
    )
    assert config.actions == {}
    assert config.warnings == ()


def test_without_a_file_the_defaults_hold_and_a_warning_says_so():
    config = default_config()
    assert config.listen == (":8080",)
    assert [str(warning) for warning in config.warnings] == [
        "no configuration file: the defaults hold, there are no actions"
    ]
    assert default_config({"OVERSEER_LISTEN": ":1"}).listen == (":1",)
    with pytest.raises(ConfigError, match=r"^OVERSEER_PORT: expected a port"):
        default_config({"OVERSEER_PORT": "http"})


def test_every_key_of_this_version():
    config = load(
        """
name: builds
listen: [8080, "unix:/run/overseer.sock"]
unix_mode: "0660"
allowed_origins: ["https://example.org"]
allowed_hosts: [build.example.org]
replay_buffer: 0
replay_bytes: 1MiB
retain: {count: 5, age: 1h30m}
limits: {message_size: 64KiB, line_size: 2048, send_buffer: 1MB, total_send_buffer: 1GiB,
         connections: 1}
actions:
  build:
    type: exec
    description: Builds it
    config: {entrypoint: make}
    stop_grace: 0
    backpressure: drop
    replay_buffer: 7
  other: {type: mine, meta: {description: "Does it"}}
"""
    )
    assert config.name == "builds"
    assert config.listen == ("8080", "unix:/run/overseer.sock")
    assert config.unix_mode == 0o660
    assert config.allowed_origins == ("https://example.org",)
    assert config.allowed_hosts == ("build.example.org",)
    assert (config.replay_buffer, config.replay_bytes) == (0, 1048576)
    assert config.retain == Retain(count=5, age=5400.0)
    assert config.limits == Limits(
        message_size=65536,
        line_size=2048,
        send_buffer=1_000_000,
        total_send_buffer=2**30,
        connections=1,
    )
    build, other = config.actions["build"], config.actions["other"]
    assert (build.name, build.type, build.description) == ("build", "exec", "Builds it")
    assert (build.stop_grace, build.backpressure, build.replay_buffer) == (0.0, "drop", 7)
    assert build.config.value == {"entrypoint": "make"}
    assert (other.type, other.description) == ("mine", "Does it")
    assert (other.stop_grace, other.backpressure, other.replay_buffer) == (5.0, "hold", None)
    assert other.config.value is None


@pytest.mark.parametrize("text", ['"0660"', "0660", "0o660", "660", '"0o660"', '"660"'])
def test_a_mode_is_octal_however_it_is_written(text):
    assert load(f"unix_mode: {text}").unix_mode == 0o660


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("lisen: x", 'lisen: unknown key, did you mean "listen"?'),
        ("zebra: x", "zebra: unknown key"),
        ('"a b": x', '"a b": unknown key'),
        ("limits: {conections: 5}", 'limits.conections: unknown key, did you mean "connections"?'),
        ("name: 5", "name: expected text that is not empty, got 5"),
        ("name: ''", 'name: expected text that is not empty, got ""'),
        ("listen: ''", 'listen: expected text that is not empty, got ""'),
        ("listen: []", "listen: expected an address or a list of addresses, got an empty list"),
        ("listen: {a: b}", "listen: expected an address or a list of addresses, got a mapping"),
        ('listen: [":1", ~]', "listen[1]: expected text that is not empty, got null"),
        (
            "unix_mode: '0888'",
            f'{MODE} got "0888"',
        ),
        ("unix_mode: 0o1777", f"{MODE} got 1023"),
        ("allowed_origins: x", 'allowed_origins: expected a list of texts, got "x"'),
        ("replay_buffer: -1", "replay_buffer: expected an integer >= 0, got -1"),
        ("replay_buffer: true", "replay_buffer: expected an integer >= 0, got true"),
        ("replay_buffer: 1.5", "replay_buffer: expected an integer >= 0, got 1.5"),
        ("replay_bytes: 1K", 'replay_bytes: expected a size such as "64KiB" or "1MiB", got "1K"'),
        ("replay_bytes: []", 'replay_bytes: expected a size such as "64KiB" or "1MiB", got a list'),
        ("limits: {line_size: 10}", "limits.line_size: expected a size >= 1KiB, got 10"),
        ("limits: 5", "limits: expected a mapping, got 5"),
        (
            "retain: {age: 5}",
            'retain.age: expected a duration such as "5s" or "1m30s", got "5"'
            " (a unit is missing: ns, us, ms, s, m, h)",
        ),
        ("retain: {age: -5s}", 'retain.age: expected a duration >= 0, got "-5s"'),
        (
            "retain: {age: true}",
            'retain.age: expected a duration such as "5s" or "1m30s", got true',
        ),
        ("actions: [a]", "actions: expected a mapping from names to actions, got a list"),
        ("actions: {x: }", "actions.x.type: is required"),
        ("actions: {x: 5}", "actions.x: expected a mapping, got 5"),
        ("actions: {'': {type: exec}}", 'actions."": the name is empty'),
        ('name: "a\\0"', "name: contains a NUL character"),
        ("- a", "expected a mapping, got a list"),
        ("just text", 'expected a mapping, got "just text"'),
        ("name: !!str x", 'name: tags are not allowed, got "!!str"'),
    ],
)
def test_one_problem(text, problem):
    assert problems(text) == [f"config.yaml:1: {problem}"]


def test_all_problems_come_at_once_in_the_order_of_the_file():
    assert problems(
        """\
replay_buffer: many
task_pool:
  size: ten
actions:
  build:
    tpye: exec
    stop_grace: soon
    task_pool:
      size: -1
"""
    ) == [
        'config.yaml:1: replay_buffer: expected an integer >= 0, got "many"',
        'config.yaml:3: task_pool.size: expected an integer >= 0, got "ten"',
        'config.yaml:6: actions.build.tpye: unknown key, did you mean "type"?',
        'config.yaml:7: actions.build.stop_grace: expected a duration such as "5s" or "1m30s",'
        ' got "soon"',
        "config.yaml:9: actions.build.task_pool.size: expected an integer >= 0, got -1",
        "config.yaml:5: actions.build.type: is required",
    ]


@pytest.mark.parametrize("text", ["[" * 100_000, "a: " + "{a: " * 5000, "- " * 5000])
def test_hostile_nesting_is_a_plain_error(text):
    (problem,) = problems(text)
    assert "nested more than 64 levels deep" in problem


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("backpressure: maybe", 'backpressure: expected one of hold, drop, got "maybe"'),
        ("config: [a]", "config: expected a mapping, got a list"),
        (
            "description: a, meta: {description: b}",
            'description: "a" disagrees with meta.description: "b"',
        ),
        ("retrry: {}", 'retrry: unknown key, did you mean "retry"?'),
    ],
)
def test_one_problem_of_an_action(text, problem):
    assert action_problems(text) == [problem]


@pytest.mark.parametrize(
    "text",
    [
        "db: ~",
        "trusted_cidrs: ''",
        "trusted_cidrs: ' , '",
        "trusted_cidrs: []",
        "auth: {}",
        "auth: {tokens: []}",
        "auth: {tokens: ~}",
        "history: ~",
        "actions: {x: {type: exec, cgroup: false}}",
    ],
)
def test_a_key_that_changes_nothing_is_silent(text):
    assert warnings(text) == []


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        ("listen_addr: ':80'", "listen_addr: has no effect any more: ignored, use listen"),
        ("actions: {x: {type: exec, params: {m: ~}}}",
         "actions.x.params: has no effect any more: ignored"),
    ],
)  # fmt: skip
def test_a_key_without_effect_only_warns(text, warning):
    assert warnings(text) == [f"config.yaml:1: {warning}"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("actions: {x: {type: exec, restore: true}}", "needs db, to keep tasks in"),
        ("db: h.db\nactions: {x: {type: exec, restore: yes}}", 'expected true or false, got "yes"'),
    ],
)
def test_restore_needs_a_database(text, problem):
    [found] = problems(text)
    assert found.endswith(f"actions.x.restore: {problem}")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("limit: 5, size: 6", "limit: 5 disagrees with size: 6"),
        ("queue_size: 5, queue: {size: 6}", "queue_size: 5 disagrees with queue.size: 6"),
        ("queue_size: 0, queue: {enabled: true}", "queue_size: 0 disagrees with queue.enabled: true"),
        ("queue_size: 5, queue: {enabled: false}", "queue_size: 5 disagrees with queue.enabled: false"),
        ("queue_timeout: 5s, queue: {max_age: 6}", "queue_timeout: 5s disagrees with queue.max_age: 6"),
        ("excess: {action: kill}", 'excess.action: expected one of stop, requeue, got "kill"'),
        ("queue: {displace: 5}", "queue.displace: expected one of true, false, prohibit, got 5"),
        ("queue: 5", "queue: expected a mapping, got 5"),
        ("size: -1", "size: expected an integer >= 0, got -1"),
        ("size: 1.5", "size: expected an integer >= 0, got 1.5"),
        ("queue_timeout: 5", 'queue_timeout: expected a duration such as "5s" or "1m30s", got "5"'
         " (a unit is missing: ns, us, ms, s, m, h)"),
        ("excess: {grace: -1}",
         "excess.grace: expected a number of seconds from 0 to 1000000000, got -1"),
    ],
)  # fmt: skip
def test_pool_keys_that_cannot_be_or_disagree(text, problem):
    assert problems(f"task_pool: {{{text}}}") == [f"config.yaml:1: task_pool.{problem}"]


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("", PoolSettings()),
        ("size: 8", PoolSettings(size=8)),
        ("limit: 8", PoolSettings(size=8)),
        ("limit: 8, size: 8", PoolSettings(size=8)),
        ("size: 0", PoolSettings(size=0)),
        ("queue_size: 5, queue_timeout: 1m",
         PoolSettings(queue_enabled=True, queue_bound=5, queue_timeout=60.0)),
        ("queue: {enabled: true, size: 5, max_age: 60}",
         PoolSettings(queue_enabled=True, queue_bound=5, queue_timeout=60.0)),
        ("queue_size: 5, queue_timeout: 1m, queue: {enabled: true, size: 5, max_age: 60}",
         PoolSettings(queue_enabled=True, queue_bound=5, queue_timeout=60.0)),
        ("queue_size: 0", PoolSettings(queue_enabled=False, queue_bound=0)),
        ("queue: {size: 9}", PoolSettings(queue_bound=9)),
        ("queue: {order: last, displace: true}", PoolSettings(order="last", displace="true")),
        ("queue: {displace: prohibit}", PoolSettings(displace="prohibit")),
        ("excess: {action: requeue, order: last, grace: 1.5}",
         PoolSettings(excess_action="requeue", excess_order="last", excess_grace=1.5)),
    ],
)  # fmt: skip
def test_pools_in_both_spellings(text, settings):
    assert load(f"task_pool: {{{text}}}").task_pool == settings
    assert action(f"task_pool: {{{text}}}").task_pool == settings


def test_a_backoff_is_no_number_of_seconds():
    found = problems("retry: {backoff: -1}")
    assert found == ["config.yaml:1: retry.backoff: expected a number from 0 to 1000000000, got -1"]


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("", PoolLimits()),
        ("limit: 8, queue: {enabled: true, size: 100}", PoolLimits(size=8, queue_size=100)),
        ("queue: {enabled: true}", PoolLimits(queue_size=None)),
        ("queue: {enabled: true, size: 0}", PoolLimits(queue_size=None)),
        ("queue: {size: 5}", PoolLimits()),
        ("queue: {enabled: false, size: 5}", PoolLimits()),
        ("queue_size: 0, queue: {enabled: false, size: 9}", PoolLimits()),
        ("queue_size: 3, queue_timeout: 1.5s", PoolLimits(queue_size=3, queue_timeout=1.5)),
        ("excess: {action: stop, grace: 5}",
         PoolLimits(excess=ExcessPolicy(action="stop", grace=5.0))),
    ],
)  # fmt: skip
def test_what_a_pool_comes_to(text, limits):
    assert load(f"task_pool: {{{text}}}").task_pool.limits() == limits


def test_the_pool_of_an_action_lies_on_the_global_one_key_by_key():
    config = load(
        """
task_pool: {size: 8, queue_size: 100, queue_timeout: 1m, excess: {action: stop, grace: 3}}
actions:
  own: {type: exec, task_pool: {limit: 2, queue: {order: last}, excess: {grace: 9}}}
  none: {type: exec, task_pool: {queue_size: 0}}
"""
    )
    general = config.task_pool.for_actions()
    assert config.actions["own"].task_pool.over(general).limits() == PoolLimits(
        size=2,
        queue_size=100,
        queue_timeout=60.0,
        order="last",
        excess=ExcessPolicy(action="stop", grace=9.0),
    )
    assert config.actions["none"].task_pool.over(general).limits().queue_size == 0
    assert config.actions["none"].task_pool.over(general).limits().size == 0


@pytest.mark.parametrize(
    ("general", "own", "warning"),
    [
        ("size: 4", "size: 5", "size: 5 is more than the 4 of the global task_pool, which holds"),
        (
            "limit: 4",
            "limit: 9",
            "limit: 9 is more than the 4 of the global task_pool, which holds",
        ),
        ("size: 4", "size: 4", None),
        ("size: 4", "size: 0", None),
        ("size: 4", "queue_size: 9", None),
        ("size: 0", "size: 9", None),
        ("queue_size: 1", "size: 9", None),
    ],
)
def test_a_pool_above_the_global_one_is_warned_about(general, own, warning):
    text = f"task_pool: {{{general}}}\nactions: {{x: {{type: exec, task_pool: {{{own}}}}}}}"
    expected = [] if warning is None else [f"config.yaml:2: actions.x.task_pool.{warning}"]
    assert warnings(text) == expected


@pytest.mark.parametrize(
    ("general", "own", "place"),
    [
        ("size: 1", "queue: {size: 5}", "2: actions.x.task_pool"),
        ("queue: {size: 5}", "size: 1", "1: task_pool"),
        ("queue: {enabled: true}", "queue: {size: 5}", None),
        ("queue: {size: 5}", "queue: {enabled: true}", None),
        ("size: 1", "queue: {enabled: false, size: 5}", None),
        ("size: 1", "queue_size: 5", None),
    ],
)
def test_a_queue_that_nobody_enables_is_warned_about(general, own, place):
    """Its size says that somebody wants tasks to wait."""
    text = f"task_pool: {{{general}}}\nactions: {{x: {{type: exec, task_pool: {{{own}}}}}}}"
    told = f"config.yaml:{place}.queue.size: no task waits, as queue.enabled is not set"
    assert warnings(text) == ([told] if place else [])


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("{}", PartialRetryPolicy()),
        ("~", PartialRetryPolicy()),
        ("{restart_delay: ~, error_window: ''}", PartialRetryPolicy()),
        ("{restart_delay: 0s}", PartialRetryPolicy(restart_delay=0.0)),
        ("{error_threshold: 0, error_window: 0s, restart_delay: 30s}",
         PartialRetryPolicy(restart_delay=30.0, error_threshold=0, error_window=0.0)),
        ("{restart_jitter: 1m30s, restart_on: failure, success_exit_codes: [0, 3]}",
         PartialRetryPolicy(
             restart_jitter=90.0, restart_on="failure", success_exit_codes=(0, 3))),
        ("{backoff: 1.5, max_delay: 1m, stable_after: 1h, release_slot: true}",
         PartialRetryPolicy(backoff=1.5, max_delay=60.0, stable_after=3600.0, release_slot=True)),
        ("{success_exit_codes: []}", PartialRetryPolicy(success_exit_codes=())),
        ("false", False),
    ],
)  # fmt: skip
def test_retry_policies_as_written(text, policy):
    assert load(f"retry: {text}").retry == policy
    assert action(f"retry: {text}").retry == policy


@pytest.mark.parametrize(
    ("general", "own", "expected"),
    [
        ("{}", "{}", None),
        ("{restart_delay: 5s}", "{}", RetryPolicy(restart_delay=5.0)),
        ("{restart_delay: 5s}", "false", None),
        ("{restart_delay: 5s, error_threshold: 3}", "{restart_delay: 0s}",
         RetryPolicy(error_threshold=3)),
        ("false", "{restart_delay: 2s}", RetryPolicy(restart_delay=2.0)),
    ],
)  # fmt: skip
def test_the_policy_of_an_action_lies_on_the_global_one(general, own, expected):
    config = load(f"retry: {general}\nactions: {{x: {{type: exec, retry: {own}}}}}")
    assert effective_policy(config.retry, config.actions["x"].retry, None) == expected


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("retry: often", 'retry: expected a mapping, got "often"'),
        ("retry: true", "retry: expected a mapping, got true"),
        ("retry: {restart_dely: 5s}",
         'retry.restart_dely: unknown key, did you mean "restart_delay"?'),
        ("retry: {restart_delay: 5}",
         'retry.restart_delay: expected a duration such as "5s" or "1m30s", got "5"'
         " (a unit is missing: ns, us, ms, s, m, h)"),
        ("retry: {restart_delay: -5s}", 'retry.restart_delay: expected a duration >= 0, got "-5s"'),
        ("retry: {error_threshold: -1}", "retry.error_threshold: expected an integer >= 0, got -1"),
        ("retry: {restart_on: success}",
         'retry.restart_on: expected one of exit, failure, got "success"'),
        ("dedupe_key: source", 'dedupe_key: expected a list of parameter names, got "source"'),
        ("timeout: 5", 'timeout: expected a duration such as "5s" or "1m30s", got "5"'
         " (a unit is missing: ns, us, ms, s, m, h)"),
        ("idle_timeout: -1s", 'idle_timeout: expected a duration >= 0, got "-1s"'),
    ],
)  # fmt: skip
def test_retry_dedupe_and_time_limits_are_checked(text, problem):
    assert action_problems(text) == [problem]


def test_the_keys_of_an_actions_life():
    config = action("timeout: 1m, idle_timeout: 1ns, dedupe_key: [source, '1080']")
    assert (config.timeout, config.idle_timeout) == (60.0, 1e-9)
    assert config.dedupe_key == ("source", "1080")
    config = action("timeout: 0s, idle_timeout: 0, dedupe_key: []")
    assert (config.timeout, config.idle_timeout, config.dedupe_key) == (0.0, 0.0, ())


def test_a_key_of_the_wrong_kind_says_so():
    assert problems("log_rotate: often\ndb: [x]\n") == [
        'config.yaml:1: log_rotate: expected a mapping, got "often"',
        "config.yaml:2: db: expected text, got a list",
    ]


@pytest.mark.parametrize(
    ("text", "environment", "listen"),
    [
        ("", {}, ":8080"),
        ("", {"OVERSEER_PORT": "9090"}, ":9090"),
        ("", {"OVERSEER_PORT": "0"}, ":0"),
        ("", {"OVERSEER_PORT": ""}, ":8080"),
        ("listen: ~", {"OVERSEER_PORT": "9090"}, ":9090"),
        ("listen: ':1'", {"OVERSEER_PORT": "9090"}, ":1"),
        ("listen: ':1'", {"OVERSEER_PORT": "http"}, ":1"),
        ("listen: ':1'", {"OVERSEER_LISTEN": ":2"}, ":2"),
        ("listen: ':1'", {"OVERSEER_LISTEN": ""}, ":1"),
        ("", {"OVERSEER_LISTEN": ":2", "OVERSEER_PORT": "9090"}, ":2"),
        ("", {"OVERSEER_LISTEN": "unix:/a,b"}, "unix:/a,b"),
    ],
)
def test_where_to_listen(text, environment, listen):
    assert load(text, **environment).listen == (listen,)


@pytest.mark.parametrize("port", ["65536", "-1", "http", "8080 ", "123456", "\N{SUPERSCRIPT TWO}"])
def test_a_port_that_is_none(port):
    assert problems("", OVERSEER_PORT=port) == [
        f'OVERSEER_PORT: expected a port from 0 to 65535, got "{port}"'
    ]


def test_what_the_history_keeps():
    config = load("db: a.db\nhistory: {keep: 30d, max_rows: 1000}\n", OVERSEER_DB="b.db")
    assert (config.db, config.history) == ("b.db", Keep(age=30 * 86400.0, max_rows=1000))
    assert load("history: {keep: 12h}").history == Keep(age=12 * 3600.0)
    assert problems("history: {keep: 3 weeks, rows: 1}") == [
        'config.yaml:1: history.keep: expected a duration such as "5s" or "1m30s",'
        ' got "3 weeks" (" weeks" is not one of ns, us, ms, s, m, h)',
        'config.yaml:1: history.rows: unknown key, did you mean "max_rows"?',
    ]


def test_the_event_log_rotates_at_50_mib_unless_told_otherwise():
    """A log that nobody rotates fills a disk in minutes."""
    assert load("log_file: x").log_rotate == Rotation(max_size=50 * 1024 * 1024, backups=10)
    text = "log_file: x\nlog_rotate: {max_size: 1MiB, backups: 0}"
    assert load(text).log_rotate == Rotation(max_size=1024 * 1024, backups=0)
    assert load("log_rotate: {backups: 3}").log_rotate.max_size == 50 * 1024 * 1024
    assert load("log_file: x").log_file == "x"
    assert load("log_file: x", OVERSEER_LOG_FILE="y").log_file == "y"


def test_a_section_reports_problems_of_its_driver():
    section = load(
        "actions:\n  x:\n    type: exec\n    config:\n      command:\n      - a\n      - b\n"
    )
    config = section.actions["x"].config
    assert config.at("command", 1).value == "b"
    problem = config.problem(("command", 1), "unclosed action")
    assert problem == Problem(
        "config.yaml:7", ("actions", "x", "config", "command", 1), "unclosed action"
    )
    assert str(problem) == "config.yaml:7: actions.x.config.command[1]: unclosed action"
    missing = config.problem(("entrypoint",), "is required")
    assert str(missing) == "config.yaml:4: actions.x.config.entrypoint: is required"


def test_actions_are_equal_when_only_their_lines_moved():
    before = action("config: {entrypoint: p, command: [1]}")
    assert before == action("\n\n config: {entrypoint: p, command: [1]}")
    assert before != action("config: {entrypoint: p, command: [1.0]}")


def test_what_is_printed_of_a_config_holds_no_secret():
    assert "hunter2" not in repr(load("actions: {x: {type: exec, config: {a: hunter2}}}"))


def test_exec_defaults():
    config = exec_config("")
    assert config.entrypoint == "p"
    assert config.command == ()
    assert (config.parameters, config.env, config.rlimits) == ({}, {}, {})
    assert (config.env_file, config.clear_env, config.cwd) == (None, False, None)
    assert (config.user, config.group, config.umask, config.nice) == (None, None, None, None)
    assert config.stop_signal == signal.SIGTERM


def test_exec_keys():
    config = exec_config(
        "command: [-x, 1080, yes, 1.50, '[[.a]]'], env: {PORT: 8080, EMPTY: '', ABSENT: ~},"
        " env_file: /etc/env, clear_env: true, cwd: '/data/[[.a]]', user: nobody, group: 65534,"
        " umask: 022, nice: -5, stop_signal: INT, stdin: 'null', pty: false,"
        " output: {stdout: {condition: 'true'}, stderr: {condition: true}}"
    )
    assert config.command == ("-x", "1080", "yes", "1.50", "[[.a]]")
    assert config.env == {"PORT": "8080", "EMPTY": ""}
    assert (config.env_file, config.clear_env, config.cwd) == ("/etc/env", True, "/data/[[.a]]")
    assert (config.user, config.group) == ("nobody", 65534)
    assert (config.umask, config.nice) == (0o022, -5)
    assert config.stop_signal == signal.SIGINT
    assert (config.stdin, config.pty) == ("null", False)
    assert config.section.at("command", 1).text == "1080"


def test_stdin_and_pty():
    config = exec_config("stdin: pipe, pty: true")
    assert (config.stdin, config.pty) == ("pipe", True)
    assert exec_config("stdin: ~").stdin == "null"


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("~", Parameter()),
        ("", Parameter()),
        ("{}", Parameter()),
        ("{default: ~}", Parameter()),
        ("hello", Parameter(default="hello")),
        ("''", Parameter(default="")),
        ("1080", Parameter(default="1080")),
        ("yes", Parameter(default="yes")),
        ("True", Parameter(default="True")),
        ("1.50", Parameter(default="1.50")),
        ("0777", Parameter(default="0777")),
        ("{default: 1:30}", Parameter(default="1:30")),
        ("{default: 0x1F, description: d}", Parameter(default="0x1F", description="d")),
        ("{default: a, secret: false}", Parameter(default="a")),
    ],
)
def test_a_default_is_the_text_that_was_written(text, spec):
    parameter = exec_config(f"parameters: {{m: {text}}}").parameters["m"]
    assert parameter == spec
    assert parameter.required is (spec.default is None)


@pytest.mark.parametrize(
    ("text", "number"),
    [("TERM", 15), ("SIGTERM", 15), ("sigint", 2), ("9", 9), ("USR1", signal.SIGUSR1)],
)
def test_stop_signals(text, number):
    assert exec_config(f"stop_signal: {text}").stop_signal == number


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("1024", (1024, 1024)),
        ("64MiB", (64 * 1024**2, 64 * 1024**2)),
        ("unlimited", (None, None)),
        ("{soft: 0, hard: unlimited}", (0, None)),
        ("{soft: 1KiB, hard: 1024}", (1024, 1024)),
    ],
)
def test_rlimits(text, limits):
    assert exec_config(f"rlimits: {{nofile: {text}, as: ~}}").rlimits == {"nofile": limits}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "entrypoint: is required"),
        ("entrypoint: ''",
         'entrypoint: expected text that is not empty (a template needs quotes), got ""'),
        ("entrypoint: [[.a]]",
         "entrypoint: expected text that is not empty (a template needs quotes), got a list"),
        ("entrypoint: p, command: a b", 'command: expected a list of arguments, got "a b"'),
        ("entrypoint: p, command: [[[.a]]]",
         "command[0]: expected text (a template needs quotes), got a list"),
        ("entrypoint: p, command: [a, ~]",
         "command[1]: expected text (a template needs quotes), got null"),
        ('entrypoint: p, command: ["a\\0"]', "command[0]: contains a NUL character"),
        ("entrypoint: p, commnd: []", 'commnd: unknown key, did you mean "command"?'),
        ("entrypoint: p, env: [A=b]", "env: expected a mapping from names to values, got a list"),
        ("entrypoint: p, env: {A=b: c}",
         'env."A=b": expected the name of a variable: not empty, without = and NUL'),
        ("entrypoint: p, clear_env: 'yes'", 'clear_env: expected true or false, got "yes"'),
        ("entrypoint: p, user: -1", "user: expected a name or a number >= 0, got -1"),
        ("entrypoint: p, umask: 9",
         'umask: expected an octal number up to 0777 such as "0022", got 9'),
        ("entrypoint: p, nice: 20", "nice: expected an integer from -20 to 19, got 20"),
        ("entrypoint: p, stop_signal: STOPP",
         'stop_signal: expected a signal such as "TERM", "SIGINT" or 15, got "STOPP"'),
        ("entrypoint: p, stop_signal: 0",
         'stop_signal: expected a signal such as "TERM", "SIGINT" or 15, got 0'),
        ("entrypoint: p, rlimits: {nofiles: 5}",
         'rlimits.nofiles: unknown key, did you mean "nofile"?'),
        ("entrypoint: p, rlimits: {nofile: -5}",
         'rlimits.nofile: expected an integer >= 0, a size such as "64MiB" or "unlimited", got -5'),
        ("entrypoint: p, rlimits: {nofile: {soft: 5}}", "rlimits.nofile.hard: is required"),
        ("entrypoint: p, rlimits: {nofile: {soft: unlimited, hard: 5}}",
         "rlimits.nofile.soft: unlimited is more than the hard limit 5"),
        ("entrypoint: p, parameters: {m: [a]}",
         "parameters.m: expected a default or a mapping, got a list"),
        ("entrypoint: p, parameters: {m: {defualt: a}}",
         'parameters.m.defualt: unknown key, did you mean "default"?'),
        ("entrypoint: p, stdin: tty", 'stdin: expected one of null, pipe, got "tty"'),
        ("entrypoint: p, pty: tty", 'pty: expected true or false, got "tty"'),
        ("entrypoint: p, stdout_condition: 'false', output: {stdout: {condition: 'true'}}",
         'stdout_condition: "false" disagrees with output.stdout.condition'),
    ],
)  # fmt: skip
def test_one_problem_of_exec(text, problem):
    assert exec_problems(text) == [problem]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("command: ['[[.message]]', '{{.Site}}', plain], cwd: '/[[.message]]'", []),
        ("command: [a, '[[.massage]]']",
         ['command[1]: there is no parameter "massage", did you mean "message"?']),
        ("env: {A: '[[.zebra]]'}, cwd: '/[[if .message]]x[[else]][[.x]][[end]]'",
         ['env.A: there is no parameter "zebra", it is empty unless a start gives it',
          'cwd: there is no parameter "x", it is empty unless a start gives it']),
    ],
)  # fmt: skip
def test_a_name_that_no_parameter_has_is_warned_of(text, expected):
    """It is no error: a start may give what the configuration does not know."""
    section = action(f"config: {{entrypoint: p, parameters: {{message: {{}}}}, {text}}}").config
    _, found = read_keys(EXEC, section)
    prefix = "config.yaml:1: actions.x.config."
    assert [str(one).removeprefix(prefix) for one in found] == expected


def test_what_a_driver_reads_stands_below_config():
    text = "actions:\n  x:\n    type: exec\n    entrypoint: p\n"
    assert problems(text)[0] == (
        "config.yaml:4: actions.x.entrypoint: unknown key; what the driver reads stands below config"
    )


def test_an_action_without_a_config_lacks_an_entrypoint():
    section = load("actions:\n  x:\n    type: exec\n").actions["x"].config
    with pytest.raises(ConfigError) as error:
        parse_exec_config(section)
    assert str(error.value) == "config.yaml:2: actions.x.config.entrypoint: is required"
