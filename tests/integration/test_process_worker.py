"""One suite over both ways to notice an exit: the events of a run, its output, its signals."""

import gc
import grp
import os
import signal
import sys
import weakref

import pytest
import pytest_twisted
from process_support import PATH, Recorder, Runs, eventually, is_alive, open_descriptors, zombies
from twisted.internet import reactor

from overseer.core.process import Outcome, ProcessSpec
from overseer.process import ProcessSpawner, ProcessWorker, seal_inherited_descriptors

ensure_deferred = pytest_twisted.ensureDeferred


@pytest_twisted.async_yield_fixture(params=["pidfd", "thread"])
async def runs(request):
    calls, readers, descriptors = (
        reactor.getDelayedCalls(),
        reactor.getReaders(),
        open_descriptors(),
    )
    runs = Runs(ProcessSpawner(reactor, use_pidfd=request.param == "pidfd"))
    yield runs
    await runs.end()
    assert [call for call in reactor.getDelayedCalls() if call not in calls] == []
    assert [reader for reader in reactor.getReaders() if reader not in readers] == []
    assert open_descriptors() == descriptors
    assert zombies() == []


# Events


@ensure_deferred
async def test_a_run_reports_its_events_in_order(runs):
    worker, recorder = runs.worker("/bin/sh", "-c", "echo out; echo err >&2")
    worker.start()
    assert recorder.events == []
    await recorder.seen("gone")
    assert recorder.names[0] == "spawned"
    assert [name for name in recorder.names if name in ("exited", "drained", "gone")] == [
        "exited",
        "drained",
        "gone",
    ]
    assert recorder.names[-2:] == ["drained", "gone"]
    assert sorted(event[1] for event in recorder.events if event[0] == "closed") == [
        "stderr",
        "stdout",
    ]
    assert (recorder.data("stdout"), recorder.data("stderr")) == (b"out\n", b"err\n")


@ensure_deferred
async def test_output_follows_spawned_and_precedes_drained(runs):
    _, recorder = runs.shell("echo a; sleep 0.05; echo b")
    await recorder.seen("gone")
    positions = [index for index, name in enumerate(recorder.names) if name == "output"]
    assert positions[0] > recorder.names.index("spawned")
    assert positions[-1] < recorder.names.index("drained")


@pytest.mark.parametrize(
    ("script", "outcome"),
    [
        ("exit 0", Outcome(0)),
        ("exit 3", Outcome(3)),
        ("exit 255", Outcome(255)),
        ("kill -KILL $$", Outcome(-1, "SIGKILL")),
        ("ulimit -c 0; kill -SEGV $$", Outcome(-1, "SIGSEGV")),
    ],
)
@ensure_deferred
async def test_exit_codes_and_signals(runs, script, outcome):
    _, recorder = runs.shell(script)
    await recorder.seen("gone")
    assert recorder.outcome == outcome


@ensure_deferred
async def test_a_child_that_closes_its_output_early_is_drained_only_after_its_exit(runs):
    _, recorder = runs.shell("exec >&- 2>&-; sleep 0.05")
    await recorder.seen("gone")
    assert recorder.names == ["spawned", "closed", "closed", "exited", "drained", "gone"]


@ensure_deferred
async def test_300_quick_children_at_once_lose_no_event(runs):
    recorders = [runs.shell(f"echo {number}; exit {number % 7}")[1] for number in range(300)]
    for number, recorder in enumerate(recorders):
        await recorder.seen("gone")
        assert recorder.data() == b"%d\n" % number
        assert recorder.outcome == Outcome(number % 7)
        assert recorder.names.count("closed") == 2


@ensure_deferred
async def test_a_worker_that_is_gone_is_freed_without_a_collection_of_garbage():
    """Which would stop the reactor, after a storm of runs for long."""
    spawner, freed = ProcessSpawner(reactor), []
    gc.disable()
    try:
        for _ in range(2):
            recorder = Recorder()
            worker = ProcessWorker(spawner, ProcessSpec(argv=("true",), env={}), recorder, reactor)
            freed.append(weakref.ref(worker))
            worker.start()
            del worker
            await recorder.seen("gone")
        await eventually(lambda: [one() for one in freed] == [None, None])
    finally:
        gc.enable()
        spawner.close()


# Output


@ensure_deferred
async def test_20_megabytes_without_a_newline(runs):
    _, recorder = runs.start("head", "-c", "20000000", "/dev/zero")
    await recorder.seen("gone")
    assert len(recorder.data()) == 20_000_000
    assert max(len(event[2]) for event in recorder.events if event[0] == "output") <= 65536


@ensure_deferred
async def test_nothing_is_read_while_output_is_paused(runs, tmp_path):
    written = tmp_path / "written"
    worker, recorder = runs.worker("/bin/sh", "-c", f"echo text; echo > {written}; sleep 1000")
    worker.pause_output()
    worker.start()
    await eventually(written.exists)
    assert recorder.data() == b""
    worker.resume_output()
    await recorder.printed(b"text\n")
    worker.pause_output()
    worker.kill()
    await recorder.seen("gone")


@ensure_deferred
async def test_a_paused_child_waits_until_it_is_read(runs):
    worker, recorder = runs.start("head", "-c", "1000000", "/dev/zero")
    await recorder.until(lambda: len(recorder.data()) > 0)
    worker.pause_output()
    worker.pause_output()
    assert len(recorder.data()) < 1_000_000
    worker.resume_output()
    await recorder.seen("gone")
    assert len(recorder.data()) == 1_000_000


@ensure_deferred
async def test_a_child_that_exits_while_paused_loses_nothing(runs):
    worker, recorder = runs.worker("head", "-c", "60000", "/dev/zero")
    worker.pause_output()
    worker.start()
    await recorder.seen("gone")
    assert recorder.order == ["spawned", "exited", "output", "drained", "gone"]
    assert len(recorder.data()) == 60_000


@ensure_deferred
async def test_a_pause_after_the_exit_has_no_effect(runs):
    worker, recorder = runs.shell("(echo late; sleep 0.1; echo later) & exit 0")
    await recorder.seen("exited")
    worker.pause_output()
    await recorder.seen("gone")


@ensure_deferred
async def test_close_output_ends_the_wait_for_an_escaped_holder_of_the_pipes(runs):
    worker, recorder = runs.shell("(setsid sh -c 'echo $$; exec sleep 1000' &); exec sleep 1000")
    await recorder.printed(b"\n")
    worker.terminate(10)
    await recorder.seen("exited")
    assert recorder.order == ["spawned", "output", "exited"]
    worker.close_output()
    assert "drained" not in recorder.names
    await recorder.seen("gone")
    assert recorder.names[-4:] == ["closed", "closed", "drained", "gone"]
    os.kill(int(recorder.data()), signal.SIGKILL)


@ensure_deferred
async def test_close_output_is_bounded_against_an_endless_writer(runs):
    worker, recorder = runs.shell("(setsid sh -c 'echo $$ >&2; exec yes' &); exec sleep 1000")
    await recorder.printed(b"y\n")
    worker.terminate(10)
    await recorder.seen("exited")
    worker.close_output()
    await recorder.seen("gone")
    # "yes" ends by SIGPIPE.
    await eventually(lambda: not is_alive(int(recorder.data("stderr"))))


# Stopping


@ensure_deferred
async def test_a_child_that_ignores_sigterm_is_killed_after_the_grace(runs):
    worker, recorder = runs.shell("trap '' TERM; echo ready; while :; do sleep 1; done")
    await recorder.printed(b"ready")
    started = reactor.seconds()
    worker.terminate(0.2)
    await recorder.seen("gone")
    assert recorder.outcome == Outcome(-1, "SIGKILL")
    assert reactor.seconds() - started >= 0.2


@ensure_deferred
async def test_the_second_of_two_terminates_changes_nothing(runs):
    worker, recorder = runs.shell("trap 'echo term' TERM; echo ready; while :; do sleep 0.02; done")
    await recorder.printed(b"ready")
    started = reactor.seconds()
    worker.terminate(0.3)
    worker.terminate(0)
    await recorder.printed(b"term")
    worker.terminate(0)
    await recorder.seen("gone")
    assert reactor.seconds() - started >= 0.3
    assert recorder.data().count(b"term") == 1


@ensure_deferred
async def test_terminate_sends_the_stop_signal_of_the_specification(runs):
    worker, recorder = runs.shell(
        "trap 'exit 7' USR1; echo ready; while :; do sleep 0.02; done",
        stop_signal=signal.SIGUSR1,
    )
    await recorder.printed(b"ready")
    worker.terminate(10)
    await recorder.seen("gone")
    assert recorder.outcome == Outcome(7)


@ensure_deferred
async def test_kill_ends_the_whole_group_at_once(runs):
    worker, recorder = runs.shell("trap '' TERM; sleep 1000 & echo $!; wait")
    await recorder.printed(b"\n")
    worker.kill()
    await recorder.seen("gone")
    assert recorder.outcome == Outcome(-1, "SIGKILL")
    assert not is_alive(int(recorder.data()))


@ensure_deferred
async def test_calls_after_the_end_do_nothing(runs):
    worker, recorder = runs.shell("exit 0")
    await recorder.seen("gone")
    events = list(recorder.events)
    worker.terminate(0)
    worker.kill()
    worker.pause_output()
    worker.resume_output()
    worker.close_output()
    await runs.output_of("true")
    assert recorder.events == events


# Leftovers


@ensure_deferred
async def test_what_a_main_process_leaves_behind_gets_sigterm_at_once(runs):
    # Twice forked, and it holds both pipes.
    _, recorder = runs.shell("(sleep 1000 & echo $!); exit 4")
    await recorder.seen("exited")
    started = reactor.seconds()
    await recorder.seen("gone")
    assert recorder.outcome == Outcome(4)
    assert not is_alive(int(recorder.data()))
    assert reactor.seconds() - started < 1


@ensure_deferred
async def test_leftovers_that_ignore_sigterm_are_killed_one_second_later(runs):
    _, recorder = runs.shell("trap '' TERM; sleep 1000 >/dev/null 2>&1 & echo $!")
    await recorder.seen("drained")
    drained = reactor.seconds()
    pid = int(recorder.data())
    assert is_alive(pid)
    await recorder.seen("gone")
    assert 0.9 <= reactor.seconds() - drained < 2
    assert not is_alive(pid)


@ensure_deferred
async def test_leftovers_of_a_stop_keep_the_grace_and_get_no_second_sigterm(runs):
    leftover = "trap 'echo term; sleep 0.3; echo bye; exit' TERM; echo ready; "
    leftover += "while :; do sleep 0.02; done"
    worker, recorder = runs.shell(f'sh -c "{leftover}" & wait')
    await recorder.printed(b"ready")
    worker.terminate(10)
    await recorder.seen("gone")
    assert recorder.outcome == Outcome(-1, "SIGTERM")
    assert recorder.data() == b"ready\nterm\nbye\n"


@ensure_deferred
async def test_leftovers_of_a_stop_are_killed_when_the_grace_is_over(runs):
    worker, recorder = runs.shell(
        "(trap '' TERM; echo $(exec sh -c 'echo $PPID'); sleep 1000) & wait"
    )
    await recorder.printed(b"\n")
    started = reactor.seconds()
    worker.terminate(0.3)
    await recorder.seen("gone")
    assert recorder.outcome == Outcome(-1, "SIGTERM")
    assert 0.3 <= reactor.seconds() - started < 0.9


@ensure_deferred
async def test_a_stop_can_only_shorten_the_time_of_leftovers(runs):
    worker, recorder = runs.shell("trap '' TERM; sleep 1000 >/dev/null 2>&1 & exit 0")
    await recorder.seen("exited")
    exited = reactor.seconds()
    worker.terminate(0.1)
    await recorder.seen("gone")
    assert reactor.seconds() - exited < 0.9


@ensure_deferred
async def test_a_stop_finds_what_left_the_group_below_its_parent(runs):
    # Without a subreaper, as in an application that embeds overseer.
    worker, recorder = runs.shell(
        "setsid sh -c 'trap \"\" TERM; echo $$; exec sleep 1000' & wait; exec sleep 1000"
    )
    await recorder.printed(b"\n")
    worker.terminate(0.1)
    await recorder.seen("gone")
    assert not is_alive(int(recorder.data()))


@ensure_deferred
async def test_a_group_of_zombies_that_nobody_reaps_counts_as_gone(runs):
    # A grandchild leaves the session, is adopted by somebody else, and leaves its own child in the group
    # behind it unreaped.
    script = """if True:
        import os, signal, time
        if os.fork() == 0:
            parent = os.getpid()
            if os.fork() > 0:
                os._exit(0)
            while os.getppid() == parent:
                time.sleep(0.001)
            if os.fork() == 0:
                signal.pause()
            os.setsid()
            print(os.getpid(), flush=True)
            os.close(1), os.close(2)
            time.sleep(1000)
        signal.pause()
    """
    worker, recorder = runs.start(sys.executable, "-c", script)
    await recorder.printed(b"\n")
    started = reactor.seconds()
    worker.terminate(30)
    await recorder.seen("gone")
    assert reactor.seconds() - started < 20
    escaped = int(recorder.data())
    assert is_alive(escaped)
    os.kill(escaped, signal.SIGKILL)


# What a child is born with


@ensure_deferred
async def test_a_broken_pipe_ends_a_child_silently(runs):
    assert await runs.output_of("/bin/sh", "-c", "yes | head -n 1") == b"y\n"


@ensure_deferred
async def test_no_signal_is_blocked_or_ignored(runs):
    ignored = sum(
        1 << (number - 1)
        for number in signal.valid_signals()
        if signal.getsignal(number) == signal.SIG_IGN
        and number not in (signal.SIGPIPE, signal.SIGXFSZ)
    )
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM})
    try:
        status = await runs.output_of("cat", "/proc/self/status")
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
    fields = dict(line.split(b":", 1) for line in status.splitlines())
    assert int(fields[b"SigBlk"], 16) == 0
    # 32 and 33 are the C library's own, which nobody can set.
    settable = sum(1 << (number - 1) for number in signal.valid_signals())
    assert int(fields[b"SigIgn"], 16) & settable == ignored


@ensure_deferred
async def test_a_child_leads_a_session_of_its_own(runs):
    stat = await runs.output_of("cut", "-d", " ", "-f", "1,5,6", "/proc/self/stat")
    pid, group, session = stat.split()
    assert pid == group == session


@ensure_deferred
async def test_a_child_has_no_descriptors_but_the_three(runs):
    seal_inherited_descriptors()  # those of whoever runs the tests
    running, recorder = runs.start("sleep", "1000")
    await recorder.seen("spawned")
    names = (await runs.output_of("ls", "/proc/self/fd")).split()
    assert names == [b"0", b"1", b"2", b"3"]  # 3 is the folder that ls reads
    assert await runs.output_of("readlink", "/proc/self/fd/0") == b"/dev/null\n"
    running.kill()
    await recorder.seen("gone")


@ensure_deferred
async def test_working_directory_environment_and_umask(runs, tmp_path):
    output = await runs.output_of(
        "sh", "-c", "pwd; umask; env", cwd=str(tmp_path), umask=0o027, env={"PATH": PATH, "A": "ä"}
    )
    lines = output.decode().splitlines()
    assert lines[:2] == [str(tmp_path), "0027"]
    assert set(lines[2:]) == {f"PATH={PATH}", "A=ä", f"PWD={tmp_path}"}


@ensure_deferred
async def test_niceness_and_limits(runs):
    output = await runs.output_of(
        "sh",
        "-c",
        "nice; ulimit -Sn; ulimit -Hn; ulimit -Sc; echo $0",
        nice=5,
        rlimits={"nofile": (100, 200), "core": (0, None)},
    )
    assert output.split() == [b"5", b"100", b"200", b"0", b"sh"]


USER_FIELDS = (
    {"user": "nobody"},
    {"user": "nobody", "nice": -5, "rlimits": {"core": (0, 0)}},
    {"user": "nobody", "group": "daemon"},
)


@pytest.mark.parametrize("fields", USER_FIELDS)
@ensure_deferred
async def test_a_user_comes_with_its_groups_only(runs, fields):
    """Or not at all: an ordinary user, who can become nobody else, is told so."""
    if os.geteuid() != 0:
        reason = await runs.failure_of("cat", "/proc/self/status", **fields)
        assert reason == 'cannot execute "cat": user "nobody": Operation not permitted'
        return
    status = await runs.output_of("sh", "-c", "nice; exec cat /proc/self/status", **fields)
    niceness, _, status = status.partition(b"\n")
    assert niceness == b"%d" % fields.get("nice", 0)
    lines = dict(line.split(b":", 1) for line in status.splitlines())
    assert lines[b"Uid"].split() == [b"65534"] * 4
    group = grp.getgrnam(fields["group"]).gr_gid if "group" in fields else 65534
    assert lines[b"Gid"].split() == [b"%d" % group] * 4
    assert lines[b"Groups"].split() == [b"%d" % group]
