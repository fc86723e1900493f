"""Which drivers there are: a driver registers its factory under the name of its type."""

from collections.abc import Iterable, Mapping

from overseer.core.config import Config, ConfigError, Problem
from overseer.drivers.interfaces import IActionHandler, IActionHandlerFactory

BUILT_IN = ("exec",)
"""Types that every daemon has."""


class Drivers:
    """The factories that a daemon makes its actions with."""

    def __init__(self, factories: Iterable[IActionHandlerFactory]) -> None:
        self._factories = {factory.type: factory for factory in factories}

    @property
    def types(self) -> tuple[str, ...]:
        """The registered types, sorted."""
        return tuple(sorted(self._factories))

    def create_actions(self, config: Config) -> Mapping[str, IActionHandler]:
        """Return the handlers of all configured actions by their names.

        :raises ConfigError: with everything that is wrong with any of them.
        """
        handlers: dict[str, IActionHandler] = {}
        problems: list[Problem] = []
        for name, action in config.actions.items():
            factory = self._factories.get(action.type)
            if factory is None:
                known = ", ".join(self.types)
                problems.append(
                    action.config.document.problem(
                        ("actions", name, "type"),
                        f'unknown driver "{action.type}" (there are: {known})',
                    )
                )
                continue
            try:
                handlers[name] = factory.create(action)
            except ConfigError as error:
                problems.extend(error.problems)
        if problems:
            raise ConfigError(tuple(problems))
        return handlers
