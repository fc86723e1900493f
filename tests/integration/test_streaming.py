"""Output on its way from real children to real clients: whole, in order, and delaying nobody."""

import itertools
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from conftest import SHELL, Client, Daemon, Message, RawClient, eventually

MIB = 1024 * 1024
TICKER = (
    f"exec {sys.executable} -c '"
    "import time\n"
    "while True:\n"
    " print(time.clock_gettime_ns(time.CLOCK_MONOTONIC), flush=True)\n"
    " time.sleep(0.005)'"
)
"""Tells every 5 ms what time it is on the clock of ``time.monotonic_ns``."""
COUNTER = (
    f"exec {sys.executable} -c '"
    "import itertools, time\n"
    "for start in itertools.count(1, 50):\n"
    ' print(*range(start, start + 50), sep="\\n", flush=True)\n'
    " time.sleep(0.002)'"
)
"""Counts without end, some ten thousand lines a second."""


@pytest.fixture(scope="module")
def shared(launch_shared: Callable[..., Daemon]) -> Daemon:
    """A daemon for all tests here; each uses task ids of its own."""
    return launch_shared()


def outputs(messages: Iterable[Message], stream: str | None = None) -> list[Message]:
    return [
        message
        for message in messages
        if message["type"] == "output" and stream in (None, message["stream"])
    ]


def lines(messages: Iterable[Message], stream: str | None = None) -> list[str]:
    return [message["data"] for message in outputs(messages, stream)]


def check_numbers(messages: Iterable[Message]) -> None:
    """The numbers rise from 1 by one."""
    numbers = [message["seq"] for message in outputs(messages)]
    assert numbers == list(range(1, len(numbers) + 1))


class Ticks:
    """Follows a task that prints stamps, in a thread, and knows how late the latest came."""

    def __init__(self, daemon: Daemon, task_id: str) -> None:
        self._client = RawClient(daemon.port)
        self._client.send(
            type="start", action="sh", task_id=task_id, params={"script": TICKER}, id="tick"
        )
        self._task_id = task_id
        self.count = 0
        self.latest = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()
        eventually(lambda: self.count > 10)
        self.latest = 0.0

    def _follow(self) -> None:
        for message in self._client.messages():
            if message["type"] == "output":
                late = time.monotonic_ns() - int(message["data"])
                self.latest = max(self.latest, late / 1e9)
                self.count += 1
            elif message["type"] == "exited":
                return

    def stop(self) -> float:
        """End the task and return by how many seconds its latest line was late."""
        self._client.send(type="stop", task_id=self._task_id)
        self._thread.join(20)
        assert not self._thread.is_alive(), "the ticking task did not end"
        self._client.close()
        return self.latest


# ------------------------------------------------------------------------------------ what arrives


def test_a_line_of_twenty_megabytes(shared: Daemon) -> None:
    """A program that never ends its line neither hangs the task nor fills the memory."""
    size = 20_000_000
    before = shared.memory()
    ticks = Ticks(shared, "beside-the-long-line")
    with shared.client() as client:
        messages = client.run(f"head -c {size} /dev/zero | tr '\\0' x; echo; echo after")
    *pieces, after = outputs(messages)
    assert sum(len(piece["data"]) for piece in pieces) == size
    assert [piece.get("partial", False) for piece in pieces] == [True] * (len(pieces) - 1) + [False]
    assert set("".join(piece["data"] for piece in pieces)) == {"x"}
    assert all(len(piece["data"]) < MIB for piece in pieces)
    assert after["data"] == "after"
    check_numbers(messages)
    assert ticks.stop() < 2
    eventually(lambda: shared.memory() < before + 40 * MIB)


def test_binary_output(shared: Daemon, tmp_path: Path) -> None:
    """A program may write any byte: invalid UTF-8, NUL, DEL; the rest of the line stays readable."""
    data = bytes(range(256)) * 2 + random.Random(1).randbytes(300_000) + b"\x7f\0\xff\nlast \xc3"
    path = tmp_path / "binary"
    path.write_bytes(data)
    with shared.client() as client:
        messages = client.run(f"cat {path}")
    expected = [line.removesuffix(b"\r").decode("utf-8", "replace") for line in data.split(b"\n")]
    assert lines(messages) == expected
    check_numbers(messages)


def test_ten_thousand_empty_lines(shared: Daemon) -> None:
    """Empty lines are lines."""
    with shared.client() as client:
        messages = client.run("yes '' | head -n 10000")
    assert lines(messages) == [""] * 10_000
    check_numbers(messages)


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        (r"a\nb", ["a", "b"]),
        (r"a\n", ["a"]),
        (r"", []),
        (r"\n", [""]),
        (r"a\r\nb\r\n\r\nc\rd\n", ["a", "b", "", "c\rd"]),
    ],
    ids=["no-final-newline", "final-newline", "nothing", "one-newline", "crlf"],
)
def test_line_edges(shared: Daemon, printed: str, expected: list[str]) -> None:
    """A last line without its end is delivered, and ``\\r\\n`` ends a line just as ``\\n`` does."""
    with shared.client() as client:
        assert lines(client.run(f"printf '{printed}'")) == expected


def test_stdout_and_stderr_apart(shared: Daemon) -> None:
    """Each stream keeps its order and its name; both share the numbers of the task."""
    with shared.client() as client:
        messages = client.run("seq 1 500; seq 501 1000 >&2; printf out; printf err >&2")
    assert lines(messages, "stdout") == [*map(str, range(1, 501)), "out"]
    assert lines(messages, "stderr") == [*map(str, range(501, 1001)), "err"]
    check_numbers(messages)


# ----------------------------------------------------------------------------------- who gets it


def test_subscribers_get_the_same(shared: Daemon) -> None:
    """Whoever subscribed, before the task existed or to ``*``, gets what the starter gets, each once.

    Only ``started`` differs: it answers the starter's request and nobody else's.
    """
    with shared.client() as starter, shared.client() as early, shared.client() as everything:
        early.ask(type="subscribe", task_id="watched")
        everything.ask(type="subscribe", task_id="*")
        everything.ask(type="subscribe", task_id="watched")
        starter.send(
            type="start",
            id="mine",
            action="sh",
            task_id="watched",
            params={"script": "seq 1 2000; echo oops >&2; exit 3"},
        )
        seen = [client.until("exited") for client in (starter, early, everything)]
    own, *others = [messages[0].pop("id") for messages in seen]
    assert own == "mine"
    assert others == ["", ""]
    assert seen[0] == seen[1] == seen[2]
    assert [seen[0][0]["type"], seen[0][-1]["exit_code"]] == ["started", 3]
    check_numbers(seen[0])
    assert len(outputs(seen[0])) == 2001


def test_unsubscribe(shared: Daemon) -> None:
    """After ``unsubscribed`` nothing of the task comes any more, not to the starter either."""
    with shared.client() as starter, shared.client() as other:
        starter.start(task_id="left", params={"script": COUNTER})
        starter.until("output")
        other.ask(type="subscribe", task_id="left")
        starter.ask(type="unsubscribe", task_id="left")
        other.send(type="stop", task_id="left")
        other.until("exited")
        starter.send(type="list", action="none")
        assert starter.receive()["type"] == "tasks"


# ----------------------------------------------------------------------------- resume and replay


def resumed(
    daemon: Daemon, task_id: str, rounds: int
) -> Iterator[tuple[Message, Iterator[Message]]]:
    """Follow a task over connections that break at random points, to its ``exited``."""
    chance = random.Random(2)
    last_seq, epoch = 0, ""
    for number in itertools.count():
        with daemon.raw_client() as client:
            client.send(
                type="subscribe", task_id=task_id, since_seq=last_seq, epoch=epoch, id="sub"
            )
            messages = client.messages()
            subscribed = next(messages)
            assert subscribed["type"] == "subscribed"
            assert epoch in ("", subscribed["epoch"])
            epoch = subscribed["epoch"]
            limit = chance.randrange(1, 3000)
            if number == rounds:
                client.send(type="stop", task_id=task_id)
                limit = 10**9
            part = []
            for message in itertools.islice(messages, limit):
                part.append(message)
                if message["type"] in ("output", "lagged"):
                    last_seq = message.get("to_seq") or message["seq"]
                if message["type"] == "exited":
                    break
        yield subscribed, iter(part)
        if number == rounds:
            return


def await_lines(client: Client, task_id: str, seq: int) -> None:
    """Wait until a task to which the client does not listen has written line ``seq``."""
    eventually(lambda: client.ask(type="metrics", task_id=task_id)["task"]["output_lines"] >= seq)


@pytest.mark.parametrize("ring", ["small", "large"])
def test_resume_of_a_live_firehose(launch: Callable[..., Daemon], ring: str) -> None:
    """A client whose connection breaks again and again misses nothing and gets nothing twice.

    What the ring buffer could not keep meanwhile is told by one ``lagged``, first of all.
    """
    sizes = {
        "small": "replay_buffer: 100\n",
        "large": "replay_buffer: 1000000\nreplay_bytes: 256MiB\n",
    }
    daemon = launch(sizes[ring] + SHELL)
    expected = 1
    types: list[str] = []
    with daemon.client() as starter:
        starter.start(task_id="firehose", params={"script": COUNTER})
        starter.ask(type="unsubscribe", task_id="firehose")
        for subscribed, messages in resumed(daemon, "firehose", rounds=12):
            for place, message in enumerate(messages):
                types.append(message["type"])
                if message["type"] == "lagged":
                    assert place == 0
                    assert message["from_seq"] == expected
                    assert message["to_seq"] + 1 == subscribed["first_seq"]
                    assert message["dropped"] == message["to_seq"] - expected + 1
                    expected = message["to_seq"] + 1
                elif message["type"] == "output":
                    assert (message["seq"], message["data"]) == (expected, str(expected))
                    expected += 1
            if ring == "small" and types[-1] != "exited":
                await_lines(starter, "firehose", expected + 100)
    assert types.count("exited") == 1
    assert types[-1] == "exited"
    assert ("lagged" in types) == (ring == "small")


def test_epoch(shared: Daemon) -> None:
    """Numbers remembered from another time, or from the future, resume at the beginning."""
    with shared.client() as client:
        client.run("seq 1 5", task_id="numbered")

        def resume(**fields: object) -> tuple[Message, list[int]]:
            client.send(type="subscribe", task_id="numbered", **fields)
            client.send(type="list", action="none")
            *messages, _end = client.until("tasks")
            return messages[0], [message["seq"] for message in outputs(messages)]

        subscribed, seqs = resume()
        assert (subscribed["first_seq"], subscribed["last_seq"], seqs) == (1, 5, [])
        epoch = subscribed["epoch"]
        assert resume(since_seq=2)[1] == [3, 4, 5]
        assert resume(since_seq=2, epoch=epoch)[1] == [3, 4, 5]
        assert resume(since_seq=5, epoch=epoch)[1] == []
        assert resume(since_seq=2, epoch="another")[1] == [1, 2, 3, 4, 5]
        assert resume(since_seq=6, epoch=epoch)[1] == [1, 2, 3, 4, 5]
        again = client.run("echo more", task_id="numbered")
        assert outputs(again)[0]["seq"] == 6
        assert resume()[0]["epoch"] == epoch
        client.run("echo x", task_id="another")
        assert client.ask(type="subscribe", task_id="another")["epoch"] != epoch


def test_replay(shared: Daemon) -> None:
    """What happened can be told again, from a time or a number on, to whoever asks and nobody else."""
    with shared.client() as starter, shared.client() as client:
        told = starter.run("for i in 1 2 3; do echo $i; sleep 0.02; done", task_id="told")
        _started, one, two, three, exited = told

        def replay(**fields: object) -> list[Message]:
            client.send(type="replay", task_id="told", ack=True, **fields)
            *events, ack = client.until("ack")
            assert (ack["task_id"], ack["last_seq"]) == ("told", 3)
            return events

        assert replay() == [one, two, three, exited]
        assert replay(since=two["ts"]) == [two, three, exited]
        assert replay(since=exited["ts"]) == [exited]
        assert replay(since="2999-01-01T00:00:00Z") == []
        assert replay(since_seq=0) == [one, two, three, exited]
        assert replay(since_seq=2) == [three, exited]
        assert replay(since_seq=3) == [exited]
        assert replay(since_seq=9) == []
        client.send(type="replay", task_id="told", since_seq=2)
        assert [client.receive(), client.receive()] == [three, exited]
        client.send(type="replay", task_id="nobody")
        assert client.until("error")[-1]["message"] == "task not found"
        starter.send(type="list", action="none")
        assert starter.receive()["type"] == "tasks"


def test_replay_keeps_the_newest(shared: Daemon) -> None:
    """The ring buffer holds the last 100 events, as v2's did."""
    with shared.client() as client:
        client.run("seq 1 1000", task_id="many")
        client.send(type="replay", task_id="many", ack=True)
        *events, _ack = client.until("ack")
    assert lines(events) == [str(number) for number in range(902, 1001)]
    assert events[-1]["type"] == "exited"


# ------------------------------------------------------------------------------------- many tasks


def check_runs(messages: Iterable[Message], count: int) -> None:
    """Every task was started, told its one line and exited, in this order."""
    runs: dict[str, list[str]] = {}
    for message in messages:
        runs.setdefault(message["task_id"], []).append(message["type"])
        if message["type"] == "exited":
            assert message["exit_code"] == 0
        if message["type"] == "output":
            assert message["data"] == message["task_id"]
    assert len(runs) == count
    assert {tuple(run) for run in runs.values()} == {("started", "output", "exited")}


def start_echoes(client: RawClient, prefix: str, count: int) -> list[Message]:
    """Start tasks without waiting and return all that comes until the last of them has ended."""
    for number in range(count):
        name = f"{prefix}-{number}"
        client.send(
            type="start", action="echo", task_id=name, params={"message": name}, id=f"id-{name}"
        )
    messages = []
    left = count
    for message in client.messages():
        messages.append(message)
        if message["type"] == "started":
            assert message["id"] == f"id-{message['task_id']}"
        left -= message["type"] == "exited"
        if not left:
            break
    return messages


def test_a_task_that_ends_at_once(shared: Daemon) -> None:
    """Its starter gets ``started``, the output and ``exited`` all the same: 200 times at once."""
    with (
        shared.raw_client() as one,
        shared.raw_client() as two,
        shared.raw_client() as three,
        shared.raw_client() as four,
    ):
        clients = {
            f"quick-{number}": client for number, client in enumerate((one, two, three, four))
        }
        seen: dict[str, list[Message]] = {}
        threads = [
            threading.Thread(
                target=lambda p=prefix, c=client: seen.update({p: start_echoes(c, p, 50)})
            )
            for prefix, client in clients.items()
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(seen) == 4
    for messages in seen.values():
        check_runs(messages, 50)


def test_hundreds_of_starts(shared: Daemon) -> None:
    """A burst of starts is worked off completely, and a ticking task goes on beside it."""
    ticks = Ticks(shared, "beside-hundreds")
    with shared.raw_client() as client:
        messages = start_echoes(client, "hundreds", 300)
    check_runs(messages, 300)
    assert ticks.stop() < 5


@pytest.mark.slow
def test_thousands_of_starts(shared: Daemon) -> None:
    """2,000 starts from one client delay the lines of another's task by at most 100 ms."""
    ticks = Ticks(shared, "beside-thousands")
    with shared.raw_client() as client:
        messages = start_echoes(client, "thousands", 2000)
    late = ticks.stop()
    check_runs(messages, 2000)
    print(f"2,000 starts: the latest tick came {late * 1000:.0f} ms late")
    assert late < 0.1


# --------------------------------------------------------------------------------- fast and slow


def count_up(messages: Iterable[Message], count: int, *, each: Callable[[], object]) -> None:
    """Every line of ``seq 1 count`` comes, in order, and nothing else before ``exited``."""
    expected = 1
    for message in messages:
        if message["type"] == "output":
            assert message["seq"] == expected
            assert message["data"] == str(expected)
            expected += 1
            if expected % 50_000 == 0:
                each()
        elif message["type"] != "started":
            break
    assert message["type"] == "exited", message
    assert expected == count + 1


@pytest.mark.parametrize("count", [300_000, pytest.param(5_000_000, marks=pytest.mark.slow)])
def test_a_lone_reader_of_a_firehose(shared: Daemon, count: int) -> None:
    """A healthy reader gets every line however fast they come: the program waits for it."""
    with shared.raw_client() as client:
        client.send(type="start", action="sh", params={"script": f"seq 1 {count}"})
        begin = time.monotonic()
        count_up(client.messages(), count, each=lambda: None)
    print(f"lone reader: {count / (time.monotonic() - begin):,.0f} lines/s")


@pytest.mark.parametrize("send_buffer", ["8MiB", "64KiB"])
def test_a_firehose_of_empty_lines(launch: Callable[..., Daemon], send_buffer: str) -> None:
    """However small its buffer, a healthy reader loses nothing, though one read makes 10 MB of messages."""
    daemon = launch(f"limits: {{send_buffer: {send_buffer}}}\n" + SHELL)
    with daemon.raw_client() as client:
        # So much at once that the pipe is full at each read.
        script = f"exec {sys.executable} -c 'import os, time; os.write(1, b\"\\n\" * 150000); time.sleep(100)'"
        client.send(type="start", action="sh", task_id="empty" * 8, params={"script": script})
        messages = client.until(lambda message: message.get("seq") == 150_000)
    assert [message["type"] for message in messages] == ["started"] + ["output"] * 150_000
    check_numbers(messages)


def test_large_answers_are_paced(launch: Callable[..., Daemon]) -> None:
    """A replay or a list larger than the buffer of a client reaches it whole, at its own pace."""
    daemon = launch("replay_buffer: 1000000\nreplay_bytes: 64MiB\n" + SHELL)
    with daemon.raw_client() as client:
        client.send(type="start", action="sh", task_id="big", params={"script": "seq 1 100000"})
        count_up(client.messages(), 100_000, each=lambda: None)
        for number in range(12):
            params = {"script": "true", "ignored": "x" * 800_000}
            client.send(type="start", action="sh", task_id=f"wide-{number}", params=params)
            client.until(lambda message: message["type"] == "exited")
        for number in range(3):
            client.send(type="list", id=f"list-{number}")
        client.send(type="replay", task_id="big", ack=True)
        client.send(type="subscribe", task_id="big", since_seq=0)
        first, second, third = itertools.islice(client.messages(), 3)
        assert [len(answer["tasks"]) for answer in (first, second, third)] == [13] * 3
        for _ in range(2):
            replayed = client.until(lambda message: message["type"] == "exited")
            check_lagged([m for m in replayed if m["type"] == "output"], 100_000)


def check_lagged(messages: list[Message], count: int) -> list[Message]:
    """What was received and what was told as left out are together every line, once and in order."""
    expected = 1
    gaps = []
    for message in messages:
        if message["type"] == "output":
            assert (message["seq"], message["data"]) == (expected, str(expected))
            expected += 1
        elif message["type"] == "lagged":
            assert message["from_seq"] == expected
            expected = message["to_seq"] + 1
            assert message["dropped"] == expected - message["from_seq"]
            gaps.append(message)
    assert expected == count + 1
    return gaps


@pytest.mark.parametrize("count", [500_000, pytest.param(5_000_000, marks=pytest.mark.slow)])
def test_a_stalled_reader_beside_a_healthy_one(launch: Callable[..., Daemon], count: int) -> None:
    """One stuck reader takes nothing from the others, and learns exactly what it has missed.

    The Go original froze the task for everybody. What was left out can be asked for again as far as
    the ring buffer holds it.
    """
    daemon = launch()
    with daemon.raw_client() as healthy, daemon.raw_client(receive_buffer=65536) as stalled:
        # One firehose before, so that what it takes once is not counted.
        healthy.send(type="start", action="sh", params={"script": "seq 1 200000"})
        count_up(healthy.messages(), 200_000, each=lambda: None)
        stalled.send(type="subscribe", task_id="big")
        assert next(stalled.messages())["type"] == "subscribed"
        before = daemon.memory()
        memory = []
        begin = time.monotonic()
        healthy.send(type="start", action="sh", task_id="big", params={"script": f"seq 1 {count}"})
        count_up(healthy.messages(), count, each=lambda: memory.append(daemon.memory()))
        print(f"beside a stalled reader: {count / (time.monotonic() - begin):,.0f} lines/s")
        print(f"RSS grew by {(max(memory) - before) / MIB:.1f} MiB")
        assert max(memory) - before < 30 * MIB
        received = stalled.until(lambda message: message["type"] == "exited")
        gaps = check_lagged(received, count)
        assert gaps
        stalled.send(type="replay", task_id="big", since_seq=gaps[-1]["from_seq"] - 1, ack=True)
        replayed = outputs(stalled.until(lambda message: message["type"] == "ack"))
        assert replayed
        assert replayed[-1]["seq"] == count
        assert all(gaps[-1]["from_seq"] <= line["seq"] for line in replayed)


@pytest.mark.parametrize("count", [20_000, pytest.param(50_000, marks=pytest.mark.slow)])
def test_a_client_that_never_reads_its_answers(shared: Daemon, count: int) -> None:
    """Tens of thousands of unread answers neither pile up in the daemon nor delay anybody, nor get lost."""
    with shared.client() as other, shared.raw_client(receive_buffer=65536) as silent:
        other.run("seq 1 20", task_id="asked-for")
        other.start("echo", task_id="wide", params={"message": "x" * 10_000})
        other.until("exited")
        before = shared.memory()
        ticks = Ticks(shared, "beside-the-silent")
        requests = [
            silent.frame(
                b'{"id":"%d","type":"%s","task_id":"asked-for","ack":true,"since_seq":18,'
                b'"action":"echo","limit":1}' % (number, b"replay" if number % 2 else b"list")
            )
            for number in range(count)
        ]
        sender = threading.Thread(target=silent.socket.sendall, args=(b"".join(requests),))
        silent.socket.settimeout(60)
        sender.start()
        asked = [other.ask(type="list", limit=1)["type"] for _ in range(200)]
        eventually(lambda: ticks.count > 400)
        assert asked == ["tasks"] * 200
        assert shared.memory() < before + 40 * MIB
        assert ticks.stop() < 2
        answers = (message for message in silent.messages() if "id" in message)
        for number, answer in zip(range(count), answers, strict=False):
            assert answer["id"] == str(number)
        sender.join()


def test_a_client_too_slow_for_what_it_must_be_told(launch: Callable[..., Daemon]) -> None:
    """Answers and lifecycle events are never left out; who cannot take even those is closed (1013)."""
    daemon = launch("limits: {send_buffer: 4KiB}\n" + SHELL)
    with daemon.raw_client() as client, daemon.raw_client(receive_buffer=4096) as stalled:
        stalled.send(type="subscribe", task_id="*")
        assert next(stalled.messages())["type"] == "subscribed"
        client.send(type="start", action="sh", params={"script": "seq 1 100000"})
        client.until(lambda message: message["type"] == "exited")
        check_runs(start_echoes(client, "told", 20), 20)
        for _message in stalled.messages():
            pass
        assert stalled.close_code == 1013
        check_runs(start_echoes(client, "afterwards", 1), 1)


def test_clients_come_and_go(shared: Daemon) -> None:
    """Clients that vanish in the middle of a firehose leave it to the others."""
    with shared.client() as client:
        started = client.start(task_id="popular", params={"script": COUNTER})
        for _ in range(10):
            with shared.raw_client() as other:
                other.send(type="subscribe", task_id="popular")
                for _message in itertools.islice(other.messages(), 50):
                    pass
        client.send(type="stop", task_id="popular")
        messages = client.until("exited")
    check_numbers(messages)
    assert messages[-1]["pid"] == started["pid"]
