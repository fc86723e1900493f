"""The exec driver: what of a configured action is refused, and what a start makes of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from twisted.internet.task import Clock

from overseer.core.config import ConfigError, load_config
from overseer.core.process import ProcessSpec
from overseer.drivers.exec import ExecHandler
from overseer.drivers.interfaces import Action, DriverServices, ValidationError
from overseer.drivers.registry import installed_drivers


def problems(config: str) -> list[str]:
    """Return what is said of an action with this ``config``."""
    text = f"actions:\n  a:\n    type: exec\n    config: {config}\n"
    try:
        load_config(text, "c.yaml", {}, installed_drivers().check)
    except ConfigError as error:
        return [str(problem) for problem in error.problems]
    return []


def action(config: str) -> Action:
    """Return an action with this ``config``."""
    text = f"actions:\n  a:\n    type: exec\n    config: {config}\n"
    drivers = installed_drivers()
    services = DriverServices(
        start_process=FakeSpawner(),
        reactor=Clock(),
        environment={"HOME": "/home/me", "LANG": "C"},
        instance="me",
    )
    actions = load_config(text, "c.yaml", {}, drivers.check).actions
    return drivers.create_actions(actions, services)["a"]


def test_a_secret_is_not_kept_to_start_tasks_again() -> None:
    """The whole action is refused, before anything of it runs."""
    config = "{entrypoint: p, parameters: {key: {secret: true}, plain: v}}"
    text = f"db: h.db\nactions:\n  a:\n    restore: true\n    type: exec\n    config: {config}\n"
    with pytest.raises(ConfigError) as caught:
        load_config(text, "c.yaml", {}, installed_drivers().check)
    assert [str(problem) for problem in caught.value.problems] == [
        'c.yaml:4: actions.a.restore: not with secret parameters ("key"): they would have to be kept on disk'
    ]


def handler(config: str) -> ExecHandler:
    """Return the handler of an action with this ``config``."""
    made = action(config).handler
    assert isinstance(made, ExecHandler)
    return made


class FakeSpawner:
    """Remembers what it was to spawn."""

    def __init__(self) -> None:
        self.specs: list[ProcessSpec] = []

    def __call__(self, spec: ProcessSpec, _events: object) -> object:
        self.specs.append(spec)
        return object()


def spec_of(action: Action, params: dict[str, str], task_id: str = "task", attempt: int = 2):
    """Return what a run with these parameters spawns."""
    action.start(task_id, action.handler.validate(params), None, attempt=attempt)
    (spec,) = action.services.start_process.specs
    action.services.start_process.specs.clear()
    return spec


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
        "actions.a.config.entrypoint",
        "actions.a.config.command[0]",
        "actions.a.config.parameter",
    ]


def test_one_rendered_element_is_one_argument() -> None:
    """Blanks, quotes and line ends stay inside it: no shell ever sees them."""
    spec = spec_of(
        action("{entrypoint: echo, command: ['-n', '[[.m]]', 'a[[.m]]b'], parameters: {m: {}}}"),
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
    tool = action(
        "{entrypoint: '[[.tool]]', parameters: {tool: {validate: 'value in [\"ls\", \"df\"]'}}}"
    )
    assert spec_of(tool, {"tool": "df"}).argv == ("df",)
    with pytest.raises(ValidationError):
        tool.handler.validate({"tool": "sh"})


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
    own = action(
        "{entrypoint: p, env: {OVERSEER_ACTION: mine, OVERSEER_INSTANCE: x, OVERSEER_RUN: y}}"
    )
    env = spec_of(own, {}, "a\0b", attempt=0).env
    assert (env["OVERSEER_ACTION"], env["OVERSEER_INSTANCE"]) == ("mine", "me")
    again = spec_of(own, {}, "a\0b", attempt=0).env
    assert len({env["OVERSEER_RUN"], again["OVERSEER_RUN"], "y"}) == 3
    assert (env["OVERSEER_TASK_ID"], env["OVERSEER_ATTEMPT"]) == ("a\ufffdb", "0")


def test_the_environment_of_a_child(tmp_path: Path) -> None:
    """The daemon's own, then the file's, then the action's, each over the one before."""
    file = tmp_path / "variables"
    file.write_text("# comment\nexport LANG=de_DE\nQUOTED='a b'\n\n")
    spec = spec_of(
        action(f"{{entrypoint: p, env_file: {file}, env: {{QUOTED: 'c[[.x]]', NEW: n}}}}"),
        {"x": "!"},
    )
    own = {**OWN, "OVERSEER_RUN": spec.env["OVERSEER_RUN"]}
    assert spec.env == {"HOME": "/home/me", "LANG": "de_DE", "QUOTED": "c!", "NEW": "n", **own}
    cleared = spec_of(action("{entrypoint: p, clear_env: true, env: {A: b}}"), {})
    assert cleared.env == {"A": "b", **OWN, "OVERSEER_RUN": cleared.env["OVERSEER_RUN"]}


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
    sliced = action("{entrypoint: p, command: ['[[ slice .x 9 ]]'], parameters: {x: {}}}")
    with pytest.raises(ValidationError, match=r"command\[0\]: template line 1"):
        spec_of(sliced, {"x": "short"})


def test_an_unknown_driver_is_named() -> None:
    """With those that there are."""
    with pytest.raises(ConfigError) as caught:
        load_config("actions: {a: {type: docker}}", "c.yaml", {}, installed_drivers().check)
    assert (
        str(caught.value)
        == 'c.yaml:1: actions.a.type: unknown driver "docker" (there are: exec, watch)'
    )


def test_the_library_of_expressions_is_loaded_only_for_what_needs_it() -> None:
    """It takes 12 MB of memory: free parameters and the commonest conditions do without."""
    config = {
        "entrypoint": "echo",
        "command": ["[[.text]]"],
        "parameters": {"text": {"default": "x"}, "other": {}},
        "output": {"stdout": {"condition": 'output.data.contains("x")'}},
    }
    text = json.dumps({"actions": {"a": {"type": "exec", "config": config}}})
    code = """if True:
        import sys
        from overseer.core.config import load_config
        from overseer.drivers.registry import installed_drivers

        load_config(sys.argv[1], "config.yaml", {}, installed_drivers().check, open)
        sys.exit("cel_expr_python.cel" in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", code, text], check=False).returncode == 0
