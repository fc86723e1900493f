"""How many file descriptors the daemon may hold, and which of them its children see.

The daemon raises its soft ``RLIMIT_NOFILE`` to the hard limit at start-up, as systemd.exec(5)
advises: only programs that call ``select(2)`` need the low soft limit, so the children get the
old one back (:class:`overseer.process.ProcessSpawner` sets it right after each spawn).
"""

import os
import resource
import sys

import attrs

DESCRIPTORS_PER_TASK = 3
"""Descriptors of one running task: its stdout, its stderr and its pidfd."""

RESERVED_DESCRIPTORS = 64
"""Kept back from the estimate: listening sockets, database, logs, and what one spawn holds for a
moment."""


@attrs.frozen
class DescriptorLimit:
    """The soft limit on open descriptors: ``before`` for the children, ``after`` for the daemon."""

    before: int
    after: int

    @property
    def tasks(self) -> int:
        """About how many tasks can run at once; each connected client costs one descriptor."""
        if self.after == resource.RLIM_INFINITY:
            return sys.maxsize
        return max(0, self.after - RESERVED_DESCRIPTORS) // DESCRIPTORS_PER_TASK


def raise_descriptor_limit() -> DescriptorLimit:
    """Raise this process's soft limit on descriptors to its hard limit, if the system lets it."""
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):
        # macOS: the hard limit may say "unlimited", which no soft limit may be.
        return DescriptorLimit(before, before)
    return DescriptorLimit(before, hard)


def seal_inherited_descriptors() -> list[int]:
    """Mark every open descriptor above 2 close-on-exec and return them.

    Python opens its own so (PEP 446), what the daemon got from whoever started it is not: sockets
    of systemd, descriptors a shell left open. Sealed once, no spawn needs ``close_fds``, whose
    cost grows with the number of open descriptors.
    """
    sealed = []
    for name in os.listdir("/dev/fd"):
        descriptor = int(name)
        if descriptor <= 2:
            continue
        try:
            os.set_inheritable(descriptor, False)
        except OSError:
            continue  # the one that listed the folder
        sealed.append(descriptor)
    return sealed
