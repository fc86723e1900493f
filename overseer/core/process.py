"""Plain values that describe a child process: what to run, and how it ended."""

import signal as signals
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import attrs

Stream = Literal["stdout", "stderr"]


def signal_name(number: int) -> str:
    """Return the name of a signal, as in ``SIGTERM``; a real-time one without is called ``SIG35``."""
    try:
        return signals.Signals(number).name
    except ValueError:
        return f"SIG{number}"


SIGNALS: Mapping[str, int] = MappingProxyType(
    {signal_name(number): int(number) for number in signals.valid_signals()}
    | {name: int(number) for name, number in signals.Signals.__members__.items()}
)
"""All signals by their names, some of which mean the same."""


def signal_number(name: str) -> int:
    """Return the number of a signal by its name: ``TERM``, ``SIGTERM``, in any case.

    :raises ValueError: when there is no such signal.
    """
    number = SIGNALS.get(f"SIG{name.upper().removeprefix('SIG')}")
    if number is None:
        raise ValueError(f'unknown signal: "{name}"')
    return number


@attrs.frozen(kw_only=True)
class ProcessSpec:
    """Everything that is needed to spawn one child process.

    ``argv[0]`` is the program, looked up in the child's own ``PATH`` when it has no slash.
    ``env`` is the whole environment of the child: nothing is added to it.
    ``rlimits`` maps names as in ``prlimit(1)`` (``nofile``, ``as``, ``cpu`` ...) to ``(soft, hard)``,
    ``None`` standing for "unlimited". With ``pty`` stdin, stdout and stderr are a terminal, the controlling
    one, whatever ``stdin`` says; all output is stdout then. What comes from ``dropped`` streams is read and
    told to nobody. With ``cgroup`` it runs in a control group of its own, where there can be one. The child
    itself makes the file ``receipt`` before it becomes the program, where flock(1) is installed: it is there
    exactly if the child was started, whatever becomes of who started it.
    """

    argv: tuple[str, ...]
    env: Mapping[str, str]
    cwd: str | None = None
    user: str | int | None = None
    group: str | int | None = None
    umask: int | None = None
    nice: int | None = None
    rlimits: Mapping[str, tuple[int | None, int | None]] = attrs.field(factory=dict)
    stop_signal: int = signals.SIGTERM
    stdin: Literal["null", "pipe"] = "null"
    pty: bool = False
    cgroup: bool = False
    dropped: frozenset[Stream] = frozenset()
    receipt: str | None = None


@attrs.frozen
class Outcome:
    """How a run ended: an exit code, or -1 with the name of the signal (protocol.md section 5)."""

    exit_code: int
    signal: str | None = None

    @classmethod
    def from_signal(cls, number: int) -> "Outcome":
        """Return the outcome of a process that signal ``number`` ended."""
        return cls(-1, signal_name(number))
