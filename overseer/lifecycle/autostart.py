"""The tasks that begin with the daemon: one of each action with ``autostart``, named as its action."""

from twisted.logger import Logger

from overseer.core.dependencies import start_order
from overseer.lifecycle.requests import RequestError, Starter
from overseer.lifecycle.supervisor import Supervisor

_log = Logger()


def start_all(supervisor: Supervisor) -> None:
    """Start what is to begin with the daemon, each after what it depends on.

    One that cannot be started is logged and keeps none of the others. One that runs already, since it was
    there before this daemon, is left alone.
    """
    actions = supervisor.actions
    order = start_order(
        {
            name: [one.action for one in action.settings.depends_on if one.action in actions]
            for name, action in actions.items()
        }
    )
    for name in order:
        task = supervisor.find(name)
        if actions[name].settings.autostart and (task is None or task.record.finished):
            _start(supervisor, name)


def _start(supervisor: Supervisor, name: str) -> None:
    def fail(reason: str) -> None:
        _log.error("autostart of {action} failed: {reason}", action=name, reason=reason)

    try:
        supervisor.start(name, name, {}, Starter(fail=fail))
    except RequestError as error:
        fail(error.message)
