"""Which drivers there are: a driver registers its factory under the name of its type."""

from collections.abc import Iterable, Mapping

from overseer.core.config import ActionConfig, Problem, Section
from overseer.drivers.exec import ExecFactory
from overseer.drivers.interfaces import DriverServices, IActionHandler, IActionHandlerFactory


class Drivers:
    """The factories that a daemon makes its actions with."""

    def __init__(self, factories: Iterable[IActionHandlerFactory]) -> None:
        self._factories = {factory.type: factory for factory in factories}

    @property
    def types(self) -> tuple[str, ...]:
        """The registered types, sorted."""
        return tuple(sorted(self._factories))

    def check(self, action: Section) -> Iterable[Problem]:
        """Tell what is wrong with the driver's part of a configured action."""
        name = action.at("type").value
        if not isinstance(name, str) or not name:
            return ()  # told already: every action needs a type
        factory = self._factories.get(name)
        if factory is None:
            known = ", ".join(self.types)
            return (action.problem(("type",), f'unknown driver "{name}" (there are: {known})'),)
        config = action.at("config")
        if config.value is not None and not isinstance(config.value, dict):
            return ()  # told already
        return factory.check(config)

    def create_actions(
        self, actions: Mapping[str, ActionConfig], services: DriverServices
    ) -> Mapping[str, IActionHandler]:
        """Return the handlers of configured actions by their names.

        :raises overseer.core.config.ConfigError: when an action was not checked before and does not fit.
        """
        return {
            name: self._factories[action.type].create(action, services)
            for name, action in actions.items()
        }


def built_in_drivers() -> Drivers:
    """Return the drivers that every daemon has."""
    return Drivers([ExecFactory()])
