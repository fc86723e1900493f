"""The daemon, with a look at how long each turn of its reactor takes; not a test.

A turn is what is done between two waits for events: nothing else can happen meanwhile. At the end the longest
is printed, by the wall clock and by the processor time of the reactor's thread. Those differ where the system
gave the processor to somebody else, or another thread kept the interpreter to itself.
"""

import sys
import time
from typing import Any

from twisted.internet import reactor

from overseer.cli import main


class Poller:
    """Waits for events as ``poller`` does, and measures what lies between two waits."""

    def __init__(self, poller: Any) -> None:
        self._poller = poller
        self._since: tuple[float, float] | None = None
        self.longest = self.busiest = 0.0
        self.turns = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._poller, name)

    def poll(self, *arguments: Any) -> Any:
        """Wait for events: a turn has ended, another one begins."""
        if self._since is not None:
            self.longest = max(self.longest, time.perf_counter() - self._since[0])
            self.busiest = max(self.busiest, time.thread_time() - self._since[1])
            self.turns += 1
        events = self._poller.poll(*arguments)
        self._since = time.perf_counter(), time.thread_time()
        return events


if __name__ == "__main__":
    poller = reactor._poller = Poller(reactor._poller)  # type: ignore[attr-defined]
    status = main()
    print(
        f"the longest of {poller.turns} turns took {poller.longest * 1000:.1f} ms,"
        f" and the busiest {poller.busiest * 1000:.1f} ms of processor time",
        file=sys.stderr,
    )
    sys.exit(status)
