"""The exec driver: an action is a program with an argument list, each argument a template.

No shell is involved, one rendered element is one argument whatever characters are in it, and a client
cannot choose the program: an ``entrypoint`` may only use parameters that are validated. It is built on what any
driver can import.
"""

from collections.abc import Iterator, Mapping, Sequence

import attrs

from overseer.core.config import ConfigError, ExecConfig, Parameter, Problem
from overseer.core.config.exec_driver import EXEC, condition_path
from overseer.core.environment import parse_environment_file
from overseer.core.expressions import (
    ExpressionError,
    compile_condition,
    compile_validation,
)
from overseer.core.filtering import Select
from overseer.core.process import Stream
from overseer.core.retry import RetryPolicy
from overseer.core.template import Template, TemplateError, compile_template
from overseer.core.worker import Worker
from overseer.core.yaml_source import Path
from overseer.drivers.interfaces import (
    ActionHandler,
    ActionHandlerFactory,
    DriverConfig,
    PoolConfig,
    ValidationError,
    WorkerCallbacks,
)
from overseer.drivers.processes import WorkerConfig, start_worker

_NUL = "\0"


@attrs.frozen(kw_only=True)
class ExecHandler(ActionHandler):
    """One configured program."""

    config: ExecConfig
    parameters: Mapping[str, Parameter]
    entrypoint: Template
    arguments: tuple[tuple[str, Template], ...]
    environment: tuple[tuple[str, Template], ...]
    file_environment: Mapping[str, str]
    cwd: Template | None
    filters: Mapping[Stream, Select]

    def validate(self, params: Mapping[str, str]) -> Mapping[str, str]:
        """Return the parameters with defaults added.

        :raises ValidationError: naming the parameter that is missing, fails its ``validate``, or holds a NUL
            (execve(2) cannot pass one).
        """
        for name, value in params.items():
            if _NUL in value:
                raise ValidationError(f'parameter "{name}": contains a NUL character')
        return super().validate(params)

    def start(self, task_id: str, params: Mapping[str, str], callbacks: WorkerCallbacks) -> Worker:
        """Start the program.

        :raises ValidationError: when a template cannot be rendered with these parameters.
        """
        return start_worker(self._worker(task_id, params), callbacks)

    def start_probe(
        self,
        task_id: str,
        params: Mapping[str, str],
        command: Sequence[str],
        callbacks: WorkerCallbacks,
    ) -> Worker:
        """Start a command beside the program: same user, folder, environment and limits."""
        beside = attrs.evolve(
            self._worker(task_id, params),
            command=command[0],
            args=command[1:],
            include_stdout=False,
            include_stderr=False,
            stdin="null",
            pty=False,
        )
        return start_worker(beside, callbacks)

    def _worker(self, task_id: str, params: Mapping[str, str]) -> WorkerConfig:
        config = self.config
        rendered = {name: _render(f"env.{name}", value, params) for name, value in self.environment}
        return WorkerConfig(
            task_id,
            self._program(params),
            [_render(path, template, params) for path, template in self.arguments],
            env={**self.file_environment, **rendered},
            inherit_env=not config.clear_env,
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

    def _program(self, params: Mapping[str, str]) -> str:
        program = _render("entrypoint", self.entrypoint, params)
        if not program:
            raise ValidationError("entrypoint: renders to nothing")
        return program


class ExecFactory(ActionHandlerFactory):
    """Makes exec handlers."""

    type = "exec"
    keys = EXEC

    def create(
        self,
        config: DriverConfig,
        name: str,
        retry: RetryPolicy | None,
        pool: PoolConfig,
        dedupe_key: Sequence[str],
    ) -> ExecHandler:
        """Return the handler of an action.

        :raises ConfigError: naming every key that does not fit.
        """
        written = ExecConfig.from_keys(config.section, config)
        compiled = _Compiled(written)
        if compiled.problems:
            raise ConfigError(tuple(compiled.problems))
        return ExecHandler(
            config=written,
            parameters=written.parameters,
            entrypoint=compiled.entrypoint,
            arguments=compiled.arguments,
            environment=compiled.environment,
            file_environment=compiled.file_environment,
            cwd=compiled.cwd,
            filters=compiled.filters,
        )


class _Compiled:
    """The templates and files of one action, and everything that is wrong with them."""

    def __init__(self, config: ExecConfig) -> None:
        self._config = config
        self.problems: list[Problem] = []
        self.entrypoint = compile_template(config.entrypoint)
        self.arguments = tuple(
            (f"command[{index}]", compile_template(argument))
            for index, argument in enumerate(config.command)
        )
        self.environment = tuple(
            (name, compile_template(value)) for name, value in config.env.items()
        )
        self.cwd = None if config.cwd is None else compile_template(config.cwd)
        self._check_validations(config)
        self.filters = dict(self._filters(config))
        self.file_environment = self._read_environment_file(config.env_file)

    def _check_validations(self, config: ExecConfig) -> None:
        for name, spec in config.parameters.items():
            if not spec.validate:
                continue  # or the library would be loaded for nothing
            try:
                compile_validation(spec.validate)
            except ExpressionError as error:
                self._complain(("parameters", name, "validate"), str(error))

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


def _render(path: str, template: Template, params: Mapping[str, str]) -> str:
    try:
        text = template.render(params)
    except TemplateError as error:
        raise ValidationError(f"{path}: {error}") from None
    if _NUL in text:
        raise ValidationError(f"{path}: renders to text with a NUL character")
    return text
