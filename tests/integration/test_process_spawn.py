"""What a spawn that fails says, and the spawner's own life."""

import ctypes
import errno
import itertools
import os
import resource
import signal
import threading

import pytest
import pytest_twisted
from process_support import PATH, PATIENCE, Runs, eventually, open_descriptors, zombies
from twisted.internet import reactor
from twisted.internet.defer import Deferred

from overseer.core.process import ProcessSpec
from overseer.process import ProcessSpawner, apart, posix_spawn
from overseer.process.apart import Threads

ensure_deferred = pytest_twisted.ensureDeferred

ENDS = (["gone"], ["spawn_failed"])


@pytest.fixture(params=["posix_spawn", "not apart", "subprocess"])
def way(request, monkeypatch):
    """Plain cases are started by the C library where it can, and by subprocess elsewhere: all the same."""
    if request.param == "subprocess":
        monkeypatch.setattr(posix_spawn, "_library", lambda: None)
    if request.param == "not apart":
        monkeypatch.setattr(apart, "_own_descriptors", lambda kept: False)


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


@pytest.fixture
def background():
    """Ignore what whoever is started in the background by a shell, or by nohup(1), ignores."""
    numbers = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
    before = {number: signal.signal(number, signal.SIG_IGN) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@ensure_deferred
async def test_what_a_child_begins_with(background, runs, tmp_path):
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
    try:
        # One descriptor more each time: out of pipes, of Popen's own; then enough.
        for spare in range(12):
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit_with(spare), limits[1]))
            _, recorder = runs.start("sleep", "1000")
            await recorder.until(lambda events=recorder.events: bool(events))
            if recorder.names == ["spawned"]:
                break
            assert recorder.failure == 'cannot execute "sleep": Too many open files'
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert spare >= 4
    assert zombies() == []
    os.kill(recorder.pid, signal.SIGKILL)
    await recorder.seen("gone")


@ensure_deferred
async def test_a_child_without_a_descriptor_left_to_watch_it_by_runs_all_the_same(
    runs, monkeypatch
):
    def refuse(_pid):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert await runs.output_of("echo", "hello") == b"hello\n"
    assert zombies() == []


def limit_with(spare: int) -> int:
    """Return the limit that lets so many more descriptors be opened."""
    free = (number for number in itertools.count() if not os.path.exists(f"/proc/self/fd/{number}"))
    return next(itertools.islice(free, spare, None))


@ensure_deferred
async def test_a_program_is_looked_up_in_the_path_of_the_child(runs, tmp_path):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    assert await runs.output_of("program", env={"PATH": f"{tmp_path}:{PATH}"}) == b"found\n"
    assert await runs.output_of("./program", cwd=str(tmp_path), nice=1) == b"found\n"
    assert (
        await runs.output_of("program", env={"PATH": f"/nope::{PATH}"}, cwd=str(tmp_path))
        == b"found\n"
    )
    reason = await runs.failure_of("program")
    assert reason == 'cannot execute "program": No such file or directory'


@ensure_deferred
async def test_a_program_is_looked_up_in_our_path_when_the_child_has_the_same(
    runs, tmp_path, monkeypatch
):
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{PATH}")
    assert await runs.output_of("program", env=dict(os.environ)) == b"found\n"
    reason = await runs.failure_of("program", env={"PATH": PATH})
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


@ensure_deferred
async def test_a_child_that_was_quicker_to_limit_itself_stays_as_it_is(monkeypatch):
    def refuse(*_):
        raise ValueError("current limit exceeds maximum limit")

    monkeypatch.setattr(resource, "prlimit", refuse)
    runs = Runs(ProcessSpawner(reactor, descriptor_limit=777))
    for _ in range(3):
        assert await runs.output_of("echo", "hello") == b"hello\n"
    await runs.end()


def test_a_spawner_that_was_never_used_closes():
    spawner = ProcessSpawner(reactor)
    spawner.close()
    with pytest.raises(RuntimeError):
        spawner.spawn(ProcessSpec(argv=("true",), env={}), print, print)


@ensure_deferred
async def test_what_still_waits_when_the_spawner_is_closed_fails():
    runs = Runs(ProcessSpawner(reactor))
    recorders = [runs.start("true")[1] for _ in range(10)]
    runs.spawner.close()
    for recorder in recorders:
        await recorder.until(lambda one=recorder: one.names[-1:] in ENDS)
    failures = [one.failure for one in recorders if "spawn_failed" in one.names]
    assert set(failures) == {'cannot execute "true": the overseer has stopped'}
    assert {one.outcome.exit_code for one in recorders if "spawned" in one.names} <= {0}
    assert zombies() == []


@ensure_deferred
async def test_threads_apart_have_few_descriptors_whatever_the_process_has():
    before = open_descriptors()
    null = [os.open(os.devnull, os.O_RDONLY) for _ in range(100)]
    threads = Threads(reactor, 2, "apart", apart=True)
    names = [thread for thread in threading.enumerate() if thread.name.startswith("apart-")]
    try:
        read_end, write_end = os.pipe()
        assert await result_of(threads, lambda _: len(os.listdir("/proc/thread-self/fd"))) < 10
        assert await result_of(threads, lambda got: os.write(got[0], b"hello"), [write_end]) == 5
        assert os.read(read_end, 100) == b"hello"
        os.close(write_end)
        assert os.read(read_end, 100) == b"", "the copy that was given has stayed open"
        os.close(read_end)
    finally:
        threads.close(10)
        for descriptor in null:
            os.close(descriptor)
    assert not any(thread.is_alive() for thread in names)
    assert open_descriptors() == before


@pytest.mark.parametrize("with_library", [True, False])
@ensure_deferred
async def test_threads_without_descriptors_of_their_own_do_as_well(monkeypatch, with_library):
    before = open_descriptors()
    if not with_library:
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    threads = Threads(reactor, 2, "together", apart=not with_library)
    read_end, write_end = os.pipe()
    assert await result_of(threads, lambda got: os.write(got[0], b"hello"), [write_end]) == 5
    assert os.read(read_end, 100) == b"hello"
    os.close(write_end)
    assert os.read(read_end, 100) == b""
    os.close(read_end)
    threads.close(10)
    assert open_descriptors() == before


@ensure_deferred
async def test_a_result_that_nobody_can_take_holds_up_no_other():
    threads = Threads(reactor, 1, "apart", apart=True)
    threads.do(lambda _: 0, [], lambda zero: 1 // zero)
    assert await result_of(threads, lambda _: 1) == 1
    threads.close(10)


@ensure_deferred
async def test_work_that_outlasts_the_end_is_told_later():
    before = open_descriptors()
    threads = Threads(reactor, 1, "apart", apart=True)
    go_on, told = threading.Event(), Deferred()
    threads.do(lambda _: go_on.wait(60), [], told.callback)
    threads.close(0.01)
    assert not told.called
    go_on.set()
    assert await told
    await eventually(lambda: open_descriptors() == before)


def result_of(threads, work, descriptors=()):
    """Return a Deferred with what ``work`` returns."""
    told = Deferred()
    told.addTimeout(PATIENCE, reactor)
    threads.do(work, descriptors, told.callback)
    return told
