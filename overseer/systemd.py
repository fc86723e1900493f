"""What the program tells systemd, or whatever speaks like it, and the sockets that it is given by it.

sd_notify(3), sd_watchdog_enabled(3) and sd_listen_fds(3). Without the variables of these, nothing here has an
effect.
"""

import contextlib
import os
import socket
import time
from collections.abc import Mapping, MutableMapping

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Notifier:
    """Tells whoever started the program how it is, by datagrams to ``NOTIFY_SOCKET``.

    :param clock: the reactor: that a timer of it comes is the proof that it still turns.
    """

    def __init__(self, clock: IReactorTime, environment: Mapping[str, str] = os.environ) -> None:
        self._clock = clock
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._ping_interval = _watchdog_timeout(environment) / 2 if self._address else 0.0
        self._ping: IDelayedCall | None = None

    def ready(self, status: str) -> None:
        """Tell that start-up or a reload is over; from the first time on the watchdog is fed."""
        self._tell("READY=1", f"STATUS={status}")
        if self._ping is None and self._ping_interval:
            self._feed_watchdog()

    def reloading(self) -> None:
        """Tell that the configuration is read anew; ``ready`` follows, whatever comes of it."""
        # By the time systemd tells that this is the reload it has asked for: Type=notify-reload.
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self, status: str) -> None:
        """Tell that the end has begun; the watchdog is fed until it is over."""
        self._tell("STOPPING=1", f"STATUS={status}")

    def stop(self) -> None:
        """Feed the watchdog no more."""
        if self._ping is not None and self._ping.active():
            self._ping.cancel()

    def _feed_watchdog(self) -> None:
        self._tell("WATCHDOG=1")
        self._ping = self._clock.callLater(self._ping_interval, self._feed_watchdog)

    def _tell(self, *assignments: str) -> None:
        if not self._address:
            return
        # @ stands for the NUL of an abstract name: unix(7).
        address = "\0" + self._address[1:] if self._address[0] == "@" else self._address
        # That nobody is there to be told is no reason to end.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel,
        ):
            channel.setblocking(False)
            channel.sendto("\n".join(assignments).encode(), address)


def name_sockets(environment: MutableMapping[str, str]) -> None:
    """Give the sockets that this process was passed names, where they have none.

    Not everything that passes sockets names them, and Twisted's ``systemd:`` endpoint sees only those that have
    one. To be called before that is imported, as it looks then and never again.
    """
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not count.isdecimal():
        return
    names = environment.get("LISTEN_FDNAMES")
    if not names or len(names.split(":")) != int(count):
        environment["LISTEN_FDNAMES"] = ":".join(f"socket{number}" for number in range(int(count)))


def _watchdog_timeout(environment: Mapping[str, str]) -> float:
    """Return in seconds how long the watchdog waits for a ping, 0 if it waits for none of this process."""
    microseconds = environment.get("WATCHDOG_USEC", "")
    mine = environment.get("WATCHDOG_PID") in (None, "", str(os.getpid()))
    return int(microseconds) / 1_000_000 if mine and microseconds.isdecimal() else 0.0
