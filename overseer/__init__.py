"""overseer: start child processes for WebSocket clients and stream what they print.

What programs import is here. It is loaded when it is first used: ``overseer --version`` needs no reactor.
"""

import importlib
from typing import TYPE_CHECKING, Any

from overseer._version import __version__

if TYPE_CHECKING:
    from overseer.service import OverseerService

__all__ = ["OverseerService", "__version__"]

_HOMES = {"OverseerService": "overseer.service"}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
