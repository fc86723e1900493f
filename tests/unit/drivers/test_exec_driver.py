"""The exec driver: what of a configured action is refused, and what a start makes of it."""

from pathlib import Path

import pytest
from twisted.internet.task import Clock

from overseer.core.config import ConfigError, load_config
from overseer.core.pool import PoolSettings
from overseer.core.retry import PartialRetryPolicy
from overseer.drivers.exec import ExecFactory, ExecHandler
from overseer.drivers.interfaces import DriverServices, ValidationError
from overseer.drivers.registry import built_in_drivers
from overseer.process import ProcessSpawner, ProcessWorker


def problems(config: str) -> list[str]:
    """Return what is said of an action with this ``config``."""
    text = f"actions:\n  a:\n    type: exec\n    config: {config}\n"
    try:
        load_config(text, "c.yaml", {}, built_in_drivers().check)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def handler(config: str, keys: str = "{}") -> ExecHandler:
    """Return the handler of an action with this ``config`` and these other ``keys``."""
    text = f"actions:\n  a:\n    <<: {keys}\n    type: exec\n    config: {config}\n"
    action = load_config(text, "c.yaml", {}, built_in_drivers().check).actions["a"]
    clock = Clock()
    services = DriverServices(
        spawner=ProcessSpawner(clock),
        clock=clock,
        environment={"HOME": "/home/me", "LANG": "C"},
        instance="me",
    )
    return ExecFactory().create(action, services)


class Silent:
    """Takes the events of a worker."""


def spec_of(handler: ExecHandler, params: dict[str, str]):
    """Return what a run with these parameters would spawn."""
    worker = handler.create_worker("task", handler.validate(params), Silent(), attempt=2)
    assert isinstance(worker, ProcessWorker)
    return worker._spec


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ("{entrypoint: '[[.x]]', parameters: {x: {}}}",
         ["c.yaml:4: actions.a.config.entrypoint: may only use parameters that have a validate: "
          "a client must not choose the program"]),
        ("{entrypoint: '[[index . .x]]', parameters: {x: {validate: 'true'}}}",
         ["c.yaml:4: actions.a.config.entrypoint: may only use parameters that have a validate: "
          "a client must not choose the program"]),
        ("{entrypoint: '[[if false]]x[[end]]'}",
         ["c.yaml:4: actions.a.config.entrypoint: renders to nothing"]),
        ("{entrypoint: p, env_file: /does/not/exist}",
         ["c.yaml:4: actions.a.config.env_file: "
          'cannot read "/does/not/exist": No such file or directory']),
        ("{entrypoint: p, parameters: {x: {validate: 'valu == 1'}}}",
         ["c.yaml:4: actions.a.config.parameters.x.validate: 1:1: undeclared reference to 'valu'"]),
        ("{entrypoint: p, output: {stderr: {condition: 'size(output.data)'}}}",
         ["c.yaml:4: actions.a.config.output.stderr.condition: 1:1: expected bool, got int"]),
        ("{entrypoint: p, stdout_condition: 'nope'}",
         ["c.yaml:4: actions.a.config.stdout_condition: 1:1: undeclared reference to 'nope'"]),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_action_is_named(config: str, expected: list[str]) -> None:
    """Every mistake has its line and its key."""
    assert problems(config) == expected


def test_all_mistakes_are_told_at_once() -> None:
    """A template, an unknown key and another template: three problems in one go."""
    found = problems("{entrypoint: '[[', command: ['[[end]]', ok], parameter: 1}")
    assert [line.split(": ")[1] for line in found] == [
        "actions.a.config.parameter",
        "actions.a.config.entrypoint",
        "actions.a.config.command[0]",
    ]


def test_one_rendered_element_is_one_argument() -> None:
    """Blanks, quotes and line ends stay inside it: no shell ever sees them."""
    spec = spec_of(
        handler("{entrypoint: echo, command: ['-n', '[[.m]]', 'a[[.m]]b'], parameters: {m: {}}}"),
        {"m": "x '; rm -rf / \"\n"},
    )
    assert spec.argv == ("echo", "-n", "x '; rm -rf / \"\n", "ax '; rm -rf / \"\nb")


def test_defaults_are_filled_in_and_other_parameters_pass() -> None:
    """A default is text; a parameter that the action does not know is there for the templates."""
    action = handler("{entrypoint: p, parameters: {a: 5, b: {default: 'yes'}}}")
    assert action.validate({"b": "no", "c": "x"}) == {"a": "5", "b": "no", "c": "x"}


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({}, 'parameter "x" is required'),
        ({"x": "a\0b"}, 'parameter "x": contains a NUL character'),
        ({"x": "999"}, 'parameter "x": "999" fails value in ["480", "720"]'),
        ({"x": "480", "pin": "12"}, 'parameter "pin": "***" fails size(value) == 4'),
    ],
)
def test_parameters_that_do_not_fit_are_named(params: dict[str, str], message: str) -> None:
    """The error names the parameter and the rule, and never a secret."""
    action = handler(
        '{entrypoint: p, parameters: {x: {validate: \'value in ["480", "720"]\'},'
        " pin: {default: '1234', secret: true, validate: 'size(value) == 4'}}}"
    )
    with pytest.raises(ValidationError) as caught:
        action.validate(params)
    assert str(caught.value) == message


def test_a_validated_parameter_may_choose_the_program() -> None:
    """Only among what its expression allows."""
    action = handler(
        "{entrypoint: '[[.tool]]', parameters: {tool: {validate: 'value in [\"ls\", \"df\"]'}}}"
    )
    assert spec_of(action, {"tool": "df"}).argv == ("df",)
    with pytest.raises(ValidationError):
        action.validate({"tool": "sh"})


def test_a_secret_is_not_described() -> None:
    """Neither `describe` nor the manifest shows its default."""
    described = handler(
        "{entrypoint: p, parameters: {key: {default: s3cret, secret: true}, plain: v}}"
    ).describe()
    assert described.params is not None
    assert {name: spec.default for name, spec in described.params.items()} == {
        "key": "***",
        "plain": "v",
    }


OWN = {
    "OVERSEER_TASK_ID": "task",
    "OVERSEER_ACTION": "a",
    "OVERSEER_ATTEMPT": "2",
    "OVERSEER_INSTANCE": "me",
}


def test_what_a_child_is_told_of_itself() -> None:
    """A configuration may say otherwise, but not of what it is recognised by; a NUL has no place in it."""
    own = handler("{entrypoint: p, env: {OVERSEER_ACTION: mine, OVERSEER_INSTANCE: x}}")
    worker = own.create_worker("a\0b", own.validate({}), Silent(), attempt=0)
    assert isinstance(worker, ProcessWorker)
    env = worker._spec.env
    assert (env["OVERSEER_ACTION"], env["OVERSEER_INSTANCE"]) == ("mine", "me")
    assert (env["OVERSEER_TASK_ID"], env["OVERSEER_ATTEMPT"]) == ("a\ufffdb", "0")


def test_the_environment_of_a_child(tmp_path: Path) -> None:
    """The daemon's own, then the file's, then the action's, each over the one before."""
    file = tmp_path / "variables"
    file.write_text("# comment\nexport LANG=de_DE\nQUOTED='a b'\n\n")
    spec = spec_of(
        handler(f"{{entrypoint: p, env_file: {file}, env: {{QUOTED: 'c[[.x]]', NEW: n}}}}"),
        {"x": "!"},
    )
    assert spec.env == {"HOME": "/home/me", "LANG": "de_DE", "QUOTED": "c!", "NEW": "n", **OWN}
    cleared = spec_of(handler("{entrypoint: p, clear_env: true, env: {A: b}}"), {})
    assert cleared.env == {"A": "b", **OWN}


def test_a_bad_environment_file_names_its_line(tmp_path: Path) -> None:
    """A line that is no variable is an error of the configuration."""
    file = tmp_path / "variables"
    file.write_text("A=b\nnonsense\n")
    (problem,) = problems(f"{{entrypoint: p, env_file: {file}}}")
    assert problem.endswith(f'env_file: cannot read "{file}": line 2: expected NAME=value')


def test_conditions_choose_the_lines() -> None:
    """Each stream has its own; a condition that is always true costs nothing."""
    action = handler(
        "{entrypoint: p, output: {stdout: {condition: 'has(output.json.event)'},"
        " stderr: {condition: 'true'}}}"
    )
    assert list(action.filters) == ["stdout"]
    assert action.filters["stdout"](b'{"event":1}\nplain\n{"other":2}\n{"event":null}') == (
        b'{"event":1}\n{"event":null}'
    )


def test_a_template_that_fails_is_an_answer() -> None:
    """The start is refused with the place of the template."""
    action = handler("{entrypoint: p, command: ['[[ slice .x 9 ]]'], parameters: {x: {}}}")
    with pytest.raises(ValidationError, match=r"command\[0\]: template line 1"):
        action.create_worker("task", action.validate({"x": "short"}), Silent(), attempt=0)


def test_what_holds_for_any_driver_is_passed_on() -> None:
    """Pool, retries, time limits and what makes two tasks the same, as the action has them."""
    action = handler(
        "{entrypoint: p, parameters: {source: {}, key: {default: k, secret: true}}}",
        "{stop_grace: 1s, timeout: 2s, idle_timeout: 3s, backpressure: drop, replay_buffer: 7,"
        " dedupe_key: [source], retry: {restart_delay: 0s}, task_pool: {limit: 4, queue_size: 0}}",
    )
    assert (action.stop_grace, action.timeout, action.idle_timeout) == (1.0, 2.0, 3.0)
    assert (action.hold, action.replay_buffer) == (False, 7)
    assert action.retry == PartialRetryPolicy(restart_delay=0.0)
    assert action.pool == PoolSettings(size=4, queue_enabled=False, queue_bound=0)
    assert list(action.dedupe_key) == ["source"]
    assert set(action.secrets) == {"key"}


def test_an_action_that_says_nothing_of_its_life() -> None:
    """Runs as often and as long as it likes, and once."""
    action = handler("{entrypoint: p}")
    assert (action.stop_grace, action.timeout, action.idle_timeout) == (5.0, 0.0, 0.0)
    assert (action.retry, action.pool) == (PartialRetryPolicy(), PoolSettings())
    assert list(action.dedupe_key) == []
    assert handler("{entrypoint: p}", "{retry: false}").retry is False


def test_an_unknown_driver_is_named() -> None:
    """With those that there are."""
    with pytest.raises(ConfigError) as caught:
        load_config("actions: {a: {type: docker}}", "c.yaml", {}, built_in_drivers().check)
    assert (
        str(caught.value) == 'c.yaml:1: actions.a.type: unknown driver "docker" (there are: exec)'
    )
