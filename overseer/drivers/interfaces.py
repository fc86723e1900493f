"""What a driver is: everything between overseer and whatever runs an action.

A driver is an :class:`ActionHandlerFactory`. It makes an :class:`ActionHandler` for each action of its type,
which starts a worker for each run. What the configuration says of any action, whatever its driver, is no
business of a handler: an :class:`Action` has both.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import attrs
from twisted.internet.interfaces import IReactorFromThreads, IReactorTime
from twisted.logger import Logger

from overseer.core.config import (
    ActionConfig,
    ConfigError,
    Kind,
    Parameter,
    Problem,
    Section,
)
from overseer.core.expressions import compile_validation
from overseer.core.filtering import Select
from overseer.core.pool import PoolLimits
from overseer.core.process import ProcessSpec, Stream
from overseer.core.retry import RetryPolicy
from overseer.core.worker import Worker, WorkerEvents
from overseer.protocol import messages
from overseer.protocol.messages import ActionInfo, ParamSpec

PoolConfig = PoolLimits
"""What an action says of its pool: sticky-overseer's name of it."""
HIDDEN = "***"
"""What is shown of a secret."""
MAX_SHOWN = 100
"""Characters of a parameter that an error repeats."""


class ValidationError(ValueError):
    """The parameters of a start do not fit; the text names the parameter."""


class IDriverReactor(IReactorTime, IReactorFromThreads):
    """The abilities of a reactor that drivers need."""


@attrs.frozen(kw_only=True)
class DriverServices:
    """What a daemon offers to its drivers; ``environment`` is the daemon's own.

    ``start_process`` starts a process and returns its worker; drivers leave that to ``start_worker``. By
    ``instance`` in their environment the processes of this daemon are recognised, by a later one too where
    there is a database to remember it by.
    """

    start_process: Callable[[ProcessSpec, WorkerEvents], Worker]
    reactor: IDriverReactor
    environment: Mapping[str, str]
    instance: str = ""


@attrs.frozen(kw_only=True)
class WorkerCallbacks:
    """Where one run reports to, and what it needs of the daemon: what a handler passes on to its worker.

    ``attempt`` counts the automatic restarts of the task up to this run: 0 for a start. ``cgroup`` says whether
    a process shall have a control group of its own. ``receipt`` is a file that the run itself makes when it
    begins. ``start_worker`` and ``start_virtual_worker`` see to both, and put the worker into ``begun``, by
    which overseer ends it if the handler fails afterwards.
    """

    events: WorkerEvents
    services: DriverServices
    action: str
    attempt: int = 0
    cgroup: bool = False
    receipt: str | None = None
    begun: list[Worker] = attrs.field(factory=list, repr=False)


class ActionHandler(ABC):
    """One configured action of a driver; :meth:`start` is all that a driver must write.

    :cvar parameters: what a client may or must give.
    :cvar filters: what is kept of each stream; all where none is named.
    :cvar warnings: what the operator should know, each by its ``str()``.
    """

    parameters: Mapping[str, Parameter] = {}
    filters: Mapping[Stream, Select] = {}
    warnings: Sequence[object] = ()

    @property
    def secrets(self) -> Collection[str]:
        """Parameters whose values are never shown."""
        return frozenset(name for name, spec in self.parameters.items() if spec.secret)

    def describe(self) -> ActionInfo:
        """Return what clients are told of the action.

        Its name, type, pool, retry policy and ``dedupe_key`` are overseer's to tell, and put in there.
        """
        params = {
            name: ParamSpec(
                default=HIDDEN if spec.secret and spec.default else spec.default,
                validate=spec.validate,
                description=spec.description or None,
            )
            for name, spec in self.parameters.items()
        }
        return ActionInfo(
            name="",
            type="",
            params=params or None,
            task_pool=messages.PoolConfig(limit=0, excess=messages.ExcessConfig()),
            retry=messages.RetryPolicy(),
        )

    def validate(self, params: Mapping[str, str]) -> Mapping[str, str]:
        """Return the parameters that a start works with, defaults added.

        :raises ValidationError: when they do not fit.
        """
        values = dict(params)
        for name, spec in self.parameters.items():
            if name in values:
                continue
            if spec.default is None:
                raise ValidationError(f'parameter "{name}" is required')
            values[name] = spec.default
        for name, spec in self.parameters.items():
            if spec.validate and not compile_validation(spec.validate).accepts(values[name]):
                shown = HIDDEN if spec.secret else _shorten(values[name])
                raise ValidationError(f'parameter "{name}": "{shown}" fails {spec.validate}')
        return values

    @abstractmethod
    def start(self, task_id: str, params: Mapping[str, str], callbacks: WorkerCallbacks) -> Worker:
        """Start one run with parameters that ``validate`` has returned; what becomes of it, it reports.

        :raises ValidationError: when it cannot be started with these parameters.
        """

    def start_probe(
        self,
        task_id: str,
        params: Mapping[str, str],
        command: Sequence[str],
        callbacks: WorkerCallbacks,
    ) -> Worker:
        """Start the command of an ``exec`` readiness probe where, and as whom, the task itself runs.

        :raises ValidationError: a driver that runs no processes has no such place.
        """
        raise ValidationError("readiness_probe.exec: this driver runs no processes")


def _kind(value: object) -> str:
    return type(value).__name__  # and no more: it may be a secret


def _shorten(value: str) -> str:
    return value if len(value) <= MAX_SHOWN else value[:MAX_SHOWN] + "…"


class _MissingKey(ConfigError, KeyError):
    """The KeyError of a configuration: where nobody handles it, it is the operator's mistake."""

    __str__ = Exception.__str__  # a KeyError shows the repr of its text


class DriverConfig(Mapping[str, Any]):
    """The ``config`` of an action as its driver gets it: a mapping that knows where in the file it stands.

    A key that is not there is a ConfigError, too, which says that it is required.

    :ivar section: the place in the configuration file.
    :ivar warnings: what the operator should know of the keys.
    """

    def __init__(
        self, section: Section, values: Mapping[str, Any], warnings: Sequence[Problem] = ()
    ) -> None:
        self.section = section
        self.warnings = tuple(warnings)
        self._values = values

    def __getitem__(self, key: str) -> Any:
        if key not in self._values:
            raise _MissingKey((self.section.problem((key,), "is required"),))
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def error(self, text: str, *path: str | int) -> ConfigError:
        """Return the error, to be raised, that names the file and the line of the value at ``path``."""
        return ConfigError((self.section.problem(path, text),))


class ActionHandlerFactory(ABC):
    """A driver: makes the handlers of all actions of its type.

    :cvar type: the name that ``type:`` in the configuration calls it by.
    :cvar keys: what ``config:`` may hold. It is read by this table, and every mistake is told, before anything
        is made; without one the driver gets what is written.
    """

    type: str
    keys: Kind | None = None

    @abstractmethod
    def create(
        self,
        config: DriverConfig,
        name: str,
        retry: RetryPolicy | None,
        pool: PoolConfig,
        dedupe_key: Sequence[str],
    ) -> ActionHandler:
        """Return the handler of the action ``name``. It starts nothing: a check of a configuration asks, too.

        ``retry`` and ``pool`` are what the action itself says, in seconds: overseer acts on them, whether or
        not the driver looks at them.

        :raises overseer.core.config.ConfigError: naming every key that does not fit.
        """


@attrs.frozen(kw_only=True)
class Action:
    """One configured action: what the configuration says of it, and the handler of its driver."""

    _log: ClassVar = Logger()

    settings: ActionConfig
    handler: ActionHandler
    services: DriverServices
    warnings: Sequence[object] = ()

    @property
    def name(self) -> str:
        """What a start calls it."""
        return self.settings.name

    def describe(self) -> ActionInfo:
        """Return what its driver tells of the action, or what there is to tell without it should it fail."""
        try:
            return self.handler.describe()
        except Exception:
            self._log.failure("describe of {action} failed", action=self.name)
            return ActionHandler.describe(self.handler)

    def validate(self, params: Mapping[str, str]) -> Mapping[str, str]:
        """Return the parameters that a start works with, defaults added.

        :raises ValidationError: when they do not fit.
        :raises TypeError: when the driver returns what no client could be told.
        """
        values: object = self.handler.validate(params)
        if not isinstance(values, Mapping):
            raise TypeError(
                f'validate of "{self.name}": expected texts by name, got {_kind(values)}'
            )
        for name, value in values.items():
            if not (isinstance(name, str) and isinstance(value, str)):
                raise TypeError(
                    f'validate of "{self.name}": {name}: expected text, got {_kind(value)}'
                )
        return values

    def start(
        self,
        task_id: str,
        params: Mapping[str, str],
        events: WorkerEvents,
        *,
        attempt: int,
        receipt: str | None = None,
        begun: list[Worker] | None = None,
    ) -> Worker:
        """Start one run that reports to ``events``, though not before this returns.

        :param begun: gets the worker if it has started when this raises.
        :raises ValidationError: when it cannot be started with these parameters.
        :raises TypeError: when the driver returns no worker.
        """
        callbacks = self._callbacks(events, attempt, receipt)
        try:
            worker: Worker | None = self.handler.start(task_id, params, callbacks)
            if worker is None:
                raise TypeError(f'start of "{self.name}": expected a worker, got None')
        except Exception:
            if begun is not None:
                begun += callbacks.begun
            raise
        finally:
            callbacks.begun.clear()  # they may know each other
        return worker

    def start_probe(
        self, task_id: str, params: Mapping[str, str], command: Sequence[str], events: WorkerEvents
    ) -> Worker:
        """Start the command of a readiness probe, which reports to ``events`` as a run does.

        :raises ValidationError: when it cannot be started.
        """
        return self.handler.start_probe(task_id, params, command, self._callbacks(events, 0))

    def _callbacks(
        self, events: WorkerEvents, attempt: int, receipt: str | None = None
    ) -> WorkerCallbacks:
        return WorkerCallbacks(
            events=events,
            services=self.services,
            action=self.name,
            attempt=attempt,
            cgroup=self.settings.cgroup,
            receipt=receipt,
        )
