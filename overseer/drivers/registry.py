"""Which drivers there are: those of overseer, those of installed distributions, and what a program registers.

A distribution says by an entry point of the group ``overseer.drivers`` which module to import, and that module
registers its factories. One that cannot be imported hurts nobody but the actions that need it.
"""

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from importlib.metadata import entry_points

from overseer.core.config import ActionConfig, ConfigError, Kind, Problem, read_keys
from overseer.core.expressions import ExpressionError, compile_validation
from overseer.core.readiness import ExecCheck
from overseer.core.retry import PartialRetryPolicy, effective_policy
from overseer.drivers.exec import ExecFactory
from overseer.drivers.interfaces import (
    Action,
    ActionHandler,
    ActionHandlerFactory,
    DriverConfig,
    DriverServices,
    ValidationError,
)
from overseer.drivers.watch import WatchFactory

ENTRY_POINTS = "overseer.drivers"
"""The group of entry points that name the modules of drivers."""


class Drivers:
    """The factories that a daemon makes its actions with; ``broken`` says why others are not among them."""

    def __init__(
        self, factories: Iterable[ActionHandlerFactory], broken: Mapping[str, str] | None = None
    ) -> None:
        self._factories = {factory.type: factory for factory in factories}
        self.broken = broken or {}

    @property
    def types(self) -> tuple[str, ...]:
        """The registered types, sorted."""
        return tuple(sorted(self._factories))

    @property
    def keys(self) -> Mapping[str, Kind]:
        """What the ``config`` of an action may hold, by type, of all drivers that say it."""
        factories = self._factories.items()
        return {name: factory.keys for name, factory in factories if factory.keys is not None}

    def check(self, action: ActionConfig) -> Iterable[Problem]:
        """Tell what is wrong with the driver's part of a configured action."""
        try:
            handler = self._handler(action, self._config(action))
            if action.autostart:
                handler.validate({})
        except ConfigError as error:
            return error.problems
        except ValidationError as error:
            return (action.config.parent.problem(("autostart",), str(error)),)
        if _looks_by_a_program(action) and not _starts_probes(handler):
            path = ("readiness_probe", "exec")
            return (action.config.parent.problem(path, "this driver runs no processes"),)
        return ()

    def warnings(self, actions: Iterable[ActionConfig]) -> Iterator[object]:
        """Tell what the operator should know of configured actions that were checked."""
        for action in actions:
            config = self._config(action)
            yield from (*config.warnings, *self._handler(action, config).warnings)

    def create_actions(
        self, actions: Mapping[str, ActionConfig], services: DriverServices
    ) -> Mapping[str, Action]:
        """Return configured actions with their handlers, by their names.

        :raises overseer.core.config.ConfigError: when an action was not checked before and does not fit.
        """
        return {name: self._create(action, services) for name, action in actions.items()}

    def _create(self, action: ActionConfig, services: DriverServices) -> Action:
        config = self._config(action)
        handler = self._handler(action, config)
        return Action(
            settings=action,
            handler=handler,
            services=services,
            warnings=(*config.warnings, *handler.warnings),
        )

    def _factory(self, action: ActionConfig) -> ActionHandlerFactory:
        factory = self._factories.get(action.type)
        if factory is None:
            why = self.broken.get(action.type) or f"there are: {', '.join(self.types)}"
            text = f'unknown driver "{action.type}" ({why})'
            raise ConfigError((action.config.parent.problem(("type",), text),))
        return factory

    def _config(self, action: ActionConfig) -> DriverConfig:
        keys, section = self._factory(action).keys, action.config
        if keys is None:
            value = section.value
            return DriverConfig(section, value if isinstance(value, dict) else {})
        values, warnings = read_keys(keys, section)
        return DriverConfig(section, values, warnings)

    def _handler(self, action: ActionConfig, config: DriverConfig) -> ActionHandler:
        factory = self._factory(action)
        try:
            handler = factory.create(
                config,
                action.name,
                effective_policy(PartialRetryPolicy(), action.retry, None),
                action.task_pool.limits(),
                action.dedupe_key,
            )
            secrets = handler.secrets
            wrong = _wrong_expressions(handler)
        except ConfigError:
            raise
        except Exception as error:
            text = f'the driver "{action.type}" failed: {type(error).__name__}: {error}'
            raise ConfigError((action.config.problem((), text),)) from error
        if wrong:
            raise ConfigError(tuple(action.config.problem((), text) for text in wrong))
        if action.restore and secrets:
            names = ", ".join(f'"{name}"' for name in sorted(secrets))
            text = f"not with secret parameters ({names}): they would have to be kept on disk"
            raise ConfigError((action.config.parent.problem(("restore",), text),))
        return handler


_registered: dict[str, ActionHandlerFactory] = {}


def register_factory(factory: ActionHandlerFactory) -> None:
    """Let every configuration that is read from now on use a driver.

    :raises ValueError: when there is another one of its type.
    """
    if _registered.setdefault(factory.type, factory) is not factory:
        raise ValueError(f'there is a driver "{factory.type}" already')


def installed_drivers() -> Drivers:
    """Return the drivers that are registered, those of installed distributions too."""
    broken = _import_installed()
    return Drivers(_registered.values(), broken)


@cache
def _import_installed() -> Mapping[str, str]:
    """Import the drivers of installed distributions; return what is wrong with those that cannot be."""
    broken = {}
    for entry_point in entry_points(group=ENTRY_POINTS):
        try:
            entry_point.load()
        except Exception as error:
            text = f"cannot import {entry_point.value}: {type(error).__name__}: {error}"
            broken[entry_point.name] = text
    return broken


register_factory(ExecFactory())
register_factory(WatchFactory())


def _wrong_expressions(handler: ActionHandler) -> list[str]:
    """Return what is wrong with the ``validate`` of parameters: or only a start would show it."""
    wrong = []
    for name, spec in handler.parameters.items():
        try:
            if spec.validate:
                compile_validation(spec.validate)
        except ExpressionError as error:
            wrong.append(f'parameter "{name}": validate: {error}')
    return wrong


def _looks_by_a_program(action: ActionConfig) -> bool:
    return action.readiness is not None and isinstance(action.readiness.check, ExecCheck)


def _starts_probes(handler: ActionHandler) -> bool:
    return type(handler).start_probe is not ActionHandler.start_probe
