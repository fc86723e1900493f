"""The mark: the variables in the environment of a process by which it is known as ours, and as whose.

Children hand it on, wherever they go; environ in proc(5) shows what a process was started with.
"""

import os
from collections.abc import Mapping
from itertools import count

INSTANCE_VARIABLE = "OVERSEER_INSTANCE"
RUN_VARIABLE = "OVERSEER_RUN"
_VARIABLES = (INSTANCE_VARIABLE, RUN_VARIABLE)

_daemon = os.urandom(8).hex()
_numbers = count(1)

Mark = tuple[bytes, ...]
"""The values of the variables."""


def new_run() -> str:
    """Return what no run of this or any other daemon has had as its mark."""
    return f"{_daemon}-{next(_numbers)}"


def mark_of(environment: Mapping[str, str]) -> Mark | None:
    """Return the mark of a process that is given these variables, None without."""
    values = [environment.get(name) for name in _VARIABLES]
    return tuple(os.fsencode(value) for value in values if value) if all(values) else None


def mark_in(environment: bytes) -> Mark | None:
    """Return the mark in an environment as /proc shows it, each variable between two NULs."""
    values = []
    for name in _VARIABLES:
        _, found, rest = environment.partition(f"\0{name}=".encode())
        if not found:
            return None
        values.append(rest.partition(b"\0")[0])
    return tuple(values)
