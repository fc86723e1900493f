"""What a driver is: the interfaces between overseer and whatever runs an action."""

from collections.abc import Collection, Mapping, Sequence

import attrs
from twisted.internet.interfaces import IReactorTime
from zope.interface import Attribute, Interface

from overseer.core.config import ActionConfig, Problem, Section
from overseer.core.filtering import Select
from overseer.core.pool import PoolSettings
from overseer.core.process import Stream
from overseer.core.retry import Layer
from overseer.core.worker import Worker, WorkerEvents
from overseer.process import ProcessSpawner
from overseer.protocol.messages import ActionInfo


class ValidationError(ValueError):
    """The parameters of a start do not fit; the text names the parameter."""


class IActionHandler(Interface):
    """One configured action."""

    stop_grace: float = Attribute("Seconds between SIGTERM and SIGKILL when a stop does not say.")
    hold: bool = Attribute("Whether a child may be held while every subscriber is behind.")
    replay_buffer: int | None = Attribute("Events kept a task; None for the daemon's default.")
    timeout: float = Attribute("Most seconds of a run; 0 = unlimited.")
    idle_timeout: float = Attribute("Most seconds without output; 0 = unlimited.")
    retry: Layer = Attribute("What the action says of restarts; False puts away what is global.")
    pool: PoolSettings = Attribute("What the action says of its pool.")
    dedupe_key: Sequence[str] = Attribute("Parameters of which one set of values runs only once.")
    filters: Mapping[Stream, Select] = Attribute(
        "What is kept of each stream; all where none is named."
    )
    secrets: Collection[str] = Attribute("Parameters whose values are never shown.")
    warnings: Sequence[object] = Attribute("What the operator should know, each by its ``str()``.")

    def describe() -> ActionInfo:
        """Return what ``describe`` and the manifest tell of the action."""

    def validate(params: Mapping[str, str]) -> Mapping[str, str]:
        """Return the parameters that a start works with, defaults added.

        :raises ValidationError: when they do not fit.
        """

    def create_worker(
        task_id: str, params: Mapping[str, str], events: WorkerEvents, *, attempt: int
    ) -> Worker:
        """Return a worker for one run with validated parameters; it is started by the caller.

        ``attempt`` counts the automatic restarts of the task up to this run: 0 for a start.

        :raises ValidationError: when the parameters cannot be rendered.
        """


@attrs.frozen(kw_only=True)
class DriverServices:
    """What a daemon offers to its drivers; ``environment`` is the daemon's own.

    By ``instance`` in their environment a later daemon recognises processes that this one could not end;
    empty where there is nothing to remember it by.
    """

    spawner: ProcessSpawner
    clock: IReactorTime
    environment: Mapping[str, str]
    instance: str = ""


class IActionHandlerFactory(Interface):
    """A driver: makes the handlers of all actions of its type."""

    type: str = Attribute("The name that `type:` in the configuration calls it by.")

    def check(config: Section) -> Sequence[Problem]:
        """Return everything that is wrong with the driver's part of an action."""

    def create(action: ActionConfig, services: DriverServices) -> IActionHandler:
        """Return the handler of one configured action.

        :raises overseer.core.config.ConfigError: naming every key that does not fit.
        """
