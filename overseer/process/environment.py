"""Which variables of the daemon's environment its children inherit."""

from collections.abc import Mapping

PRIVATE_VARIABLES = frozenset(
    {
        "LISTEN_FDNAMES",
        "LISTEN_FDS",
        "LISTEN_PID",
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
    }
)
"""Addressed to the daemon alone: sd_notify(3), sd_listen_fds(3), sd_watchdog_enabled(3). A child
that sees them would report the daemon ready, or take descriptors it was never given."""


def child_environment(
    base: Mapping[str, str], extra: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the environment of a child: ``base`` without what is the daemon's own, then ``extra``.

    A variable that ``extra`` names is kept whatever its name: somebody asked for it.
    """
    inherited = {name: value for name, value in base.items() if name not in PRIVATE_VARIABLES}
    return inherited | dict(extra or {})
