"""Starts the tasks again that an earlier overseer has left: in the order in which they had been started.

Each goes on under its id, its epoch and its numbers, by its action as it is now. Where the pool has no slot it
waits, as any start does.
"""

from collections.abc import Iterable

from twisted.logger import Logger

from overseer.core.history import RestorableTask
from overseer.core.task import TaskRecord
from overseer.lifecycle.requests import RequestError, Starter
from overseer.lifecycle.restorable import TaskArchive
from overseer.lifecycle.supervisor import Supervisor

_log = Logger()


def restore(supervisor: Supervisor, tasks: Iterable[RestorableTask], archive: TaskArchive) -> None:
    """Start tasks again; one that cannot be is told in the log, and kept no longer."""
    for task in tasks:
        if supervisor.find(task.task_id) is not None:
            continue  # started meanwhile: the database could not be read until now
        if not _is_restored(supervisor, task.action):
            _give_up(
                task, archive, f'the action "{task.action}" does not restore its tasks any more'
            )
            continue
        try:
            _start(supervisor, task)
        except RequestError as error:
            _give_up(task, archive, error.message)


def _is_restored(supervisor: Supervisor, name: str) -> bool:
    action = supervisor.actions.get(name)
    return action is not None and action.settings.restore


def _start(supervisor: Supervisor, task: RestorableTask) -> None:
    def failed(reason: str) -> None:
        _log.warn("task {id} cannot be started again: {reason}", id=task.task_id, reason=reason)

    supervisor.start(
        task.action,
        task.task_id,
        task.params,
        Starter(fail=failed),
        policy=task.policy,
        record=TaskRecord(
            task_id=task.task_id,
            epoch=task.epoch,
            created_at=task.created_at,
            last_seq=task.last_seq,
            inherited_seq=task.last_seq,
            run=task.run,
        ),
    )
    _log.info("task {id} is started again", id=task.task_id)


def _give_up(task: RestorableTask, archive: TaskArchive, reason: str) -> None:
    _log.warn("task {id} is not started again: {reason}", id=task.task_id, reason=reason)
    archive.forget_task(task.task_id)
