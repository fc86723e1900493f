"""What processes of this machine use: their own and that of everything below them. Needs psutil, else empty."""

from collections.abc import Mapping
from contextlib import suppress

import attrs


@attrs.frozen
class Usage:
    """What a process and all below it use: ``seconds`` of processor time, bytes of ``memory``."""

    seconds: float
    memory: int


def usage_of(pids: Mapping[str, int]) -> dict[str, Usage]:
    """Return what each process uses, by the key it was given by; without those that are not to be seen."""
    try:
        import psutil  # noqa: PLC0415  # an extra: `pip install 'sticky-overseer[top]'`
    except ImportError:
        return {}
    children: dict[int, list[int]] = {}
    for process in psutil.process_iter(["ppid"]):
        children.setdefault(process.info["ppid"], []).append(process.pid)
    found = {}
    for key, pid in pids.items():
        seconds, memory = 0.0, 0
        tree = [pid]
        for one in tree:
            tree += children.get(one, [])
            with suppress(psutil.Error):
                process = psutil.Process(one)
                times = process.cpu_times()
                seconds += times.user + times.system
                memory += process.memory_info().rss
        if memory:
            found[key] = Usage(seconds, memory)
    return found
