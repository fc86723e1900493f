"""What a spawn that fails says, and the spawner's own life."""

import ctypes
import os
import resource
import signal
import threading

import pytest
import pytest_twisted
from process_support import PATH, Runs, open_descriptors, zombies
from twisted.internet import reactor

from overseer.core.process import ProcessSpec
from overseer.process import ProcessSpawner, posix_spawn, spawn
from overseer.process.apart import ThreadApart, thread_apart

ensure_deferred = pytest_twisted.ensureDeferred


@pytest.fixture(params=["posix_spawn", "apart", "subprocess"])
def way(request, monkeypatch):
    """Plain cases are started by the C library where it can, and by subprocess elsewhere: all the same."""
    if request.param == "subprocess":
        monkeypatch.setattr(posix_spawn, "_library", lambda: None)
    if request.param == "apart":
        monkeypatch.setattr(spawn, "MANY_DESCRIPTORS", 0)


@pytest_twisted.async_yield_fixture
async def runs(way):
    runs = Runs(ProcessSpawner(reactor))
    yield runs
    await runs.end()


@pytest.fixture
def script(tmp_path):
    """A file that is no program, and can't be executed."""
    path = tmp_path / "script"
    path.write_text("echo no interpreter\n")
    path.chmod(0o644)
    return path


PREFIXED = pytest.mark.parametrize("fields", [{}, {"nice": 1}, {"rlimits": {"core": (0, 0)}}])


@PREFIXED
@ensure_deferred
async def test_a_missing_program(runs, fields):
    reason = await runs.failure_of("ffmpegg", "-i", "x", **fields)
    assert reason == 'cannot execute "ffmpegg": No such file or directory'
    reason = await runs.failure_of("/nope/ffmpegg", **fields)
    assert reason == 'cannot execute "/nope/ffmpegg": No such file or directory'


@PREFIXED
@ensure_deferred
async def test_a_file_without_permission_to_execute(runs, script, fields):
    reason = await runs.failure_of(str(script), **fields)
    assert reason == f'cannot execute "{script}": Permission denied'
    assert await runs.failure_of("/", **fields) == 'cannot execute "/": Permission denied'


@PREFIXED
@ensure_deferred
async def test_a_missing_working_directory(runs, script, fields):
    reason = await runs.failure_of("true", cwd="/nope", **fields)
    assert reason == 'cannot execute "true": working directory "/nope": No such file or directory'
    reason = await runs.failure_of("./true", cwd=str(script), **fields)
    assert reason == f'cannot execute "./true": working directory "{script}": Not a directory'


@ensure_deferred
async def test_a_script_without_an_interpreter(runs, script):
    script.chmod(0o755)
    reason = await runs.failure_of(str(script))
    assert reason == f'cannot execute "{script}": Exec format error'


@ensure_deferred
async def test_what_a_child_begins_with(runs, tmp_path):
    """A session of its own, nothing to read, its working directory, no signal blocked or ignored."""
    script = "cat; pwd; grep -E 'Sig(Blk|Ign)' /proc/self/status; ps -o sid= -p $$"
    _, recorder = runs.start("sh", "-c", script, cwd=str(tmp_path))
    await recorder.seen("gone")
    folder, blocked, ignored, session = recorder.data().decode().split("\n")[:4]
    assert folder == str(tmp_path)
    assert int(blocked.split()[1], 16) == 0
    # Those of the C library itself, 32 and 33, are none that anybody sends.
    assert int(ignored.split()[1], 16) & 0x7FFFFFFF == 0
    assert int(session) == recorder.pid


@ensure_deferred
async def test_unknown_users_and_groups(runs):
    reason = await runs.failure_of("true", user="no-such-user")
    assert reason == 'cannot execute "true": unknown user "no-such-user"'
    reason = await runs.failure_of("true", user=4_000_000)
    assert reason == 'cannot execute "true": unknown user "4000000"'
    reason = await runs.failure_of("true", group="no-such-group")
    assert reason == 'cannot execute "true": unknown group "no-such-group"'


@ensure_deferred
async def test_arguments_that_no_program_can_take(runs):
    assert await runs.failure_of("true", "a\0b") == 'cannot execute "true": embedded null byte'
    reason = await runs.failure_of("true", env={"A=B": "C"})
    assert reason == 'cannot execute "true": illegal environment variable name'
    reason = await runs.failure_of("true", "x" * 3_000_000)
    assert reason == 'cannot execute "true": Argument list too long'
    assert (await runs.failure_of()).startswith('cannot execute "": ')


@ensure_deferred
async def test_running_out_of_descriptors(runs):
    await runs.output_of("true")  # the thread is up and has opened what it needs
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = first_free()
    try:
        # One descriptor more each time: out of pipes, of Popen's own, of the pidfd; then enough.
        for spare in range(12):
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest + spare, limits[1]))
            _, recorder = runs.start("sleep", "1000")
            await recorder.until(lambda events=recorder.events: bool(events))
            if recorder.names == ["spawned"]:
                break
            assert recorder.failure == 'cannot execute "sleep": Too many open files'
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert spare > 4
    assert zombies() == []
    os.kill(recorder.pid, signal.SIGKILL)
    await recorder.seen("gone")


def first_free() -> int:
    """Return the lowest descriptor that is not in use."""
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    return descriptor


@ensure_deferred
async def test_a_program_is_looked_up_in_the_path_of_the_child(runs, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    assert await runs.output_of("program", env={"PATH": f"{tmp_path}:{PATH}"}) == b"found\n"
    assert await runs.output_of("./program", cwd=str(tmp_path), nice=1) == b"found\n"
    reason = await runs.failure_of("program")
    assert reason == 'cannot execute "program": No such file or directory'


@ensure_deferred
async def test_the_children_get_the_old_limit_on_descriptors():
    runs = Runs(ProcessSpawner(reactor, descriptor_limit=777))
    for _ in range(20):
        assert await runs.output_of("sh", "-c", "ulimit -Sn") == b"777\n"
    assert await runs.output_of("sh", "-c", "ulimit -Sn", rlimits={"nofile": (99, 99)}) == b"99\n"
    # Late, and not before the program asks, once the daemon holds many descriptors.
    null = [os.open(os.devnull, os.O_RDONLY) for _ in range(400)]
    try:
        late = "until [ $(ulimit -Sn) = 777 ]; do :; done; echo late"
        assert await runs.output_of("sh", "-c", late) == b"late\n"
    finally:
        for descriptor in null:
            os.close(descriptor)
    await runs.end()


@ensure_deferred
async def test_children_started_together_get_the_old_limit_and_we_keep_ours():
    """The limit is lowered for the whole process, so whoever starts last has to put it back."""
    own = resource.getrlimit(resource.RLIMIT_NOFILE)
    runs = Runs(ProcessSpawner(reactor, descriptor_limit=777))
    recorders = [runs.start("sh", "-c", "ulimit -Sn")[1] for _ in range(100)]
    for recorder in recorders:
        await recorder.seen("gone")
    assert {recorder.data() for recorder in recorders} == {b"777\n"}
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == own
    await runs.end()


def test_a_spawner_that_was_never_used_closes():
    spawner = ProcessSpawner(reactor)
    spawner.close()
    with pytest.raises(RuntimeError):
        spawner.spawn(ProcessSpec(argv=("true",), env={}), print, print)


def test_a_thread_apart_has_few_descriptors_whatever_the_process_has():
    before = open_descriptors()
    null = [os.open(os.devnull, os.O_RDONLY) for _ in range(100)]
    apart = ThreadApart("apart")
    threads = {thread.name: thread for thread in threading.enumerate()}
    try:
        read_end, write_end = os.pipe()
        assert apart.call(lambda _: len(os.listdir("/proc/thread-self/fd")), []) < 10
        assert apart.call(lambda received: os.write(received[0], b"hello"), [write_end]) == 5
        assert os.read(read_end, 100) == b"hello"
        with pytest.raises(ZeroDivisionError):
            apart.call(lambda _: 1 // 0, [])
        os.close(write_end)
        assert os.read(read_end, 100) == b"", "the copy that was given has stayed open"
        os.close(read_end)
    finally:
        apart.close()
        for descriptor in null:
            os.close(descriptor)
    threads["apart"].join(10)
    assert not threads["apart"].is_alive()
    assert open_descriptors() == before


def test_without_such_threads_the_others_do_the_work(monkeypatch):
    before = open_descriptors()
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    assert thread_apart("apart") is None
    assert open_descriptors() == before
