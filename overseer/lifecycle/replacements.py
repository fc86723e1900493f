"""Starts that wait until the task in their way is gone: those with ``on_duplicate: replace``."""

from collections.abc import Callable

from overseer.lifecycle.requests import RequestError, Starter


class Replacements:
    """Of each task that is to be replaced the latest start that asked for it."""

    def __init__(self) -> None:
        self._waiting: dict[str, tuple[Starter, Callable[[], object]]] = {}

    def add(self, task_id: str, starter: Starter, start: Callable[[], object]) -> None:
        """Let ``start`` be called once a task is gone; one that waited for it before is refused."""
        earlier = self._waiting.pop(task_id, None)
        if earlier is not None:
            earlier[0].fail("replaced by a later start")
        self._waiting[task_id] = (starter, start)

    def task_gone(self, task_id: str) -> None:
        """Start what has waited for this."""
        if task_id not in self._waiting:
            return
        starter, start = self._waiting.pop(task_id)
        try:
            start()
        except RequestError as error:
            starter.fail(error.message)
