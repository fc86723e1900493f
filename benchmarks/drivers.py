"""An overseer with three drivers of its own, which print a line as often as they can.

    python benchmarks/drivers.py --config overseer.yaml

``make bench`` measures them beside ``exec``.
"""

import overseer


@overseer.driver("coroutine")
async def coroutine(run, line: str, count: int):
    """Wait for room after each line."""
    for _ in range(count):
        await run.send("stdout", line)


@overseer.driver("generator")
async def generator(run, line: str, count: int):
    """Send what is yielded."""
    for _ in range(count):
        yield line


@overseer.driver("thread")
def thread(run, line: str, count: int):
    """Run beside the reactor."""
    for _ in range(count):
        run.send("stdout", line)


if __name__ == "__main__":
    overseer.run_cli("", "")
