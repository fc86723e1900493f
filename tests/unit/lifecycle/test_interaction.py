"""What a client may do to a running task, and with what words it is refused."""

import signal

import pytest
from lifecycle_fakes import World, refusal

from overseer.core.process import Outcome
from overseer.core.worker import Uninteractive
from overseer.lifecycle.interaction import give_input, resize_terminal, send_signal
from overseer.protocol.messages import Input, Resize, Signal


def give(world: World, **fields: object) -> list[str]:
    """Ask for input and return what the client is told, now and later."""
    told: list[str] = []
    request = Input(id="i", task_id="a", **fields)  # type: ignore[arg-type]
    give_input(world.supervisor.task("a"), request, lambda: told.append("taken"), told.append)
    return told


def test_input_reaches_the_worker_and_its_receipt_the_client(world: World) -> None:
    worker = world.run()
    taken = give(world, data="grün\n")
    lost = give(world, data_base64="AP8=", eof=True)
    assert worker.calls[1:] == [
        ("write_input", "grün\n".encode()),
        ("write_input", b"\0\xff"),
        "end_input",
    ]
    assert (taken, lost) == ([], [])
    worker.receipts[0][0]()
    worker.receipts[1][1]("input: too late")
    assert (taken, lost) == (["taken"], ["input: too late"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "data, data_base64 or eof is required"),
        ({"data": "x", "data_base64": "eA=="}, "data_base64: not together with data"),
        ({"data_base64": "x!"}, "data_base64: expected base64 (RFC 4648)"),
        ({"data_base64": "é"}, "data_base64: expected base64 (RFC 4648)"),
    ],
)
def test_input_that_says_nothing_is_refused(
    world: World, fields: dict[str, object], message: str
) -> None:
    worker = world.run()
    assert refusal(lambda: give(world, **fields)) == message
    assert worker.calls == ["start"]


def test_the_end_alone_is_input(world: World) -> None:
    worker = world.run()
    give(world, eof=True)
    assert worker.calls[1:] == [("write_input", b""), "end_input"]


@pytest.mark.parametrize("name", ["USR1", "SIGUSR1", "sigusr1"])
def test_a_signal_by_any_of_its_names(world: World, name: str) -> None:
    worker = world.run()
    send_signal(world.supervisor.task("a"), Signal("s", "a", name))
    assert worker.calls[1:] == [("signal", 10)]


def test_a_real_time_signal_by_the_name_that_exits_tell(world: World) -> None:
    worker = world.run()
    number = signal.SIGRTMIN + 1
    name = Outcome.from_signal(number).signal
    assert name == f"SIG{number:d}"
    send_signal(world.supervisor.task("a"), Signal("s", "a", name))
    assert worker.calls[1:] == [("signal", number)]


def test_an_unknown_signal_is_refused(world: World) -> None:
    world.run()
    task = world.supervisor.task("a")
    assert refusal(lambda: send_signal(task, Signal("s", "a", "SIGNAL"))) == (
        'unknown signal: "SIGNAL"'
    )


def test_a_terminal_is_resized(world: World) -> None:
    worker = world.run()
    resize_terminal(world.supervisor.task("a"), Resize("r", "a", 50, 132))
    assert worker.calls[1:] == [("resize", 50, 132)]


def test_a_worker_says_what_it_cannot_do(world: World) -> None:
    world.run().refusal = "input: the task takes none"
    assert refusal(lambda: give(world, data="x")) == "input: the task takes none"


def test_only_a_running_task_is_talked_to(world: World) -> None:
    """Neither before its start was told, nor after its end."""
    world.start()
    task = world.supervisor.task("a")
    asks = (
        lambda: give(world, data="x"),
        lambda: send_signal(task, Signal("s", "a", "HUP")),
        lambda: resize_terminal(task, Resize("r", "a", 1, 1)),
    )
    assert [refusal(ask) for ask in asks] == ["task is not running"] * 3
    world.worker.spawn(7)
    world.worker.finish()
    assert [refusal(ask) for ask in asks] == ["task is not running"] * 3


def test_what_is_no_process_refuses_all_of_it(world: World) -> None:
    world.run()
    task = world.supervisor.task("a")
    run = task._run
    assert run is not None
    run._worker = type("Coroutine", (Uninteractive,), {})()
    assert refusal(lambda: give(world, data="x")) == "input: the task takes none"
    assert refusal(lambda: send_signal(task, Signal("s", "a", "HUP"))) == (
        "signal: the task is no process"
    )
    assert refusal(lambda: resize_terminal(task, Resize("r", "a", 1, 1))) == (
        "resize: the task has no terminal"
    )
    run._worker = world.worker
