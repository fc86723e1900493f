"""What an application may give as the configuration of its overseer: a mapping, YAML text, a file, a Config."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

from overseer.core.config import Config, load_config
from overseer.drivers.registry import Drivers

GivenConfig: TypeAlias = Config | Mapping[str, Any] | str | os.PathLike[str]
"""The keys as a mapping, or as YAML text, a ``Path`` to a file of it, or a Config that was read already."""


def read_given(given: GivenConfig, drivers: Drivers, environment: Mapping[str, str]) -> Config:
    """Return the configuration that an application gave.

    Unlike the program's own it is not changed by ``OVERSEER_`` variables: they belong to the application.

    :raises overseer.core.config.ConfigError: with everything that is wrong with it.
    :raises OSError: when a file cannot be read.
    :raises TypeError: when a mapping holds what no configuration can.
    """
    if isinstance(given, Config):
        return given
    if isinstance(given, str):
        text, name = given, "configuration"
    elif isinstance(given, Mapping):
        # JSON is YAML, and has the same mistakes.
        text, name = json.dumps(given, default=_as_text), "configuration"
    else:
        text, name = _read_file(given), os.fspath(given)
    own = {key: value for key, value in environment.items() if not key.startswith("OVERSEER_")}
    return load_config(text, name, own, drivers.check, _read_file)


def _as_text(value: object) -> str:
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    raise TypeError(
        f"expected mappings, lists, texts, numbers and paths in the configuration, got {value!r}"
    )


def _read_file(name: str | os.PathLike[str]) -> str:
    return Path(name).read_text(encoding="utf-8")
