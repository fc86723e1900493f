"""``overseer check``: everything that is wrong with a configuration, and what will differ from v2."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from overseer.core.config import Config, ConfigError
from overseer.core.config.migration import GENERAL_DIFFERENCES, differences
from overseer.core.counted import counted
from overseer.core.listen import parse_listen, reaches_beyond_loopback
from overseer.core.yaml_source import Problem, YamlError, load_yaml
from overseer.drivers.registry import installed_drivers
from overseer.program import DEFAULT_CONFIG, ConfigFileError, read_config


def check(config_path: str | None, *, from_v2: bool) -> int:
    """Print what the daemon would say of its configuration; return 1 if it would not start with it."""
    name = os.environ.get("OVERSEER_CONFIG") or config_path or DEFAULT_CONFIG
    config, problems, warnings = _read(config_path)
    for problem in problems:
        print(problem)
    for warning in warnings:
        print(f"warning: {warning}")
    if from_v2:
        _print_differences(name)
    if config is None:
        print(f"{name}: {counted(len(problems), 'problem')}")
        return 1
    print(f"{name}: ok, {counted(len(config.actions), 'action')}")
    return 0


def _read(path: str | None) -> tuple[Config | None, Sequence[object], Sequence[object]]:
    """Return the configuration if there is nothing wrong with it, the problems and the warnings."""
    try:
        config = read_config(path)
    except ConfigError as error:
        return None, error.problems, error.warnings
    except ConfigFileError as error:
        return None, (error,), ()
    of_drivers = installed_drivers().warnings(config.actions.values())
    return config, (), (*config.warnings, *of_drivers, *_open_listeners(config))


def _open_listeners(config: Config) -> Iterator[Problem]:
    for text in config.listen:
        if not config.tokens and reaches_beyond_loopback(parse_listen(text)):
            yield Problem(
                "",
                ("listen",),
                f'"{text}" reaches beyond this machine without auth.tokens: every peer in'
                " trusted_cidrs may start tasks",
            )


def _print_differences(name: str) -> None:
    try:
        found = differences(load_yaml(Path(name).read_text(encoding="utf-8"), name))
    except (OSError, UnicodeDecodeError, YamlError):
        return  # told already, or there is no file
    print("\nDifferent from v2 by this file:")
    for difference in found:
        print(difference)
    print("\nDifferent from v2 in general:")
    for text in GENERAL_DIFFERENCES:
        print(f"- {text}")
    print()
