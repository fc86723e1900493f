"""Drivers of other programs, services, and watched folders, in a real daemon."""

import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import Daemon, eventually

PROGRAM = """
import threading
import overseer

@overseer.driver("flood")
async def flood(run, lines: int = 10**9) -> int:
    for number in range(lines):
        await run.send("stdout", f"{number:060}")
    return 5

@overseer.driver("flood-in-thread")
def flood_in_thread(run, lines: int = 10**9) -> int:
    for number in range(lines):
        run.send("stdout", f"{number:060}")
    return 5

@overseer.driver("stubborn")
def stubborn(run):
    run.send("stdout", "begun")
    threading.Event().wait()

class Ticker(overseer.ServiceHandler):
    def __init__(self, message):
        self.message = message

    async def run_service(self, submitter):
        for number in range(1000):
            await submitter.sleep(0.05)
            found = await submitter.submit("note", "", {"message": self.message})
            assert found.status == "started", found
            if self.message == "fails":
                raise RuntimeError("as it was told")

class TickerFactory(overseer.ActionHandlerFactory):
    type = "ticker"

    def create(self, config, name, retry, pool, dedupe_key):
        return Ticker(config["message"])

overseer.register_factory(TickerFactory())
overseer.run_cli("4.5", "abc")
"""

CONFIG = """
listen: "127.0.0.1:0"
actions:
  flood: {{type: flood}}
  flood-in-thread: {{type: flood-in-thread}}
  stubborn: {{type: stubborn, stop_grace: 100ms}}
  note:
    type: exec
    config:
      entrypoint: sh
      command: ["-c", 'echo "$0" >> notes', "[[.message]]"]
      parameters: {{message: {{}}}}
{more}
"""
TICKER = "  ticker: {{type: ticker, config: {{message: {0}}}}}"
WATCH = """
  incoming:
    type: watch
    config: {folders: in, action: note, parameter: message, journal: journal, min_age: 0s, interval: 50ms}
"""


class Program(Daemon):
    """A daemon with drivers of its own."""

    def __init__(self, folder: Path, more: str = "") -> None:
        (folder / "program.py").write_text(PROGRAM)
        (folder / "config.yaml").write_text(CONFIG.format(more=more))
        super().__init__([sys.executable, "program.py", "--config", "config.yaml"], folder)

    def notes(self) -> list[str]:
        """What tasks of the action ``note`` have written."""
        path = self.folder / "notes"
        return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Program]]:
    """Start programs, and end them."""
    programs: list[Program] = []

    def start(more: str = "") -> Program:
        programs.append(Program(tmp_path, more))
        return programs[-1]

    yield start
    for program in programs:
        if program.process.poll() is None:
            program.process.kill()
            program.process.wait()


def test_a_program_is_a_whole_overseer(run: Callable[..., Program]) -> None:
    """Tasks of its drivers stream, are stopped and end as processes do, both kinds."""
    program = run()
    for action in ("flood", "flood-in-thread"):
        with program.client() as client:
            started = client.start(action, params={"lines": "5000"})
            assert started["pid"] == 0
            messages = client.until("exited")
            lines = [message["data"] for message in messages if message["type"] == "output"]
            assert [int(line) for line in lines] == list(range(5000))
            assert messages[-1]["exit_code"] == 5
        with program.client() as client:
            task_id = client.start(action)["task_id"]
            client.until("output")
            client.send(type="stop", task_id=task_id)
            exited = client.until("exited")[-1]
            assert (exited["exit_code"], exited["signal"]) == (-1, "SIGTERM")
            assert exited["intentional"] is True
    assert program.stop() == 0


def test_memory_is_bounded(run: Callable[..., Program]) -> None:
    """With no subscriber, and with one that reads nothing."""
    program = run()
    with program.client() as client, program.raw_client(receive_buffer=4096) as stalled:
        tasks = [client.start(name)["task_id"] for name in ("flood", "flood-in-thread")]
        stalled.send(type="subscribe", task_id=tasks[0])
        for task_id in tasks:
            client.until(lambda message, wanted=task_id: message.get("task_id") == wanted)
        client.ask(type="unsubscribe", task_id=tasks[1])
        before = program.memory()
        client.until(lambda message: message.get("seq", 0) > 100_000)
        assert program.memory() - before < 50_000_000
    assert program.stop() == 0


@pytest.mark.slow
def test_a_shutdown_does_not_wait_for_a_stubborn_thread(run: Callable[..., Program]) -> None:
    """It says so, and ends when the thread counts as unkillable."""
    program = run()
    with program.client() as client:
        client.start("stubborn")
        client.until("output")
    assert program.stop() == 0
    assert "its thread goes on though it was told to end" in program.log


def test_a_service_is_started_again_and_changed_by_a_reload(run: Callable[..., Program]) -> None:
    """With a traceback in the log when it fails; the shutdown ends it."""
    program = run(TICKER.format("fails"))
    program.wait_for_log("RuntimeError: as it was told")
    program.wait_for_log(r"service ticker: has failed, is started again in 1 s")
    (program.folder / "config.yaml").write_text(CONFIG.format(more=TICKER.format("works")))
    program.process.send_signal(signal.SIGHUP)
    eventually(lambda: program.notes().count("works") > 2)
    assert "fails" in program.notes()
    assert program.stop() == 0


def test_every_file_once_over_a_kill(run: Callable[..., Program], tmp_path: Path) -> None:
    """Dropped before, during and after a kill -9, each leads to one task."""
    folder = tmp_path / "in"
    folder.mkdir()
    names = [str(folder / f"file {number}") for number in range(300)]
    stop = threading.Event()

    def drop() -> None:
        for name in names:
            Path(name).touch()
            stop.wait(0.003)

    dropping = threading.Thread(target=drop)
    program = run(WATCH)
    dropping.start()
    eventually(lambda: len(program.notes()) > 20)
    program.process.kill()
    program.process.wait()
    program = run(WATCH)
    dropping.join()
    eventually(lambda: len(program.notes()) >= len(names))
    assert program.stop() == 0
    assert Counter(program.notes()) == Counter(names)
