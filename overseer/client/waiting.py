"""Lets one coroutine be awaited by Twisted and by asyncio alike.

A program that has not imported asyncio is not run by it, and need not import it for this.
"""

import sys
from collections.abc import Awaitable
from typing import TYPE_CHECKING, TypeVar, cast

from twisted.internet.defer import Deferred

if TYPE_CHECKING:
    import asyncio

_Result = TypeVar("_Result")


def awaitable(deferred: Deferred[_Result]) -> Awaitable[_Result]:
    """Return what the current coroutine can await: a task of asyncio takes no Deferred."""
    loop = running_loop()
    if loop is None or sys.modules["asyncio"].current_task(loop) is None:
        return deferred
    return deferred.asFuture(loop)


def running_loop() -> "asyncio.AbstractEventLoop | None":
    """Return the event loop of asyncio that runs in this thread, if one does."""
    module = sys.modules.get("asyncio")
    try:
        running = None if module is None else module.get_running_loop()
    except RuntimeError:
        return None
    return cast("asyncio.AbstractEventLoop | None", running)
