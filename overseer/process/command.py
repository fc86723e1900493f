"""How a process specification becomes a command line, and how a failure to run it is told.

``nice``, resource limits and the control group are set by an exec prefix (``prlimit(1)``, ``nice(1)``): they
hold before the program's first instruction, and code of ours between fork and exec (``preexec_fn``)
would rule out vfork. A receipt is the file that ``flock(1)`` makes, to lock it.
"""

import errno
import grp
import os
import pwd
import shutil
from collections.abc import Sequence

import attrs

from overseer.core.process import ProcessSpec

_ENTER = 'echo 0 2>/dev/null >"$0"; exec "$@"'
"""Enters a control group before anything of the program runs, as whoever may do that."""


class SpecError(Exception):
    """A specification that can't be carried out; the text says why."""


@attrs.frozen
class Identity:
    """The user, the primary and the other groups of a child; ``None`` leaves one as it is."""

    user: int | None = None
    group: int | None = None
    extra_groups: tuple[int, ...] | None = None


@attrs.frozen
class Command:
    """What is really executed, and as whom the *first* program of ``argv`` runs."""

    argv: tuple[str, ...]
    identity: Identity


def command_for(spec: ProcessSpec, entrance: str | None = None) -> Command:
    """Return the command of ``spec``, with its prefix; by ``entrance`` it goes into a control group.

    :raises SpecError: for an unknown user or group, or when a program of the prefix is not
        installed.
    :raises OSError: when the program of a prefixed command can't be executed; without a prefix the
        system itself tells at the exec.
    """
    identity = identity_of(spec)
    prefix = _limits_prefix(spec)
    if entrance is not None:
        prefix = ("/bin/sh", "-c", _ENTER, entrance, *prefix)
    if not prefix:
        return Command(spec.argv, identity)
    check_executable(spec)
    if identity.user is not None and os.geteuid() == 0:
        # Only root can raise limits or lower niceness, so the change of user comes last.
        prefix += _identity_prefix(identity)
        identity = Identity()
    return Command((*prefix, *spec.argv), identity)


def identity_of(spec: ProcessSpec) -> Identity:
    """Look up the names of the user and the group.

    With a user the supplementary groups are always that user's: initgroups(3). Without this the
    child would keep the daemon's, root's for the most part.

    :raises SpecError: when the user or the group does not exist.
    """
    group = _group_number(spec.group)
    if spec.user is None:
        return Identity(group=group)
    try:
        entry = pwd.getpwnam(spec.user) if isinstance(spec.user, str) else pwd.getpwuid(spec.user)
    except KeyError:
        raise SpecError(f'unknown user "{spec.user}"') from None
    if group is None:
        group = entry.pw_gid
    return Identity(entry.pw_uid, group, tuple(os.getgrouplist(entry.pw_name, group)))


def check_executable(spec: ProcessSpec) -> None:
    """Look the program up as ``execvpe`` would, in the child's own ``PATH`` and working directory.

    :raises OSError: ENOENT or EACCES, when there is nothing to execute.
    """
    program = spec.argv[0]
    folders = [""] if "/" in program else os.get_exec_path(spec.env)
    error = errno.ENOENT
    for folder in folders:
        path = os.path.join(spec.cwd or "", folder, program)
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return
        if os.path.exists(path):
            error = errno.EACCES
    raise OSError(error, os.strerror(error), program)


def failure_reason(spec: ProcessSpec, error: Exception) -> str:
    """Return the one line that tells why ``spec`` could not be started.

    ``subprocess`` doesn't tell a missing working directory from a missing program reliably, so the
    directory is looked at again.
    """
    program = spec.argv[0] if spec.argv else ""
    return f'cannot execute "{program}": {_detail(spec, error)}'


def _detail(spec: ProcessSpec, error: Exception) -> str:
    directory_error = _directory_error(spec.cwd)
    if directory_error is not None:
        return f'working directory "{spec.cwd}": {directory_error}'
    if not isinstance(error, OSError) or error.errno is None:
        return str(error) or type(error).__name__
    reason = os.strerror(error.errno)
    # exec gives EPERM for next to nothing, setuid and setgroups give it to everyone but root.
    if error.errno == errno.EPERM and (spec.user is not None or spec.group is not None):
        wanted = "user" if spec.user is not None else "group"
        return f'{wanted} "{spec.user if spec.user is not None else spec.group}": {reason}'
    return reason


def _directory_error(directory: str | None) -> str | None:
    if directory is None:
        return None
    try:
        # The final "/." asks for a directory one may enter, as chdir(2) does.
        os.stat(os.path.join(directory, "."))
    except (OSError, ValueError) as error:
        return (error.strerror if isinstance(error, OSError) else None) or str(error)
    return None


def _group_number(group: str | int | None) -> int | None:
    if not isinstance(group, str):
        return group
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise SpecError(f'unknown group "{group}"') from None


def _limits_prefix(spec: ProcessSpec) -> tuple[str, ...]:
    prefix: list[str] = []
    if spec.rlimits:
        prefix.append(_tool("prlimit", "resource limits"))
        prefix += [
            f"--{name}={_limit(soft)}:{_limit(hard)}" for name, (soft, hard) in spec.rlimits.items()
        ]
    if spec.receipt is not None and (flock := shutil.which("flock")) is not None:
        prefix += [flock, "--no-fork", spec.receipt]
    if spec.nice is not None:
        prefix += [_tool("nice", "niceness"), "-n", str(spec.nice)]
    return tuple(prefix)


def _identity_prefix(identity: Identity) -> tuple[str, ...]:
    groups: Sequence[int] = identity.extra_groups or ()
    listed = ",".join(str(group) for group in groups)
    return (
        _tool("setpriv", "a user together with limits"),
        f"--reuid={identity.user}",
        f"--regid={identity.group}",
        f"--groups={listed}" if listed else "--clear-groups",
    )


def _tool(name: str, purpose: str) -> str:
    # By the daemon's own PATH: the child's need not hold it.
    path = shutil.which(name)
    if path is None:
        raise SpecError(f"{purpose}: {name}(1) is not installed")
    return path


def _limit(value: int | None) -> str:
    return "unlimited" if value is None else str(value)
