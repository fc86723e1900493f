"""What a child gets as stdin, stdout and stderr: pipes, nothing to read, or a terminal for all three."""

import contextlib
import fcntl
import os
import struct
import subprocess
import termios

import attrs

from overseer.core.process import ProcessSpec
from overseer.process.command import identity_of

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

    def close_child_side(self) -> None:
        """Close what only the child needs: its streams are at their end once it closes them, too."""
        for descriptor in {self.child_stdin, self.child_stdout, self.child_stderr}:
            if descriptor >= 0:
                os.close(descriptor)


def open_streams(spec: ProcessSpec, on_error: contextlib.ExitStack) -> Streams:
    """Return new streams for a child; ``on_error`` closes both sides."""
    return _open_terminal(spec, on_error) if spec.pty else _open_pipes(spec, on_error)


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


def _open_pipes(spec: ProcessSpec, on_error: contextlib.ExitStack) -> Streams:
    stdin, child_stdin = None, subprocess.DEVNULL
    if spec.stdin == "pipe":
        child_stdin, stdin = _pipe(on_error)
        os.set_blocking(stdin, False)
    stdout, child_stdout = _pipe(on_error)
    stderr, child_stderr = _pipe(on_error)
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


def _open_terminal(spec: ProcessSpec, on_error: contextlib.ExitStack) -> Streams:
    ours, childs = os.openpty()
    on_error.callback(os.close, ours)
    on_error.callback(os.close, childs)
    os.set_blocking(ours, False)
    set_window_size(ours, ROWS, COLUMNS)
    user = identity_of(spec).user
    if user is not None:
        os.fchown(childs, user, -1)  # or the child could not open it by its name
    # The reactor knows a descriptor as a reader or as a writer of one object, so each gets its own.
    stdin = os.dup(ours)
    on_error.callback(os.close, stdin)
    return Streams(
        stdin=stdin,
        stdout=ours,
        stderr=None,
        child_stdin=childs,
        child_stdout=childs,
        child_stderr=childs,
    )


def _pipe(on_error: contextlib.ExitStack) -> tuple[int, int]:
    read_end, write_end = os.pipe()
    on_error.callback(os.close, read_end)
    on_error.callback(os.close, write_end)
    return read_end, write_end
