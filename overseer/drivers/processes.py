"""Workers that are operating system processes: what a driver says of one, and what every one is told."""

import signal as signals
from collections.abc import Mapping, Sequence
from typing import Literal

import attrs

from overseer.core.process import ProcessSpec, Stream
from overseer.core.worker import Worker
from overseer.drivers.interfaces import WorkerCallbacks
from overseer.process import (
    INSTANCE_VARIABLE,
    RUN_VARIABLE,
    child_environment,
    new_run,
)

TERMINAL = "xterm"
"""What the process with a terminal is told it is, unless its driver says otherwise."""


@attrs.frozen
class WorkerConfig:
    """A process to start: ``command`` with ``args``, each one argument as it is; there is no shell.

    ``env`` is added to the variables that the daemon itself was started with, or is all there is where
    ``inherit_env`` is off. ``rlimits`` maps names as in prlimit(1) to ``(soft, hard)``, ``None`` standing for
    "unlimited". A stream that is not included is read and dropped. With ``stdin="pipe"`` clients may write to
    the process, with ``pty`` it has a terminal for stdin, stdout and stderr, and all its output is stdout.
    """

    task_id: str
    command: str
    args: Sequence[str] = ()
    include_stdout: bool = True
    include_stderr: bool = True
    env: Mapping[str, str] = attrs.field(factory=dict, kw_only=True)
    inherit_env: bool = attrs.field(default=True, kw_only=True)
    cwd: str | None = attrs.field(default=None, kw_only=True)
    user: str | int | None = attrs.field(default=None, kw_only=True)
    group: str | int | None = attrs.field(default=None, kw_only=True)
    umask: int | None = attrs.field(default=None, kw_only=True)
    nice: int | None = attrs.field(default=None, kw_only=True)
    rlimits: Mapping[str, tuple[int | None, int | None]] = attrs.field(factory=dict, kw_only=True)
    stop_signal: int = attrs.field(default=signals.SIGTERM, kw_only=True)
    stdin: Literal["null", "pipe"] = attrs.field(default="null", kw_only=True)
    pty: bool = attrs.field(default=False, kw_only=True)


def start_worker(config: WorkerConfig, callbacks: WorkerCallbacks) -> Worker:
    """Start a process in a process group of its own, and return the worker that stands for it.

    Its environment says which task it is of: ``OVERSEER_TASK_ID``, ``OVERSEER_ACTION``, ``OVERSEER_ATTEMPT``.
    In spite of ``env`` it has a mark that nothing else has: ``OVERSEER_INSTANCE`` and ``OVERSEER_RUN``.
    """
    spec = ProcessSpec(
        argv=(config.command, *config.args),
        env=_environment(config, callbacks),
        cwd=config.cwd,
        user=config.user,
        group=config.group,
        umask=config.umask,
        nice=config.nice,
        rlimits=config.rlimits,
        stop_signal=config.stop_signal,
        stdin=config.stdin,
        pty=config.pty,
        dropped=_dropped(config),
        cgroup=callbacks.cgroup,
        receipt=callbacks.receipt,
    )
    worker = callbacks.services.start_process(spec, callbacks.events)
    callbacks.begun.append(worker)
    return worker


def _environment(config: WorkerConfig, callbacks: WorkerCallbacks) -> dict[str, str]:
    services = callbacks.services
    return {
        **(child_environment(services.environment) if config.inherit_env else {}),
        **({"TERM": TERMINAL} if config.pty else {}),  # not the one that the daemon was started in
        "OVERSEER_TASK_ID": config.task_id.replace("\0", "\ufffd"),  # which no variable can hold
        "OVERSEER_ACTION": callbacks.action,
        "OVERSEER_ATTEMPT": str(callbacks.attempt),
        **config.env,
        INSTANCE_VARIABLE: services.instance,
        RUN_VARIABLE: new_run(),
    }


def _dropped(config: WorkerConfig) -> frozenset[Stream]:
    included: dict[Stream, bool] = {
        "stdout": config.include_stdout,
        "stderr": config.include_stderr,
    }
    return frozenset(stream for stream, wanted in included.items() if not wanted)
