"""Turns the text of a configuration file and the environment into a Config, or into all its problems."""

import errno
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Any, Literal

import attrs

from overseer.core.config.model import ActionConfig, Config
from overseer.core.config.readiness import check_dependencies, readiness_of
from overseer.core.config.secrets import ReadFile, entries
from overseer.core.config.section import ConfigError, Report, Section
from overseer.core.config.table import CONFIG
from overseer.core.config.tokens import read_tokens, token_variables
from overseer.core.config.webhooks import read_webhooks, webhook_variables
from overseer.core.dependencies import Dependency
from overseer.core.pool import PoolSettings
from overseer.core.retry import Layer, PartialRetryPolicy
from overseer.core.yaml_source import Document, Problem, YamlError, describe, load_yaml

PORT_VARIABLE = "OVERSEER_PORT"

_PORT = re.compile(r"[0-9]{1,5}")
_NOT_ENABLED = "no task waits, as queue.enabled is not set"
_NO_VARIABLES: Mapping[str, str] = MappingProxyType({})


ActionCheck = Callable[[ActionConfig], Iterable[Problem]]


def _check_nothing(_action: ActionConfig) -> Iterable[Problem]:
    return ()


def _read_no_file(name: str) -> str:
    raise FileNotFoundError(errno.ENOENT, "no files are read here", name)


def load_config(
    text: str,
    file_name: str,
    environment: Mapping[str, str] = _NO_VARIABLES,
    check_action: ActionCheck = _check_nothing,
    read_file: ReadFile = _read_no_file,
) -> Config:
    """Return the configuration in ``text``, with what ``environment`` overrides.

    ``file_name`` is how problems call the file. ``check_action`` tells what a driver finds wrong with
    an action, so that it is told together with the rest. ``read_file`` returns the text of a ``token_file``.

    :raises ConfigError: with everything that is wrong.
    """
    try:
        document = load_yaml(text, file_name)
    except YamlError as error:
        raise ConfigError(error.problems) from error
    return _read(Section(document), environment, check_action, read_file)


def default_config(environment: Mapping[str, str] = _NO_VARIABLES) -> Config:
    """Return the configuration without any file: no actions, and a warning that says so.

    :raises ConfigError: when a variable of ``environment`` cannot be used.
    """
    config = _read(Section(load_yaml("", "")), environment, _check_nothing, _read_no_file)
    warning = Problem("", (), "no configuration file: the defaults hold, there are no actions")
    return attrs.evolve(config, warnings=(warning, *config.warnings))


def _read(
    section: Section,
    environment: Mapping[str, str],
    check_action: ActionCheck,
    read_file: ReadFile,
) -> Config:
    report = Report()
    values = CONFIG.read(section, report) or {}
    for key in CONFIG.keys:
        # An empty variable counts as unset, like an absent one.
        if key.environment is not None and (text := environment.get(key.environment)):
            value = key.read(Section(Document.of_variable(key.environment, text)), report)
            if not key.dead:
                values[key.name] = value
    if section.at("listen").value is None and not environment.get("OVERSEER_LISTEN"):
        _apply_port(values, environment, report)
    actions = values["actions"] = _actions(values.get("actions"))
    for action in actions.values():
        report.problems.extend(check_action(action))
        if action.restore and not values["db"]:
            report.refuse(
                section.at("actions", action.name, "restore"), "needs db, to keep tasks in"
            )
    check_dependencies(
        section.at("actions"),
        {name: action.depends_on for name, action in actions.items()},
        frozenset(name for name, action in actions.items() if action.readiness is not None),
        report,
    )
    values.pop("auth", None)  # read from where they really are, files and variables too
    tokens = section.at("auth", "tokens")
    values["tokens"] = read_tokens(tokens, environment, read_file, report)
    webhooks = section.at("webhooks")
    values["webhooks"] = read_webhooks(
        webhooks, values.get("webhooks") or (), environment, read_file, report.concealing()
    )
    values["token_variables"] = token_variables(tokens) | webhook_variables(webhooks)
    _check_webhook_actions(webhooks, section.at("actions").names, report)
    report.check()
    _warn_of_pools(section, values, report)
    return _config(values, report)


def _warn_of_pools(section: Section, values: Mapping[str, Any], report: Report) -> None:
    """Warn of pools above the global one, which bounds them all the same, and of queues that nobody enables."""
    general = PoolSettings.from_keys(values["task_pool"])
    pools = {name: action.task_pool for name, action in values["actions"].items()}
    for name, own in pools.items():
        pool = section.at("actions", name, "task_pool")
        if general.size and own.size and own.size > general.size:
            report.warn(
                pool.at("limit" if pool.at("size").value is None else "size"),
                f"{own.size} is more than the {general.size} of the global task_pool, which holds",
            )
        if own.queue_bound and own.over(general.for_actions()).queue_enabled is None:
            report.warn(pool.at("queue", "size"), _NOT_ENABLED)
    enabled = [own for own in (general, *pools.values()) if own.queue_enabled is not None]
    if general.queue_bound and not enabled:
        report.warn(section.at("task_pool", "queue", "size"), _NOT_ENABLED)


def _check_webhook_actions(section: Section, actions: Collection[str], report: Report) -> None:
    for place in entries(section):
        for name in entries(place.at("actions")):
            if name.text and name.text not in actions:
                report.refuse(name, "there is no such action")


def _apply_port(values: dict[str, Any], environment: Mapping[str, str], report: Report) -> None:
    text = environment.get(PORT_VARIABLE)
    if not text:
        return
    if not _PORT.fullmatch(text) or int(text) > 65535:
        variable = Section(Document.of_variable(PORT_VARIABLE, text))
        report.refuse(variable, f"expected a port from 0 to 65535, got {describe(text)}")
    values["listen"] = (f":{text}",)


def _config(values: dict[str, Any], report: Report) -> Config:
    values["task_pool"] = PoolSettings.from_keys(values["task_pool"])
    values["retry"] = _retry(values["retry"])
    return Config(warnings=tuple(report.warnings), **values)


def _actions(written: Mapping[str, Any] | None) -> Mapping[str, ActionConfig]:
    """Return the actions that a driver can look at, whatever else is wrong with them."""
    return MappingProxyType(
        {
            name: _action(name, values)
            for name, values in (written or {}).items()
            if values is not None and values["type"] and not _is_unfit(values["config"])
        }
    )


def _is_unfit(config: Section) -> bool:
    return config.value is not None and not isinstance(config.value, dict)


def _action(name: str, values: dict[str, Any]) -> ActionConfig:
    meta = values.pop("meta") or {}
    values["description"] = values["description"] or meta.get("description", "")
    values["task_pool"] = PoolSettings.from_keys(values["task_pool"])
    values["retry"] = _retry(values["retry"])
    readiness = readiness_of(values)
    depends_on = tuple(
        Dependency(action, condition)
        for action, condition in (values.pop("depends_on") or {}).items()
        if condition is not None
    )
    return ActionConfig(name=name, depends_on=depends_on, readiness=readiness, **values)


def _retry(keys: Mapping[str, Any] | Literal[False]) -> Layer:
    if keys is False:
        return False
    written = dict(keys)
    if "success_exit_codes" in written:
        written["success_exit_codes"] = tuple(written["success_exit_codes"])
    return PartialRetryPolicy(**written)
