"""The commands that talk to a daemon, as they stand on the command line: names, options, help.

Nothing happens here: :func:`overseer.cli.options.talks` names what does it.
"""

from collections.abc import Callable
from typing import Any

import click

from overseer.cli.completion import action_names, signal_names, task_ids
from overseer.cli.options import DURATION, MOMENT, PARAMETER, talks

_Decorator = Callable[[Any], Any]

_task = click.argument("task", shell_complete=task_ids)
_grace = click.option(
    "--grace", type=DURATION, help="Time between SIGTERM and SIGKILL; else the action's."
)
_PARAMETERS = "parameters are given as -p NAME=VALUE"
_only_action = click.option("--action", shell_complete=action_names, help="Only of this action.")
_timestamps = click.option(
    "-t", "--timestamps", is_flag=True, help="Put before every line when it was read."
)


def _start_options(function: Any) -> Any:
    """Add what ``start`` and ``run`` take."""
    options: list[_Decorator] = [
        click.argument("action", shell_complete=action_names),
        click.option(
            "-p",
            "--param",
            "params",
            type=PARAMETER,
            multiple=True,
            help="A parameter of the action; as often as there are.",
        ),
        click.option("--id", "task_id", metavar="ID", help="The id of the task; else a new one."),
        click.option(
            "--force", is_flag=True, help="Start at once, above the limit of a pool, too."
        ),
        click.option(
            "--on-duplicate",
            type=click.Choice(["error", "attach", "replace"]),
            default="error",
            help="When such a task runs already: refuse, take that one, or stop it first.",
        ),
    ]
    for option in reversed(options):
        function = option(function)
    return function


# ------------------------------------------------------------------------------------------------ tasks


@talks("stream.run", ends_as_task=True, advice=_PARAMETERS)
@_start_options
@click.option(
    "-i", "--stdin", is_flag=True, help="Let it read this command's stdin, up to its end."
)
@_timestamps
def run() -> None:
    """Run a task of ACTION here: print what it prints, end as it ends.

    Its stdout goes to stdout, its stderr to stderr. The exit status is its exit code, or 128 + the number
    of the signal that ended it. Ctrl-C stops the task and waits for its end; a second one kills it. For
    --stdin its action needs `stdin: pipe` or `pty: true`.

    \b
        overseer run build -p target=release > build.log
        overseer run --stdin import < customers.csv
    """


@talks("tasks.start", advice=_PARAMETERS)
@_start_options
def start() -> None:
    """Start a task of ACTION and print its id; it goes on by itself.

    Where its pool is full, it waits in the queue.
    """


@talks("tasks.stop")
@click.argument("tasks", nargs=-1, metavar="TASK...", shell_complete=task_ids)
@click.option("--all", "every", is_flag=True, help="Stop every task that is not finished.")
@_grace
@click.option("--no-wait", is_flag=True, help="Do not wait until they have ended.")
def stop() -> None:
    """Stop tasks: SIGTERM to all of a task's processes, SIGKILL after the grace.

    A TASK is an id or the beginning of one that is unique.
    """


@talks("tasks.restart")
@_task
@_grace
def restart() -> None:
    """Stop a task and start it again in the same place; a finished one is just started."""


@talks("tasks.reset")
@_task
def reset() -> None:
    """Start a task again that has failed too often (state errored)."""


@talks("tasks.send_input")
@_task
@click.argument("text", required=False)
@click.option("--eof", is_flag=True, help="Nothing follows: end its stdin.")
def input() -> None:
    """Give a task a line to read: TEXT, or everything from this command's stdin.

    Its action needs `stdin: pipe` or `pty: true`.
    """


@talks("tasks.send_signal")
@click.argument("signal", metavar="SIGNAL", shell_complete=signal_names)
@_task
def signal() -> None:
    """Send a signal to all processes of a task: HUP, USR1, INT …"""


@talks("stream.wait", ends_as_task=True)
@_task
@click.option(
    "--timeout", type=DURATION, help="Wait no longer than this; the exit status is then 9."
)
def wait() -> None:
    """Wait until a task has ended for good, and end as it did.

    How one ended that the daemon has forgotten, the history knows. The exit status is its exit code, or
    128 + the number of the signal that ended it.
    """


# ---------------------------------------------------------------------------------------------- looking


@talks("reports.ls")
@_only_action
@click.option(
    "--state",
    type=click.Choice(["active", "queued", "stopped", "errored"]),
    help="Only those in this state.",
)
@click.option("--since", type=MOMENT, help="Only those that changed since, as in 10m.")
@click.option(
    "-n", "--limit", type=click.IntRange(0), metavar="N", help="Only so many, the newest."
)
def ls() -> None:
    """List the tasks, finished ones too."""


@talks("reports.show")
@_task
def show() -> None:
    """Show everything about one task.

    Of one that the daemon has forgotten, the history tells the last run.
    """


@talks("stream.logs", ends_as_task=True)
@_task
@click.option("-f", "--follow", is_flag=True, help="Go on with what it prints, until it has ended.")
@click.option(
    "-n", "--lines", type=click.IntRange(0), metavar="N", help="Only so many, the last ones."
)
@click.option("--since", type=MOMENT, help="Only what was printed since, as in 10m.")
@click.option("--stdout", is_flag=True, help="Only what it wrote to stdout.")
@click.option("--stderr", is_flag=True, help="Only what it wrote to stderr.")
@_timestamps
def logs() -> None:
    """Print the last lines of a task, as many as the daemon has kept.

    When the task has ended, the exit status is its exit code, or 128 + the number of the signal that
    ended it.
    """


@talks("reports.history")
@click.argument("task", required=False, shell_complete=task_ids)
@_only_action
@click.option("--since", type=MOMENT, help="Only runs from then on, as in 2h.")
@click.option("--until", type=MOMENT, help="Only runs from before then.")
@click.option(
    "-n", "--limit", type=click.IntRange(1, 1000), metavar="N", default=20, help="So many; else 20."
)
@click.option("--statistics", is_flag=True, help="Tell what they come to, action by action.")
def history() -> None:
    """List runs of the past, the newest first.

    The daemon needs `db` in its configuration.
    """


@talks("reports.actions")
@click.argument("action", required=False, shell_complete=action_names)
def actions() -> None:
    """List what can be started, with parameters; those marked * are required.

    Of one ACTION everything is shown.
    """


@talks("reports.metrics")
@_only_action
@click.option("--task", shell_complete=task_ids, help="Only of this task.")
def metrics() -> None:
    """Show what the daemon has counted since it started."""


@talks("top.top", connects=False)
@click.option("--interval", type=DURATION, default=1.0, help="Time between two looks; else 1s.")
@click.option("--once", is_flag=True, help="Look once, print, and end.")
def top() -> None:
    """Watch the tasks that run: processor, memory, lines a second, pools.

    Processor and memory are told of tasks on this machine, where psutil is installed
    (`pip install 'sticky-overseer[top]'`). Ctrl-C ends it.
    """


# ------------------------------------------------------------------------------------------------ pools


@talks("pools.pools")
def pools() -> None:
    """List the pools: how many tasks run, wait, and may."""


@click.group(no_args_is_help=False)
def pool() -> None:
    """Change a pool."""


@talks("pools.set_pool", name="set")
@click.argument("action", required=False, shell_complete=action_names)
@click.option(
    "--size", type=click.IntRange(0), metavar="N", help="Tasks that run at once; 0 = unlimited."
)
@click.option(
    "--queue-size", type=click.IntRange(0), metavar="N", help="Tasks that may wait; 0 = no queue."
)
@click.option(
    "--excess",
    type=click.Choice(["stop", "requeue"]),
    help="What happens to tasks above a lowered size; else they run out.",
)
def set_pool() -> None:
    """Change the limits of a pool at once, ACTION's or without one the global pool's.

    What is not given keeps its value. It holds until the daemon ends.
    """


pool.add_command(set_pool)


@talks("pools.purge")
@click.argument("action", required=False, shell_complete=action_names)
@click.option("--all", "every", is_flag=True, help="Those of every action.")
def purge() -> None:
    """Let none of the waiting tasks of ACTION wait any more; they do not run."""


# ------------------------------------------------------------------------------------------ the protocol


@talks("raw.raw", connects=False)
@click.argument("requests", nargs=-1, metavar="[JSON]...")
@click.option("-f", "--follow", is_flag=True, help="Go on printing what comes, until Ctrl-C.")
def raw() -> None:
    """Send requests as they stand, print every message that comes.

    Each request is a JSON object, an argument or a line of stdin; one without an `id` gets a number. It ends
    when every request has its answer.

    \b
        overseer raw '{"type": "list"}'
    """
