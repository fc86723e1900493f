"""A control group (cgroups(7), version 2) for a run: whatever is started in it stays in it, and ends with it.

They are made below the group that this process is in. That takes a system with version 2 and the right to do
so: root, or a service manager that delegates the group (systemd: ``Delegate=yes``). No controller is turned on.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from itertools import count

_PREFIX = "overseer-"


class ControlGroup:
    """The control group at ``path``."""

    def __init__(self, path: str) -> None:
        self.path = path

    @property
    def entrance(self) -> str:
        """The file that takes in whoever writes a 0 to it."""
        return f"{self.path}/cgroup.procs"

    def members(self) -> list[int]:
        """Return the process ids of all that is alive in it, and in groups that were made below it."""
        return [
            int(pid)
            for folder in self._folders()
            for pid in _read(f"{folder}/cgroup.procs").split()
        ]

    def kill(self) -> None:
        """End all of it by force, at once where the kernel can (Linux 5.14)."""
        try:
            _write(f"{self.path}/cgroup.kill", "1")
        except OSError:
            for pid in self.members():
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)

    def remove(self) -> None:
        """Remove it with all groups below, unless something is alive in one."""
        for folder in self._folders():
            with suppress(OSError):
                os.rmdir(folder)

    def _folders(self) -> Iterator[str]:
        for folder, _, _ in os.walk(self.path, topdown=False):
            yield folder


class ControlGroups:
    """The control groups of all runs.

    :param instance: is in their names, so that a later overseer knows those of an earlier one.
    """

    def __init__(self, instance: str) -> None:
        self._own = own_control_group()
        self._prefix = f"{_PREFIX}{instance}-"
        self._numbers = count(1)

    def obstacle(self) -> str | None:
        """Return why there can be none, None if there can."""
        if self._own is None:
            return "this system has no control groups of version 2"
        try:
            if not os.access(f"{self._own}/cgroup.procs", os.W_OK):
                raise PermissionError
            probe = self.new()
        except OSError as error:
            reason = error.strerror or "it is not delegated to this user"
            return f"none can be made in {self._own}: {reason}"
        probe.remove()
        return None

    def new(self) -> ControlGroup:
        """Make one.

        :raises OSError: when that is not possible.
        """
        if self._own is None:
            raise FileNotFoundError
        path = f"{self._own}/{self._prefix}{os.getpid()}-{next(self._numbers)}"
        os.mkdir(path)
        return ControlGroup(path)

    def earlier(self) -> list[ControlGroup]:
        """Return those that an earlier overseer of this instance has left, before this one makes any."""
        names: list[str] = []
        if self._own is not None:
            with suppress(OSError):
                names = os.listdir(self._own)
        found = (name for name in names if name.startswith(self._prefix))
        return [ControlGroup(f"{self._own}/{name}") for name in found]


def own_control_group() -> str | None:
    """Return the folder of the group that this process is in, None without one: proc_pid_cgroup(5)."""
    lines = _read("/proc/self/cgroup").splitlines()
    path = next((line[3:] for line in lines if line.startswith("0::")), None)
    if path is None:
        return None
    for line in _read("/proc/self/mountinfo").splitlines():
        fields, _, source = line.partition(" - ")
        if source.startswith("cgroup2 "):
            root, mount = fields.split()[3:5]
            if path.startswith(root):
                return os.path.normpath(f"{mount}/{path.removeprefix(root)}")
    return None


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    with open(path, "w", encoding="ascii") as file:
        file.write(text)
