"""Starting a process by posix_spawn(3) of the C library, while Python's other threads go on.

``subprocess`` and ``os.posix_spawn`` hold the lock of the interpreter until the kernel has opened the program:
a third of what a start costs, for everybody. A call by ``ctypes`` does not. Only the plain cases come here:
what asks for more, and whatever fails, is left to ``subprocess``, which knows all there is to know of errors.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

# From <spawn.h>, the same in every C library for Linux.
_SETSIGDEF, _SETSIGMASK, _SETSID = 0x04, 0x08, 0x80
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""What Python ignores and no child should."""
_ROOM = 1024
"""More than any of the opaque structures of <spawn.h> and <signal.h> has, in bytes."""
_LAST_STANDARD = 2


def is_available() -> bool:
    """Return whether this system has what it takes: Linux, with glibc 2.29 or musl 1.1.24."""
    return _library() is not None


def spawn(
    argv: Sequence[str],
    environment: Mapping[str, str],
    cwd: str | None,
    streams: Sequence[int],
) -> int | None:
    """Start ``argv`` as the leader of a new session and return its pid; None where that takes ``subprocess``.

    ``streams`` are its stdout and stderr, and before them its stdin, if it is to have one. All descriptors must
    be close-on-exec.
    """
    if min(streams) <= _LAST_STANDARD:
        return None
    program = _find(argv, environment, cwd)
    arguments = os.fsencode("\0".join(argv)).split(b"\0")
    variables = os.fsencode("\0".join(map("=".join, environment.items()))).split(b"\0")
    if (
        program is None
        or len(arguments) != len(argv)
        or len(variables) != len(environment)
        or "=" in "".join(environment)
    ):
        return None
    return _start(os.fsencode(program), _array(arguments), _array(variables), cwd, streams) or None


def _start(
    program: bytes, arguments: Any, variables: Any, cwd: str | None, streams: Sequence[int]
) -> int:
    """Return the pid, 0 when it failed."""
    quick = _quick_library()
    pid = ctypes.c_int()
    actions = ctypes.create_string_buffer(_ROOM)
    quick.posix_spawn_file_actions_init(actions)
    try:
        failed = cwd is not None and quick.posix_spawn_file_actions_addchdir_np(
            actions, os.fsencode(cwd)
        )
        first = _LAST_STANDARD + 1 - len(streams)
        if first:
            failed = failed or quick.posix_spawn_file_actions_addopen(
                actions, 0, b"/dev/null", os.O_RDONLY, 0
            )
        for target, descriptor in enumerate(streams, first):
            failed = failed or quick.posix_spawn_file_actions_adddup2(actions, descriptor, target)
        failed = failed or _library().posix_spawnp(
            ctypes.byref(pid), program, actions, _attributes(), arguments, variables
        )
    finally:
        quick.posix_spawn_file_actions_destroy(actions)
    return 0 if failed else pid.value


def _find(argv: Sequence[str], environment: Mapping[str, str], cwd: str | None) -> str | None:
    """Return the program that execvpe(3) would find, in the child's own ``PATH`` and working directory.

    posix_spawnp(3) looks up a name without a slash in our ``PATH``, which does where the child's is the same.
    """
    if not argv:
        return None
    if "/" in argv[0] or environment.get("PATH") == os.environ.get("PATH"):
        return argv[0]
    for folder in os.get_exec_path(environment):
        program = os.path.join(folder or os.curdir, argv[0])
        place = program if cwd is None else os.path.join(cwd, program)
        if os.access(place, os.X_OK) and os.path.isfile(place):
            return program
    return None


def _array(texts: list[bytes]) -> Any:
    return (ctypes.c_char_p * (len(texts) + 1))(*texts, None)


@cache
def _quick_library() -> Any:
    """Return the C library for calls that only write to memory: Python's lock is kept, which is quicker."""
    return ctypes.PyDLL(None)


@cache
def _library() -> Any:
    """Return the C library if it has all that is needed, else None."""
    if sys.platform != "linux":
        return None
    try:
        library = ctypes.CDLL(None)
        _ = library.posix_spawnp, library.posix_spawn_file_actions_addchdir_np
    except (AttributeError, OSError):
        return None
    return library


@cache
def _attributes() -> Any:
    """Return what is the same for every child: a session of its own, and no signal ignored or blocked."""
    library = _library()
    attributes = ctypes.create_string_buffer(_ROOM)
    signals = ctypes.create_string_buffer(_ROOM)
    library.posix_spawnattr_init(attributes)
    library.sigemptyset(signals)
    library.posix_spawnattr_setsigmask(attributes, signals)
    for number in _RESTORED:
        library.sigaddset(signals, int(number))
    library.posix_spawnattr_setsigdefault(attributes, signals)
    library.posix_spawnattr_setflags(attributes, ctypes.c_short(_SETSIGDEF | _SETSIGMASK | _SETSID))
    return attributes
