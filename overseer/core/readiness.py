"""Whether a task is ready: what is looked at, and how many looks it takes to believe it.

The fields are those of process-compose, which has them from Kubernetes.
"""

from collections.abc import Mapping
from typing import ClassVar

import attrs

from overseer.core.template import TemplateError, compile_template

_LARGEST_PORT = 65535


class ProbeError(Exception):
    """A task is not ready; the text says why."""


@attrs.frozen(kw_only=True)
class HttpCheck:
    """A GET is answered with ``status_code``. All texts are templates, until :func:`rendered`."""

    kind: ClassVar[str] = "http_get"

    host: str
    scheme: str
    path: str
    port: str
    status_code: int

    @property
    def url(self) -> str:
        """What is asked.

        :raises ProbeError: when the port is none.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = f":{port_number(self.port)}" if self.port else ""
        return f"{self.scheme}://{host}{port}/{self.path.removeprefix('/')}"


@attrs.frozen(kw_only=True)
class TcpCheck:
    """A connection is accepted. The texts are templates, until :func:`rendered`."""

    kind: ClassVar[str] = "tcp"

    host: str
    port: str


@attrs.frozen(kw_only=True)
class ExecCheck:
    """A program ends with exit code 0. Its arguments are templates, until :func:`rendered`."""

    kind: ClassVar[str] = "exec"

    command: tuple[str, ...]


@attrs.frozen(kw_only=True)
class LogLineCheck:
    """A line of output contains a text; this is looked for in all of it, and is no matter of time."""

    kind: ClassVar[str] = "ready_log_line"

    text: str


Check = HttpCheck | TcpCheck | ExecCheck | LogLineCheck


@attrs.frozen(kw_only=True)
class ReadinessProbe:
    """What is looked at, and when: ``initial_delay``, ``period`` and ``timeout`` are in seconds."""

    check: Check
    initial_delay: float = 0.0
    period: float = 10.0
    timeout: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3


@attrs.define
class ReadinessState:
    """What the results so far come to: ready, or not. Nothing is ready before the first result."""

    probe: ReadinessProbe
    ready: bool = False
    _different: int = 0
    """How many results in a row have said otherwise."""

    def take(self, succeeded: bool) -> bool:
        """Take one result; return whether it changes the readiness."""
        if succeeded == self.ready:
            self._different = 0
            return False
        self._different += 1
        needed = self.probe.success_threshold if succeeded else self.probe.failure_threshold
        if self._different < needed:
            return False
        self.ready, self._different = succeeded, 0
        return True


def rendered(check: Check, params: Mapping[str, str]) -> Check:
    """Return a check for a task with these parameters.

    :raises ProbeError: when a template cannot be rendered.
    """

    def text(source: str) -> str:
        try:
            return compile_template(source).render(params)
        except TemplateError as error:
            raise ProbeError(f"readiness_probe: {error}") from None

    match check:
        case HttpCheck():
            return attrs.evolve(
                check, host=text(check.host), path=text(check.path), port=text(check.port)
            )
        case TcpCheck():
            return attrs.evolve(check, host=text(check.host), port=text(check.port))
        case ExecCheck():
            return ExecCheck(command=tuple(map(text, check.command)))
        case LogLineCheck():
            return LogLineCheck(text=text(check.text))


def port_number(text: str) -> int:
    """Return the number of a port.

    :raises ProbeError: when it is none.
    """
    if text.isascii() and text.isdecimal() and 0 < int(text[:6]) <= _LARGEST_PORT:
        return int(text)
    raise ProbeError(f'readiness_probe: expected a port from 1 to {_LARGEST_PORT}, got "{text}"')
