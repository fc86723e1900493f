"""Lets one coroutine be awaited by Twisted and by asyncio alike."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from twisted.internet.defer import Deferred

_Result = TypeVar("_Result")


def awaitable(deferred: Deferred[_Result]) -> Awaitable[_Result]:
    """Return what the current coroutine can await: a task of asyncio takes no Deferred."""
    try:
        task = asyncio.current_task()
    except RuntimeError:  # no event loop runs
        task = None
    return deferred if task is None else deferred.asFuture(task.get_loop())
