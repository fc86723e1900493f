"""Starting a process by posix_spawn(3) of the C library, while Python's other threads go on.

``subprocess`` and ``os.posix_spawn`` hold the lock of the interpreter until the kernel has opened the program:
a third of what a start costs, for everybody. A call by ``ctypes`` does not. Only the plain cases come here:
what asks for more, and whatever fails, is left to ``subprocess``, which knows all there is to know of errors.
"""

import ctypes
import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any

from overseer.process.apart import ThreadApart

# From <spawn.h>, the same in every C library for Linux.
_SETSIGDEF, _SETSIGMASK, _SETSID = 0x04, 0x08, 0x80
_RESTORED = (signal.SIGPIPE, signal.SIGXFSZ)
"""What Python ignores and no child should."""
_ROOM = 1024
"""More than any of the opaque structures of <spawn.h> and <signal.h> has, in bytes."""
_LAST_STANDARD = 2


def spawn(
    argv: Sequence[str],
    environment: Mapping[str, str],
    cwd: str | None,
    streams: tuple[int, int, int],
    apart: ThreadApart | None = None,
) -> int | None:
    """Start ``argv`` as the leader of a new session and return its pid; None where that takes ``subprocess``.

    ``streams`` are its stdin, stdout and stderr; a negative one is ``/dev/null``. All other descriptors must be
    close-on-exec. ``apart`` is a thread to start it from.
    """
    if _library() is None or any(0 <= descriptor <= _LAST_STANDARD for descriptor in streams):
        return None
    program = _find(argv, environment, cwd)
    arguments = [os.fsencode(argument) for argument in argv]
    variables = [os.fsencode(f"{name}={value}") for name, value in environment.items()]
    if (
        program is None
        or b"\0" in b"".join([*arguments, *variables])
        or any("=" in name for name in environment)
    ):
        return None
    start = partial(_start, os.fsencode(program), _array(arguments), _array(variables), cwd)
    return (start(streams) if apart is None else _start_apart(start, streams, apart)) or None


def _start_apart(
    start: Callable[[Sequence[int]], int], streams: Sequence[int], apart: ThreadApart
) -> int:
    given = [descriptor for descriptor in streams if descriptor >= 0]

    def start_with(received: Sequence[int]) -> int:
        copies = dict(zip(given, received, strict=True))
        return start([copies.get(descriptor, -1) for descriptor in streams])

    return apart.call(start_with, given)


def _start(
    program: bytes, arguments: Any, variables: Any, cwd: str | None, streams: Sequence[int]
) -> int:
    """Return the pid, 0 when it failed."""
    library = _library()
    pid = ctypes.c_int()
    actions = ctypes.create_string_buffer(_ROOM)
    library.posix_spawn_file_actions_init(actions)
    try:
        failed = cwd is not None and library.posix_spawn_file_actions_addchdir_np(
            actions, os.fsencode(cwd)
        )
        for target, descriptor in enumerate(streams):
            failed = failed or (
                library.posix_spawn_file_actions_addopen(
                    actions, target, b"/dev/null", os.O_RDONLY, 0
                )
                if descriptor < 0
                else library.posix_spawn_file_actions_adddup2(actions, descriptor, target)
            )
        failed = failed or library.posix_spawn(
            ctypes.byref(pid), program, actions, _attributes(), arguments, variables
        )
    finally:
        library.posix_spawn_file_actions_destroy(actions)
    return 0 if failed else pid.value


def _find(argv: Sequence[str], environment: Mapping[str, str], cwd: str | None) -> str | None:
    """Return the program that execvpe(3) would find, in the child's own ``PATH`` and working directory."""
    if not argv:
        return None
    folders = [""] if "/" in argv[0] else os.get_exec_path(environment)
    for folder in folders:
        program = os.path.join(folder, argv[0])
        place = program if cwd is None else os.path.join(cwd, program)
        if os.access(place, os.X_OK) and os.path.isfile(place):
            return program
    return None


def _array(texts: list[bytes]) -> Any:
    return (ctypes.c_char_p * (len(texts) + 1))(*texts, None)


@cache
def _library() -> Any:
    """Return the C library if it has all that is needed, else None."""
    if sys.platform != "linux":
        return None
    try:
        library = ctypes.CDLL(None)
        _ = library.posix_spawn, library.posix_spawn_file_actions_addchdir_np
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
