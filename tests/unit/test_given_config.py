"""What an application may give as a configuration."""

from pathlib import Path
from typing import Any

import pytest

from overseer.core.config import ConfigError, default_config
from overseer.drivers.registry import installed_drivers
from overseer.given_config import read_given

ACTION = {"type": "exec", "config": {"entrypoint": "true"}}


def read(given: Any, **environment: str) -> Any:
    return read_given(given, installed_drivers(), environment)


def test_every_form_means_the_same(tmp_path: Path) -> None:
    """A mapping, text, a file, and what was read already."""
    text = "name: mine\nactions: {a: {type: exec, config: {entrypoint: 'true'}}}\n"
    file = tmp_path / "overseer.yaml"
    file.write_text(text)
    for given in ({"name": "mine", "actions": {"a": ACTION}}, text, file):
        config = read(given)
        assert (config.name, list(config.actions)) == ("mine", ["a"])
    config = default_config({})
    assert read(config) is config


def test_mistakes_name_the_file(tmp_path: Path) -> None:
    """And the line; one that is not there is an OSError."""
    file = tmp_path / "overseer.yaml"
    file.write_text("name: mine\nlisten_to: 5\n")
    with pytest.raises(ConfigError, match=r"overseer\.yaml:2: listen_to: unknown key"):
        read(file)
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "nothing.yaml")


def test_a_mapping_may_hold_paths(tmp_path: Path) -> None:
    """As a program has them; what else it holds has to be something that a file could say."""
    action = {"type": "exec", "config": {"entrypoint": Path("/bin/true"), "cwd": tmp_path}}
    config = read({"actions": {"a": action}})
    assert config.actions["a"].config.value["cwd"] == str(tmp_path)
    with pytest.raises(TypeError, match=r"in the configuration, got \{1\}$"):
        read({"actions": {"a": {1}}})


def test_variables_of_overseer_do_not_change_it() -> None:
    """They are for the program; tokens may still come from the application's own variables."""
    given = {"listen": ":2", "auth": {"tokens": [{"name": "me", "token_env": "MY_TOKEN"}]}}
    config = read(given, OVERSEER_LISTEN=":1", MY_TOKEN="0123456789abcdef")
    assert config.listen == (":2",)
    assert len(config.tokens) == 1
