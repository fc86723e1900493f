"""Tasks that the daemon has forgotten, which its history still knows: which one is meant, how it ended."""

from overseer.cli.exit_status import CommandError, ExitStatus, of_task
from overseer.cli.names import find_task
from overseer.client import Client, RequestRefused
from overseer.protocol.messages import Run, TaskInfo

SEARCHED = 1000
"""Among so many runs, the newest, the beginning of an id is looked for."""


async def find_task_or_run(client: Client, text: str) -> TaskInfo | Run:
    """Return the task that is meant, or if the daemon has forgotten it, its newest run.

    :raises CommandError: when there is neither, or more than one begins so.
    """
    tasks = {task.task_id: task for task in (await client.list()).tasks}
    try:
        return tasks[find_task(text, tasks)]
    except CommandError:
        if any(task_id.startswith(text) for task_id in tasks):
            raise
        try:
            run = await _newest_run(client, text)
        except RequestRefused:  # there is no history, or it cannot be read now
            run = None
        if run is None:
            raise
        return run


async def _newest_run(client: Client, text: str) -> Run | None:
    if runs := (await client.history(task_id=text, limit=1)).runs:
        return runs[0]
    newest: dict[str, Run] = {}
    for run in (await client.history(limit=SEARCHED)).runs:
        newest.setdefault(run.task_id, run)
    if any(task_id.startswith(text) for task_id in newest):
        return newest[find_task(text, newest)]
    return None


def how_it_ended(run: Run) -> str:
    """Return in a few words what became of a run."""
    match run.state:
        case "exited":
            how = f"by {run.signal}" if run.signal else f"with exit code {run.exit_code}"
            return f"it ended {run.exited_at} {how}"
        case "failed":
            return f"it could not begin: {run.error_message}"
        case "cancelled":
            return "it left its queue and did not run"
        case _:
            return "how it ended is not known: the overseer ended first"


def status_of(run: Run) -> int:
    """Return the exit status of who has waited for a run.

    :raises CommandError: when it has not run, or how it ended is not known.
    """
    if run.exit_code is not None:
        return of_task(run.exit_code, run.signal)
    status = ExitStatus.REFUSED if run.state in ("failed", "cancelled") else ExitStatus.LOST
    raise CommandError(status, f'task "{run.task_id}"', how_it_ended(run))
