"""overseer: start child processes for WebSocket clients and stream what they print.

What programs and drivers import is here. It is loaded when it is first used: ``overseer --version`` needs no
reactor.
"""

import importlib
from typing import TYPE_CHECKING, Any

from overseer._version import __version__

if TYPE_CHECKING:
    from overseer.cli import run_cli
    from overseer.core.config import ConfigError, Parameter
    from overseer.core.process import Outcome, Stream
    from overseer.core.retry import RetryPolicy
    from overseer.core.worker import Uninteractive, Worker, WorkerEvents
    from overseer.drivers.functions import driver
    from overseer.drivers.interfaces import (
        ActionHandler,
        ActionHandlerFactory,
        DriverConfig,
        DriverServices,
        PoolConfig,
        ValidationError,
        WorkerCallbacks,
    )
    from overseer.drivers.processes import WorkerConfig, start_worker
    from overseer.drivers.registry import register_factory
    from overseer.drivers.services import ServiceHandler, Submission, Submitter
    from overseer.drivers.virtual import CoroutineRun, ThreadRun, start_virtual_worker
    from overseer.protocol.messages import ActionInfo
    from overseer.service import OverseerService

__all__ = [
    "ActionHandler",
    "ActionHandlerFactory",
    "ActionInfo",
    "ConfigError",
    "CoroutineRun",
    "DriverConfig",
    "DriverServices",
    "Outcome",
    "OverseerService",
    "Parameter",
    "PoolConfig",
    "RetryPolicy",
    "ServiceHandler",
    "Stream",
    "Submission",
    "Submitter",
    "ThreadRun",
    "Uninteractive",
    "ValidationError",
    "Worker",
    "WorkerCallbacks",
    "WorkerConfig",
    "WorkerEvents",
    "__version__",
    "driver",
    "register_factory",
    "run_cli",
    "start_virtual_worker",
    "start_worker",
]

_MODULES = {
    "overseer.cli": ("run_cli",),
    "overseer.core.config": ("ConfigError", "Parameter"),
    "overseer.core.process": ("Outcome", "Stream"),
    "overseer.core.retry": ("RetryPolicy",),
    "overseer.core.worker": ("Uninteractive", "Worker", "WorkerEvents"),
    "overseer.drivers.functions": ("driver",),
    "overseer.drivers.interfaces": (
        "ActionHandler",
        "ActionHandlerFactory",
        "DriverConfig",
        "DriverServices",
        "PoolConfig",
        "ValidationError",
        "WorkerCallbacks",
    ),
    "overseer.drivers.processes": ("WorkerConfig", "start_worker"),
    "overseer.drivers.registry": ("register_factory",),
    "overseer.drivers.services": ("ServiceHandler", "Submission", "Submitter"),
    "overseer.drivers.virtual": ("CoroutineRun", "ThreadRun", "start_virtual_worker"),
    "overseer.protocol.messages": ("ActionInfo",),
    "overseer.service": ("OverseerService",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_HOME[name]), name)
    return value
