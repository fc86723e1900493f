"""The JSON Schema of the configuration accepts what the daemon accepts, and refuses wrong kinds of values."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from configurations import DOCUMENT, RECORDER
from jsonschema import Draft202012Validator

from overseer.core.config import ConfigError, Problem, load_config, read_keys
from overseer.core.config.exec_driver import EXEC
from overseer.core.config.kinds import Group, Key, MapOf
from overseer.core.config.schema import config_schema
from overseer.core.config.table import ACTION, CONFIG
from overseer.core.yaml_source import load_yaml

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = config_schema({"exec": EXEC})
VALIDATOR = Draft202012Validator(SCHEMA)
STEPS = tuple[str, ...]

IN_ACTION: STEPS = ("actions", "x")
IN_EXEC: STEPS = (*IN_ACTION, "config")
VALUES = [
    *(
        None,
        True,
        False,
        0,
        5,
        -5,
        700,
        1.5,
        10**10,
        -0.5,
        "",
        "text",
        "5s",
        "64KiB",
        "0660",
        "TERM",
    ),
    *("a\0b", [], [[]], ["a"], [5], [None], {}, {"a": "b"}, {"a": None}, {"": "b"}, {"a": []}),
]


def keys_of(group: Group, above: STEPS) -> Iterator[tuple[STEPS, Key]]:
    """Yield every key below a group, with its path; ``x`` is a name that the user chooses."""
    for key in group.keys:
        path = (*above, key.name)
        yield path, key
        kind, below = key.kind, path
        if isinstance(kind, MapOf):
            kind, below = kind.item, (*path, "x")
        if isinstance(kind, Group) and kind is not ACTION:
            yield from keys_of(kind, below)


KEYS = [
    *keys_of(CONFIG, ()),
    *keys_of(ACTION, IN_ACTION),
    *keys_of(EXEC, IN_EXEC),
]


def problems(text: str) -> tuple[Problem, ...]:
    """Return what the daemon finds wrong."""
    try:
        for action in load_config(text, "x").actions.values():
            read_keys(EXEC, action.config)
    except ConfigError as error:
        return error.problems
    return ()


def configuration(path: STEPS, value: Any) -> dict[str, Any]:
    """Return a configuration that is right but for the value at ``path``."""
    whole: dict[str, Any] = {}
    if path[:2] == IN_ACTION:
        whole = {"actions": {"x": {"type": "exec", "config": {"entrypoint": "p"}}}}
    place = whole
    for step in path[:-1]:
        place = place.setdefault(step, {})
    place[path[-1]] = value
    return whole


def test_it_is_valid_by_the_published_schema() -> None:
    """That of JSON Schema 2020-12."""
    Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("text", [RECORDER, DOCUMENT, "", "actions:\n"])
def test_configurations_of_the_field_are_valid(text: str) -> None:
    """Those of docs/ are tried in test_docs.py."""
    VALIDATOR.validate(load_yaml(text, "").value(()))


def test_the_example_is_valid() -> None:
    """The one that `make run` starts."""
    text = (ROOT / "examples" / "config.yaml").read_text(encoding="utf-8")
    VALIDATOR.validate(load_yaml(text, "").value(()))


@pytest.mark.parametrize(
    ("path", "key"), KEYS, ids=lambda part: ".".join(part) if isinstance(part, tuple) else ""
)
def test_the_schema_and_the_daemon_agree(path: STEPS, key: Key) -> None:
    """What the daemon takes at a key the schema takes, and a wrong kind is refused by both."""
    expected = f"expected {getattr(key.kind, 'expected', 'a')}"
    for value in VALUES:
        whole = configuration(path, value)
        found = problems(json.dumps(whole))
        valid = VALIDATOR.is_valid(whole)
        if not found:
            assert valid, value
        if any(one.path == path and one.text.startswith(expected) for one in found):
            assert not valid, value


@pytest.mark.parametrize(
    "text",
    [
        "lisen: ':1'",
        "- a",
        "just text",
        "limits: {conections: 5}",
        "limits: {line_size: 10}",
        "retain: {age: 5}",
        "unix_mode: '0888'",
        "actions: {x: }",
        "actions: {x: 5}",
        "actions: {x: {}}",
        "actions: {'': {type: mine}}",
        "actions: {x: {type: exec}}",
        "actions: {x: {type: exec, config: ~}}",
        "actions: {x: {type: exec, config: {}}}",
        "actions: {x: {type: exec, config: {entrypoint: [[.name]]}}}",
        "actions: {x: {type: exec, config: {entrypoint: p, command: echo}}}",
        "actions: {x: {type: exec, config: {entrypoint: p, parameters: {a: [b]}}}}",
        "actions: {x: {type: exec, config: {entrypoint: p, parameters: {a: {defalt: b}}}}}",
        "actions: {x: {type: exec, config: {entrypoint: p, rlimits: {nofile: many}}}}",
        "actions: {x: {type: exec, config: {entrypoint: p, rlimits: {nofile: {soft: 1}}}}}",
        "actions: {x: {type: exec, config: {entrypoint: p, stop_signal: SIGNOTHING}}}",
        "actions: {x: {type: mine, retry: [a]}}",
    ],
)
def test_a_mistake_is_refused_by_both(text: str) -> None:
    """Misspelt names, missing keys, values of another kind."""
    assert problems(text)
    assert not VALIDATOR.is_valid(load_yaml(text, "").value(()))


def test_the_keys_of_another_driver_are_its_own() -> None:
    """Only exec's are known here."""
    VALIDATOR.validate({"actions": {"x": {"type": "mine", "config": {"anything": [1]}}}})
    VALIDATOR.validate({"actions": {"x": {"type": "mine"}}})


def test_an_editor_is_told_what_a_key_means() -> None:
    """Its description, its default as one would write it, and whether this version knows it."""
    properties = SCHEMA["properties"]
    assert properties["unix_mode"]["default"] == "0600"
    assert properties["retain"]["properties"]["age"]["default"] == "24h"
    assert properties["limits"]["properties"]["line_size"]["default"] == "1MiB"
    assert properties["listen"]["default"] == [":8080"]
    assert properties["listen"]["description"]
    assert "deprecated" not in properties["listen"]
    assert properties["listen_addr"]["deprecated"]
    assert properties["listen_addr"]["description"].endswith(
        "has no effect any more: ignored, use listen"
    )
    exec_config = properties["actions"]["additionalProperties"]["allOf"][0]["then"]["properties"]
    assert exec_config["config"]["properties"]["stop_signal"]["default"] == "TERM"
