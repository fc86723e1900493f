"""What the commands do that only look: ls, show, history, actions, metrics."""

import functools
import time
from collections.abc import Iterable, Iterator
from typing import Any

import click
import msgspec

from overseer.cli.conversation import require_action
from overseer.cli.names import short_ids
from overseer.cli.past import find_task_or_run
from overseer.cli.tables import ago, between, exit_text, parameters, print_json, print_table
from overseer.cli.tasks import find
from overseer.cli.terminal import is_terminal, notice
from overseer.client import Client
from overseer.core.task import State
from overseer.protocol.messages import ActionInfo, ActionStatistics, Run

Rows = list[tuple[object, ...]]


async def ls(
    client: Client,
    *,
    as_json: bool,
    action: str | None,
    state: State | None,
    since: int | None,
    limit: int | None,
) -> None:
    """List tasks."""
    tasks = (await client.list(action=action, state=state, since=since, limit=limit)).tasks
    if action is not None and not tasks:
        await require_action(client, action)
    if as_json:
        print_json(tasks)
        return
    now = time.time()
    ids = _shown_ids(task.task_id for task in tasks)
    print_table(
        ("task", "action", "state", "pid", "restarts", "exit", "started", "parameters"),
        [
            (
                ids[task.task_id],
                task.action,
                task.state,
                task.current_pid,
                task.restart_count,
                exit_text(task.last_exit_code, task.last_signal),
                ago(task.last_started_at or task.queued_at, now),
                parameters(task.params),
            )
            for task in tasks
        ],
    )


async def show(client: Client, *, as_json: bool, task: str) -> None:
    """Show one task and its counters, or of a forgotten one its last run."""
    info = await find_task_or_run(client, task)
    if isinstance(info, Run):
        if as_json:
            print_json(info)
            return
        notice("the daemon has forgotten this task: this is its last run, from the history")
        _print_fields(msgspec.to_builtins(info))
        return
    counters = (await client.metrics(task_id=info.task_id)).task
    known: dict[str, Any] = {**msgspec.to_builtins(counters), **msgspec.to_builtins(info)}
    if as_json:
        print_json(known)
        return
    _print_fields(
        {name: known[name] for name in (*_fields(info), *_fields(counters)) if name in known}
    )


async def history(
    client: Client,
    *,
    as_json: bool,
    task: str | None,
    action: str | None,
    since: int | None,
    until: int | None,
    limit: int,
    statistics: bool,
) -> None:
    """List runs of the past."""
    ask = functools.partial(
        client.history,
        action=action,
        since=since,
        until=until,
        limit=limit,
        statistics=statistics,
    )
    answer = await ask(task_id=task)
    if task is not None and not answer.runs:
        found = await find_task_or_run(client, task)
        if found.task_id != task:
            answer = await ask(task_id=found.task_id)
    if action is not None and not answer.runs:
        await require_action(client, action)
    if as_json:
        print_json(
            {"runs": answer.runs, "statistics": answer.statistics} if statistics else answer.runs
        )
    elif statistics:
        _print_statistics(answer.statistics or [])
    else:
        _print_runs(answer.runs)


async def actions(client: Client, *, as_json: bool, action: str | None) -> None:
    """List actions, or show everything about one."""
    known = [await require_action(client, action)] if action else (await client.describe()).actions
    if as_json:
        print_json(known)
    elif action:
        _print_fields(_details(known[0]))
    else:
        rows: Rows = [
            (one.name, one.type, _parameters_of(one), _start_of(one), one.description)
            for one in known
        ]
        print_table(("action", "type", "parameters", "starts", "description"), rows)


async def metrics(client: Client, *, as_json: bool, action: str | None, task: str | None) -> None:
    """Show counters: of an action, of a task, or of the daemon."""
    if action is not None:
        await require_action(client, action)
    task_id = None if task is None else (await find(client, task)).task_id
    answer = await client.metrics(action=action, task_id=task_id)
    counters = answer.task or answer.action or answer.global_
    if as_json:
        print_json(counters)
    else:
        _print_fields(msgspec.to_builtins(counters))


def _fields(struct: Any) -> tuple[str, ...]:
    return tuple(struct.__struct_fields__)


def _print_fields(fields: dict[str, Any]) -> None:
    width = max(map(len, fields), default=0)
    for name, value in fields.items():
        shown = _shown(value)
        click.echo(f"{name:<{width}}  {shown}" if is_terminal() else f"{name}\t{shown}")


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return parameters(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value).lower() if isinstance(value, bool) else value


def _print_runs(runs: Iterable[Run]) -> None:
    runs = list(runs)
    now = time.time()
    ids = _shown_ids(run.task_id for run in runs)
    rows: Rows = [
        (
            ids[run.task_id],
            run.run,
            run.action,
            run.state,
            exit_text(run.exit_code, run.signal),
            ago(run.started_at or run.queued_at, now),
            between(run.started_at, run.exited_at),
            run.output_lines,
            parameters(run.params),
        )
        for run in runs
    ]
    head = ("task", "run", "action", "state", "exit", "started", "took", "lines", "parameters")
    print_table(head, rows)


def _print_statistics(statistics: Iterable[ActionStatistics]) -> None:
    rows: Rows = [(one.action, one.runs, one.failures, one.mean, one.p95) for one in statistics]
    print_table(("action", "runs", "failures", "mean", "p95"), rows)


def _parameters_of(action: ActionInfo) -> str:
    return " ".join(
        f"{name}*" if spec.default is None else f"{name}={spec.default}"
        for name, spec in (action.params or {}).items()
    )


def _start_of(action: ActionInfo) -> str:
    """Return what else starts a task, and what its start waits for."""
    waits = [f"after {name}: {condition}" for name, condition in (action.depends_on or {}).items()]
    return ", ".join(["by itself"] * bool(action.autostart) + waits)


def _details(action: ActionInfo) -> dict[str, Any]:
    """Return what is known of an action, one line for each value."""
    known = msgspec.to_builtins(action)
    for spec in known.get("params", {}).values():
        spec.setdefault("required", "default" not in spec)
    return dict(_flat(known))


def _flat(known: dict[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in known.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        elif value != "":
            yield f"{before}{name}", value


def _shown_ids(task_ids: Iterable[str]) -> dict[str, str]:
    """Return ids as they are shown: whole ones to programs, at a terminal the beginning of a long one."""
    known = list(task_ids)
    return short_ids(known) if is_terminal() else {task_id: task_id for task_id in known}
