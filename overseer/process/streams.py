"""What a child gets as stdin, stdout and stderr: pipes, nothing to read, or a terminal for all three."""

import fcntl
import os
import struct
import subprocess
import termios
from collections.abc import Iterable

import attrs

from overseer.core.process import ProcessSpec

ROWS, COLUMNS = 24, 80
"""How large a terminal is until a client says how large its own is."""


@attrs.frozen(kw_only=True)
class Streams:
    """Both sides of the standard streams of a child that is about to start.

    ``stdin``, ``stdout`` and ``stderr`` are ours, non-blocking; ``None`` where there is nothing to write to or
    to read from. Of a terminal all output comes by ``stdout``. ``child_stdin``, ``child_stdout`` and
    ``child_stderr`` are for :class:`subprocess.Popen`.
    """

    stdin: int | None
    stdout: int
    stderr: int | None
    child_stdin: int
    child_stdout: int
    child_stderr: int

    @property
    def highest(self) -> int:
        """The highest of the child's descriptors, which are the newest ones of this process."""
        return max(self.child_stdin, self.child_stdout, self.child_stderr)

    @property
    def child_side(self) -> tuple[int, ...]:
        """The child's descriptors in their order, each once."""
        every = (self.child_stdin, self.child_stdout, self.child_stderr)
        return tuple(dict.fromkeys(descriptor for descriptor in every if descriptor >= 0))

    def close_child_side(self) -> None:
        """Close what only the child needs: its streams are at their end once it closes them, too."""
        _close(self.child_side)

    def close_own_side(self) -> None:
        """Close ours, when there is no child."""
        _close(own for own in (self.stdin, self.stdout, self.stderr) if own is not None)


def open_streams(spec: ProcessSpec) -> Streams:
    """Return new streams for a child.

    :raises OSError: when there are no more descriptors, or terminals.
    """
    opened: list[int] = []
    try:
        return _open_terminal(opened) if spec.pty else _open_pipes(spec, opened)
    except OSError:
        _close(opened)
        raise


def take_terminal() -> None:
    """Make stdin the controlling terminal of this process, the new leader of a session: ioctl_tty(2).

    Runs in the child, between fork and exec.
    """
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def set_window_size(descriptor: int, rows: int, columns: int) -> None:
    """Set the size of a terminal by either of its ends; the kernel tells its processes by SIGWINCH."""
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def end_of_file_character(descriptor: int) -> bytes:
    """Return what a user of the terminal would type to end its input, Ctrl-D mostly."""
    character: bytes = termios.tcgetattr(descriptor)[6][termios.VEOF]
    return character


def _open_pipes(spec: ProcessSpec, opened: list[int]) -> Streams:
    stdin, child_stdin = None, subprocess.DEVNULL
    if spec.stdin == "pipe":
        child_stdin, stdin = _pipe(opened)
        os.set_blocking(stdin, False)
    stdout, child_stdout = _pipe(opened)
    stderr, child_stderr = _pipe(opened)
    os.set_blocking(stdout, False)
    os.set_blocking(stderr, False)
    return Streams(
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        child_stdin=child_stdin,
        child_stdout=child_stdout,
        child_stderr=child_stderr,
    )


def _open_terminal(opened: list[int]) -> Streams:
    ours, childs = os.openpty()
    opened += ours, childs
    os.set_blocking(ours, False)
    set_window_size(ours, ROWS, COLUMNS)
    # The reactor knows a descriptor as a reader or as a writer of one object, so each gets its own.
    stdin = os.dup(ours)
    opened.append(stdin)
    return Streams(
        stdin=stdin,
        stdout=ours,
        stderr=None,
        child_stdin=childs,
        child_stdout=childs,
        child_stderr=childs,
    )


def _pipe(opened: list[int]) -> tuple[int, int]:
    ends = os.pipe()
    opened += ends
    return ends


def _close(descriptors: Iterable[int]) -> None:
    for descriptor in descriptors:
        os.close(descriptor)
