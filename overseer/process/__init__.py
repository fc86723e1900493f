"""Operating system processes: spawning, pipes, signals, reaping."""

from overseer.process.cgroup import ControlGroups
from overseer.process.descriptors import (
    DescriptorLimit,
    raise_descriptor_limit,
    seal_inherited_descriptors,
)
from overseer.process.environment import child_environment
from overseer.process.escaped import Escaped, Orphans
from overseer.process.group import ProcessGroup
from overseer.process.mark import INSTANCE_VARIABLE, RUN_VARIABLE, new_run
from overseer.process.spawn import Child, IProcessReactor, ProcessSpawner
from overseer.process.subreaper import Subreaper, become_subreaper
from overseer.process.survivors import end_survivors
from overseer.process.worker import ProcessWorker

__all__ = [
    "INSTANCE_VARIABLE",
    "RUN_VARIABLE",
    "Child",
    "ControlGroups",
    "DescriptorLimit",
    "Escaped",
    "IProcessReactor",
    "Orphans",
    "ProcessGroup",
    "ProcessSpawner",
    "ProcessWorker",
    "Subreaper",
    "become_subreaper",
    "child_environment",
    "end_survivors",
    "new_run",
    "raise_descriptor_limit",
    "seal_inherited_descriptors",
]
