"""The exec driver: an action is a program with an argument list, each argument a template.

No shell is involved, one rendered element is one argument whatever characters are in it, and a client
cannot choose the program: an ``entrypoint`` may only use parameters that are validated.
"""

from collections.abc import Iterator, Mapping

import attrs
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

from overseer.core.config import (
    ActionConfig,
    ConfigError,
    ExecConfig,
    Problem,
    Section,
    parse_exec_config,
)
from overseer.core.config.exec_driver import condition_path
from overseer.core.environment import parse_environment_file
from overseer.core.expressions import (
    ExpressionError,
    Validation,
    compile_condition,
    compile_validation,
)
from overseer.core.filtering import Select
from overseer.core.pool import PoolSettings
from overseer.core.process import ProcessSpec, Stream
from overseer.core.retry import Layer
from overseer.core.template import Template, TemplateError, compile_template
from overseer.core.worker import Worker, WorkerEvents
from overseer.core.yaml_source import Path
from overseer.drivers.interfaces import (
    DriverServices,
    IActionHandler,
    IActionHandlerFactory,
    ValidationError,
)
from overseer.process import (
    INSTANCE_VARIABLE,
    ProcessSpawner,
    ProcessWorker,
    child_environment,
)
from overseer.protocol.messages import (
    ActionInfo,
    ExcessConfig,
    ParamSpec,
    PoolConfig,
    RetryPolicy,
)

_NUL = "\0"
HIDDEN = "***"
"""What is shown of a secret."""
TERMINAL = "xterm"
"""What the child with a terminal is told it is, unless its action says otherwise."""
MAX_SHOWN = 100
"""Characters of a parameter that an error repeats."""


@implementer(IActionHandler)
@attrs.frozen(kw_only=True)
class ExecHandler:
    """One configured program. Its runs get ``base_environment`` first and ``mark`` last of all."""

    action: ActionConfig
    config: ExecConfig
    entrypoint: Template
    arguments: tuple[tuple[str, Template], ...]
    environment: tuple[tuple[str, Template], ...]
    cwd: Template | None
    validations: Mapping[str, Validation]
    filters: Mapping[Stream, Select]
    base_environment: Mapping[str, str]
    mark: Mapping[str, str]
    spawner: ProcessSpawner
    clock: IReactorTime

    @property
    def stop_grace(self) -> float:
        """Seconds between SIGTERM and SIGKILL when a stop does not say."""
        return self.action.stop_grace

    @property
    def hold(self) -> bool:
        """Whether the child may be held while every subscriber is behind."""
        return self.action.backpressure == "hold"

    @property
    def replay_buffer(self) -> int | None:
        """Events kept a task."""
        return self.action.replay_buffer

    @property
    def timeout(self) -> float:
        """Most seconds of a run; 0 = unlimited."""
        return self.action.timeout

    @property
    def idle_timeout(self) -> float:
        """Most seconds without output; 0 = unlimited."""
        return self.action.idle_timeout

    @property
    def retry(self) -> Layer:
        """What the action says of restarts."""
        return self.action.retry

    @property
    def pool(self) -> PoolSettings:
        """What the action says of its pool."""
        return self.action.task_pool

    @property
    def dedupe_key(self) -> tuple[str, ...]:
        """Parameters of which one set of values runs only once."""
        return self.action.dedupe_key

    @property
    def secrets(self) -> frozenset[str]:
        """Parameters whose values are never shown."""
        return frozenset(name for name, spec in self.config.parameters.items() if spec.secret)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What the operator should know about the configuration."""
        return self.config.warnings

    def describe(self) -> ActionInfo:
        """Return what clients are told of the action."""
        params = {
            name: ParamSpec(
                default=HIDDEN if spec.secret and spec.default else spec.default,
                validate=spec.validate,
                description=spec.description or None,
            )
            for name, spec in self.config.parameters.items()
        }
        return ActionInfo(
            name=self.action.name,
            type=self.action.type,
            description=self.action.description or None,
            params=params or None,
            task_pool=PoolConfig(limit=0, excess=ExcessConfig()),
            retry=RetryPolicy(),
        )

    def validate(self, params: Mapping[str, str]) -> Mapping[str, str]:
        """Return the parameters with defaults added.

        :raises ValidationError: naming the parameter that is missing or holds a NUL (execve(2) cannot
            pass one).
        """
        values = dict(params)
        for name, spec in self.config.parameters.items():
            if name in values:
                continue
            if spec.default is None:
                raise ValidationError(f'parameter "{name}" is required')
            values[name] = spec.default
        for name, value in values.items():
            if _NUL in value:
                raise ValidationError(f'parameter "{name}": contains a NUL character')
        for name, validation in self.validations.items():
            value = values[name]
            if not validation.accepts(value):
                shown = HIDDEN if self.config.parameters[name].secret else _shorten(value)
                raise ValidationError(f'parameter "{name}": "{shown}" fails {validation.source}')
        return values

    def _program(self, params: Mapping[str, str]) -> str:
        program = _render("entrypoint", self.entrypoint, params)
        if not program:
            raise ValidationError("entrypoint: renders to nothing")
        return program

    def create_worker(
        self, task_id: str, params: Mapping[str, str], events: WorkerEvents, *, attempt: int
    ) -> Worker:
        """Return the worker of one run.

        :raises ValidationError: when a template cannot be rendered with these parameters.
        """
        environment = {
            **self.base_environment,
            "OVERSEER_TASK_ID": task_id.replace("\0", "\ufffd"),  # which no variable can hold
            "OVERSEER_ACTION": self.action.name,
            "OVERSEER_ATTEMPT": str(attempt),
        }
        for name, template in self.environment:
            environment[name] = _render(f"env.{name}", template, params)
        environment.update(self.mark)
        config = self.config
        spec = ProcessSpec(
            argv=(
                self._program(params),
                *(_render(path, template, params) for path, template in self.arguments),
            ),
            env=environment,
            cwd=None if self.cwd is None else _render("cwd", self.cwd, params) or None,
            user=config.user,
            group=config.group,
            umask=config.umask,
            nice=config.nice,
            rlimits=config.rlimits,
            stop_signal=config.stop_signal,
            stdin=config.stdin,
            pty=config.pty,
        )
        return ProcessWorker(self.spawner, spec, events, self.clock)


@implementer(IActionHandlerFactory)
class ExecFactory:
    """Makes exec handlers."""

    type = "exec"

    def check(self, config: Section) -> tuple[Problem, ...]:
        """Return everything that is wrong with the ``config`` of an action."""
        try:
            return tuple(_Compiled(parse_exec_config(config)).problems)
        except ConfigError as error:
            return (*error.problems, *_template_problems(config))

    def create(self, action: ActionConfig, services: DriverServices) -> ExecHandler:
        """Return the handler of an action.

        :raises ConfigError: naming every key that does not fit.
        """
        config = parse_exec_config(action.config)
        compiled = _Compiled(config)
        if compiled.problems:
            raise ConfigError(tuple(compiled.problems))
        inherited = {} if config.clear_env else child_environment(services.environment)
        if config.pty:
            inherited["TERM"] = TERMINAL  # not the one that the daemon was started in
        return ExecHandler(
            action=action,
            config=config,
            entrypoint=compiled.entrypoint,
            arguments=compiled.arguments,
            environment=compiled.environment,
            cwd=compiled.cwd,
            validations=compiled.validations,
            filters=compiled.filters,
            base_environment=inherited | compiled.file_environment,
            mark={INSTANCE_VARIABLE: services.instance} if services.instance else {},
            spawner=services.spawner,
            clock=services.clock,
        )


class _Compiled:
    """The templates and files of one action, and everything that is wrong with them."""

    def __init__(self, config: ExecConfig) -> None:
        self._config = config
        self.problems: list[Problem] = []
        self.entrypoint = self._program(("entrypoint",), config)
        self.arguments = tuple(
            (f"command[{index}]", self._compile(("command", index), argument))
            for index, argument in enumerate(config.command)
        )
        self.environment = tuple(
            (name, self._compile(("env", name), value)) for name, value in config.env.items()
        )
        self.cwd = None if config.cwd is None else self._compile(("cwd",), config.cwd)
        self.validations = dict(self._validations(config))
        self.filters = dict(self._filters(config))
        self.file_environment = self._read_environment_file(config.env_file)

    def _compile(self, path: Path, source: str) -> Template:
        try:
            return compile_template(source)
        except TemplateError as error:
            self._complain(path, str(error))
            return compile_template("")

    def _program(self, path: Path, config: ExecConfig) -> Template:
        """Compile the entrypoint, which may depend on nothing that a client chooses freely."""
        template = self._compile(path, config.entrypoint)
        validated = {name for name, spec in config.parameters.items() if spec.validate}
        free = template.uses_whole_map or not template.names <= validated
        if not template.is_constant and free:
            self._complain(
                path,
                "may only use parameters that have a validate: a client must not choose the program",
            )
        elif template.is_constant and not self.problems:
            self._try_constant(path, template)
        return template

    def _try_constant(self, path: Path, template: Template) -> None:
        try:
            if not template.render({}):
                self._complain(path, "renders to nothing")
        except TemplateError as error:
            self._complain(path, str(error))

    def _validations(self, config: ExecConfig) -> Iterator[tuple[str, Validation]]:
        for name, spec in config.parameters.items():
            if not spec.validate:
                continue
            path: Path = ("parameters", name, "validate")
            try:
                yield name, compile_validation(spec.validate)
            except ExpressionError as error:
                self._complain(path, str(error))

    def _filters(self, config: ExecConfig) -> Iterator[tuple[Stream, Select]]:
        for stream, source in config.conditions.items():
            try:
                condition = compile_condition(source, stream)
            except ExpressionError as error:
                self._complain(condition_path(config.section, stream), str(error))
                continue
            if condition.constant is not True:
                yield stream, condition.select

    def _read_environment_file(self, path: str | None) -> dict[str, str]:
        if path is None:
            return {}
        try:
            with open(path, encoding="utf-8") as file:
                return parse_environment_file(file.read())
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            self._complain(("env_file",), f'cannot read "{path}": {reason}')
            return {}

    def _complain(self, path: Path, text: str) -> None:
        self.problems.append(self._config.section.problem(path, text))


def _template_problems(config: Section) -> Iterator[Problem]:
    """Tell which templates are wrong where something else is, too, so that all is told at once."""
    commands = config.at("command").value
    places: list[Path] = [
        ("entrypoint",),
        ("cwd",),
        *(
            ("command", index)
            for index in range(len(commands) if isinstance(commands, list) else 0)
        ),
        *(("env", name) for name in config.at("env").names),
    ]
    for place in places:
        try:
            compile_template(config.at(*place).text or "")
        except TemplateError as error:
            yield config.problem(place, str(error))


def _shorten(value: str) -> str:
    return value if len(value) <= MAX_SHOWN else value[:MAX_SHOWN] + "…"


def _render(path: str, template: Template, params: Mapping[str, str]) -> str:
    try:
        text = template.render(params)
    except TemplateError as error:
        raise ValidationError(f"{path}: {error}") from None
    if _NUL in text:
        raise ValidationError(f"{path}: renders to text with a NUL character")
    return text
