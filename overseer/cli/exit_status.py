"""With which status a command ends, and what it says then: the table that the manual shows.

``run``, ``wait`` and ``logs --follow`` end with the exit code of their task, which may be any of these
numbers, too. Whatever is overseer's own failure and not the task's, is one line on stderr that begins with
``overseer: ``, and has the status that ``--fail-with`` says where a script has to know.
"""

import enum

import click


class ExitStatus(enum.IntEnum):
    """Why a command has failed."""

    FAILED = 1, "it failed for a reason without a number of its own"
    USAGE = 2, "the command line is wrong"
    UNREACHABLE = 3, "no daemon answers at this address"
    DENIED = 4, "the daemon wants a token or another one, or lets nobody in from here"
    NO_ACTION = 5, "no such action"
    NO_TASK = 6, "no such task, or more than one begins so"
    REFUSED = 7, "the daemon refused the request: parameters, pool, duplicate, state of the task"
    LOST = 8, "the daemon ended or the connection was lost in between"
    TIMED_OUT = 9, "it took longer than the time that was given"

    meaning: str

    def __new__(cls, value: int, meaning: str) -> "ExitStatus":
        """Make a member that knows what it means."""
        member = int.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        return member


INTERRUPTED = 130
"""The status after Ctrl-C, as shells have it: 128 + SIGINT."""


BROKEN_PIPE = 141
"""The status when nobody reads what is printed any more: 128 + SIGPIPE."""


class CommandError(click.ClickException):
    """A command cannot do what it was asked; ``advice`` says in a few words what to do about it."""

    def __init__(self, status: ExitStatus, message: str, advice: str = "") -> None:
        joint = " " if message.endswith("?") else ": "
        super().__init__(f"{message}{joint}{advice}" if advice else message)
        self.status = status


def of_task(exit_code: int, signal_name: str | None) -> int:
    """Return the status for the end of a task: its exit code, or 128 + the signal that ended it."""
    from overseer.core.process import signal_number  # noqa: PLC0415  # most commands need none

    return 128 + signal_number(signal_name) if signal_name else exit_code & 0xFF
