"""What the commands do that change tasks: start, stop, restart, reset, input, signal."""

import uuid
from collections.abc import Sequence
from typing import Any

import click

from overseer.cli.conversation import require_action
from overseer.cli.exit_status import CommandError, ExitStatus
from overseer.cli.names import did_you_mean, find_task
from overseer.cli.stdin import give_stdin
from overseer.cli.tables import place_in_queue, print_json
from overseer.cli.terminal import notice
from overseer.client import Client
from overseer.core.process import signal_number
from overseer.core.task import FINISHED
from overseer.protocol.messages import Queued, Started, TaskInfo


async def find(client: Client, text: str) -> TaskInfo:
    """Return the task that is meant: its id, or the only one that begins so.

    :raises CommandError: when there is none, or more than one.
    """
    tasks = {task.task_id: task for task in (await client.list()).tasks}
    return tasks[find_task(text, tasks)]


async def start_fields(
    client: Client,
    action: str,
    *,
    params: Sequence[tuple[str, str]],
    task_id: str | None,
    force: bool,
    on_duplicate: str,
) -> dict[str, Any]:
    """Return the fields of a ``start``. Its id is made here: so it can be stopped before it is answered.

    The daemon takes parameters that it does not know; who has misspelt one wants to hear of it.

    :raises CommandError: when there is no such action.
    """
    info = await require_action(client, action)
    for name, _ in params:
        if info.params and name not in info.params:
            advice = did_you_mean(name, info.params)
            click.echo(
                f'overseer: {action} has no parameter "{name}", {advice}'.rstrip(", "), err=True
            )
    return {
        "task_id": task_id or str(uuid.uuid4()),
        "params": dict(params),
        "force": force,
        "on_duplicate": on_duplicate,
    }


async def start(client: Client, *, as_json: bool, action: str, **options: Any) -> None:
    """Start a task and print its id."""
    fields = await start_fields(client, action, **options)
    _tell(await client.start(action, **fields), as_json)


async def stop(
    client: Client,
    *,
    as_json: bool,
    tasks: Sequence[str],
    every: bool,
    grace: float | None,
    no_wait: bool,
) -> None:
    """Stop tasks, and wait for their ends."""
    if every == bool(tasks):
        raise CommandError(ExitStatus.USAGE, "stop takes either tasks or --all")
    known = {task.task_id: task for task in (await client.list()).tasks}
    named = known if every else [find_task(text, known) for text in tasks]
    # Those that wait go first, or they get the slots that now become free.
    wanted = sorted(named, key=lambda task_id: known[task_id].state != "queued")
    alive = [task_id for task_id in wanted if known[task_id].state not in FINISHED]
    ends = [client.subscribe(task_id, output=False, until_end=True) for task_id in alive]
    for task_id in wanted if not every else alive:
        await client.stop(task_id, grace=grace)
    for task_id, end in zip(alive, ends, strict=True):
        if not no_wait:
            async for _ in end.batches():
                pass
        end.close()
        if not as_json:
            click.echo(task_id)
    if as_json:
        print_json([task for task in (await client.list()).tasks if task.task_id in wanted])


async def restart(client: Client, *, as_json: bool, task: str, grace: float | None) -> None:
    """Restart a task and print its id."""
    _tell(await client.restart((await find(client, task)).task_id, grace=grace), as_json)


async def reset(client: Client, *, as_json: bool, task: str) -> None:
    """Start an errored task again and print its id."""
    found = await find(client, task)
    _tell(await client.reset(found.task_id), as_json)


async def send_input(
    client: Client, *, as_json: bool, task: str, text: str | None, eof: bool
) -> None:
    """Give a task a line, or all of stdin: no more is read than the task has taken."""
    task_id = (await find(client, task)).task_id
    if text is not None:
        await client.input(task_id, data=f"{text}\n", eof=eof)
    elif eof:
        await client.input(task_id, eof=True)
    else:
        await give_stdin(client, task_id)
    if as_json:
        print_json(await find(client, task_id))


async def send_signal(client: Client, *, as_json: bool, signal: str, task: str) -> None:
    """Send a signal to a task."""
    try:
        task_id = (await find(client, task)).task_id
    except CommandError as error:
        if _is_signal(task):
            advice = f"the signal comes first: `overseer signal {task} {signal}`"
            raise CommandError(ExitStatus.USAGE, f'no such task "{task}"', advice) from error
        raise
    await client.signal(task_id, signal)
    if as_json:
        print_json(await find(client, task_id))


def _is_signal(word: str) -> bool:
    try:
        signal_number(word)
    except ValueError:
        return False
    return True


def _tell(answer: Started | Queued, as_json: bool) -> None:
    """Print what was started: the id on stdout, the rest for a person to see."""
    if as_json:
        print_json(answer)
        return
    click.echo(answer.task_id)
    if isinstance(answer, Queued):
        notice(f"it {place_in_queue(answer.position)}")
    else:
        notice(f"started, process {answer.pid}")
