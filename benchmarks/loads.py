"""What clients do to a server: starting many tasks, watching a clock, taking what firehoses print."""

import multiprocessing
import selectors
import signal
import time
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count, islice

from benchmarks.clients import (
    BUFFER_SIZE,
    PATIENCE,
    ClientError,
    Connection,
    request_frames,
)

AT_ONCE = 32  # starts that wait for their answers
COMMANDS_APART = 0.02  # seconds between two requests of a client that measures the answers
_numbers = count(1)


def new_task(name):
    """Return a task_id that was never used."""
    return f"{name}-{next(_numbers)}"


@dataclass
class Burst:
    """What came of many starts that were sent without waiting."""

    seconds: float  # from the first start to the last exit
    delay: float  # longest time between the print of a clock's line and its arrival, in seconds
    gap: float  # longest time between the arrivals of two lines of the clock, in seconds
    answer: float  # longest time between another client's request and its answer, in seconds


def burst(starter, watcher, asker, prefix, starts):
    """Send ``starts`` starts of ``echo`` at once; ``watcher`` gets the lines of a ``clock``.

    Each task must answer ``started``, ``output``, ``exited``, in this order. ``asker`` sends a request now
    and then.
    """
    follows = {"started": "output", "output": "exited", "exited": None}
    expected = {f"{prefix} {number}": "started" for number in range(starts)}
    requests = request_frames(
        {"type": "start", "id": task_id, "action": "echo", "task_id": task_id}
        for task_id in expected
    )
    result = Burst(0.0, 0.0, 0.0, 0.0)
    running = starts
    urgency = {watcher: 0, asker: 1, starter: 2}
    with selectors.DefaultSelector() as selector:
        for connection in urgency:
            selector.register(connection, selectors.EVENT_READ)
        watcher.receive()  # what has waited here since the clock's start is not late
        begin = last_tick = asked = time.monotonic()
        starter.socket.sendall(requests)
        asker.send({"type": "metrics", "id": "now"})
        answered = False
        ticks_after = 0  # a late line may still be on its way when the last task has ended
        while running or ticks_after < 20:
            ready = selector.select(PATIENCE)
            if not ready:
                raise ClientError(f"nothing came for {PATIENCE:.0f} s, {running} tasks not ended")
            # The clock first: what it waits for must not be this client.
            for key, _ in sorted(ready, key=lambda event: urgency[event[0].fileobj]):
                messages = key.fileobj.receive()
                now = time.monotonic()
                if answered and now >= asked + COMMANDS_APART:
                    asked, answered = now, False
                    asker.send({"type": "metrics", "id": "now"})
                for message in messages:
                    if key.fileobj is asker:
                        result.answer = max(result.answer, now - asked)
                        answered = True
                    elif key.fileobj is watcher:
                        result.delay = max(result.delay, now - int(message["data"]) / 1e9)
                        result.gap = max(result.gap, now - last_tick)
                        last_tick = now
                        ticks_after += not running
                    else:
                        kind, task_id = message["type"], message.get("task_id", "")
                        if expected.get(task_id) != kind:
                            raise ClientError(f"expected {expected.get(task_id)!r}, got {message}")
                        expected[task_id] = follows[kind]
                        if kind == "exited":
                            running -= 1
                            result.seconds = now - begin
    return result


def spawn(connection, starts, action="true", until="exited"):
    """Start ``starts`` tasks, some of them at a time, and wait for a message of each."""
    prefix = new_task(action)

    def request(number):
        task_id = f"{prefix} {number}"
        return {"type": "start", "id": task_id, "action": action, "task_id": task_id}

    numbers = iter(range(starts))
    waiting = starts
    connection.send(*map(request, islice(numbers, AT_ONCE)))
    while waiting:
        messages = connection.receive()
        kinds = [message["type"] for message in messages]
        if "error" in kinds:
            raise ClientError(f"a start was refused: {messages[kinds.index('error')]}")
        done = kinds.count(until)
        waiting -= done
        if done:
            connection.send(*map(request, islice(numbers, done)))


def wait_for(connection, kind, number=1):
    """Read until so many messages of one type have come; what comes with the last one is lost."""
    while number > 0:
        number -= [message["type"] for message in connection.receive()].count(kind)


def ticks(contender, number):
    """Run a ``clock`` for so many lines; return the seconds from the print to the arrival of each."""
    delays = []
    with Connection(contender.address) as connection:
        task_id = new_task("clock")
        connection.start("clock", task_id)
        connection.receive()  # the first one may have waited for us
        while len(delays) < number:
            messages = connection.receive()
            now = time.monotonic()
            delays += [now - int(message["data"]) / 1e9 for message in messages]
        connection.send({"type": "stop", "id": "stop", "task_id": task_id})
        wait_for(connection, "exited")
    return delays


def answers(contender, number):
    """Ask for something small so often; return the seconds until each answer."""
    delays = []
    with Connection(contender.address) as connection:
        for _ in range(number):
            begin = time.monotonic()
            connection.ask("metrics", type="metrics", id="now")
            delays.append(time.monotonic() - begin)
            time.sleep(COMMANDS_APART)
    return delays


@contextmanager
def firehoses(contender, number):
    """Let so many firehoses run, each with a subscriber that takes everything, in a process of their own."""
    task_ids = [new_task("endless") for _ in range(number)]
    context = multiprocessing.get_context("fork")
    flowing = context.Event()
    process = context.Process(target=_drain, args=(contender.address, task_ids, flowing))
    process.start()
    try:
        if not flowing.wait(PATIENCE):
            raise ClientError("the firehoses do not flow")
        yield
    finally:
        process.terminate()
        process.join()
        with Connection(contender.address) as connection:
            for task_id in task_ids:
                connection.subscribe(task_id)
            # All at once after that: what comes before an answer is not kept.
            stops = [{"type": "stop", "id": "stop", "task_id": task_id} for task_id in task_ids]
            connection.send(*stops)
            wait_for(connection, "exited", number)


def _drain(address, task_ids, flowing):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    buffer = bytearray(BUFFER_SIZE)
    with selectors.DefaultSelector() as selector:
        for task_id in task_ids:
            connection = Connection(address)
            connection.start("firehose", task_id, count=str(10**12))
            selector.register(connection, selectors.EVENT_READ)
        flowing.set()
        while True:
            for key, _ in selector.select():
                if not key.fileobj.socket.recv_into(buffer):
                    selector.unregister(key.fileobj)
                    key.fileobj.close()
