"""Starting child processes, in threads of their own, and reaping them.

An exec can be slow, so threads start all processes, and nobody's output waits. Beside thousands of open
descriptors, which an exec closes one by one, those threads leave it to others that have few: ``apart.py``.

Where nothing special is asked for, ``posix_spawn.py`` does the work, and else ``subprocess.Popen``: vfork,
setsid, chdir, setuid, and the error of a failed exec. That one stops everybody for a moment, as CPython holds
its lock from vfork(2) until the kernel has opened the program. Its objects are kept until the child is reaped,
and none of their methods is ever called: Popen would wait for the child on its own, and a dropped object is
reaped by the next ``Popen()``.
"""

import contextlib
import os
import queue
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import attrs
from twisted.internet.interfaces import IReactorFDSet, IReactorFromThreads, IReactorTime

from overseer.core.process import ProcessSpec
from overseer.process import posix_spawn
from overseer.process.apart import ThreadApart, thread_apart
from overseer.process.cgroup import ControlGroup, ControlGroups
from overseer.process.command import Command, Identity, command_for, failure_reason
from overseer.process.escaped import Orphans
from overseer.process.streams import Streams, open_streams, take_terminal

CLOSE_TIMEOUT = 1.0
"""How long :meth:`ProcessSpawner.close` waits for slow execs, in seconds."""
THREADS = 2
"""How many execs may be under way."""
MANY_DESCRIPTORS = 1_000
"""So many are worth two more threads, each with few of its own: below, changing between threads costs more."""


class IProcessReactor(IReactorFDSet, IReactorFromThreads, IReactorTime):
    """The abilities of a reactor that processes need."""


@attrs.frozen
class Child:
    """A process that was started: its pid, and descriptors that now belong to the receiver.

    ``stdin`` is the write end, ``stdout`` and ``stderr`` are the read ends, non-blocking; of a terminal
    the first two are its one end. What there is none of is ``None``, ``control_group`` too.
    """

    pid: int
    stdin: int | None
    stdout: int
    stderr: int | None
    pidfd: int | None
    control_group: ControlGroup | None = None


Spawned = Callable[[Child], None]
Failed = Callable[[str], None]


class ProcessSpawner:
    """I start processes, :data:`THREADS` at a time, and know those that are not reaped yet.

    ``descriptor_limit`` is the soft ``RLIMIT_NOFILE`` of the children, for a daemon that raised its
    own. ``use_pidfd=False`` does without pidfd_open(2), as on systems that don't have it. ``orphans`` are
    those that this process has adopted.
    """

    def __init__(
        self,
        reactor: IProcessReactor,
        *,
        descriptor_limit: int | None = None,
        use_pidfd: bool = hasattr(os, "pidfd_open"),
        control_groups: ControlGroups | None = None,
    ) -> None:
        self.reactor = reactor
        self.orphans = Orphans()
        self._control_groups = control_groups
        self._descriptor_limit = descriptor_limit
        self._use_pidfd = use_pidfd
        self._requests: queue.SimpleQueue[tuple[ProcessSpec, Spawned, Failed] | None] = (
            queue.SimpleQueue()
        )
        # Started by the first spawn: a thread does not survive the fork of a daemon going to
        # background.
        self._threads: list[threading.Thread] = []
        self._closed = False
        self._spawning: set[int] = set()  # the threads that do
        self._of_thread = threading.local()
        self._limiting = threading.Lock()
        self._limited = 0
        self._own_limits = (0, 0)
        self._unreaped: dict[int, subprocess.Popen[bytes] | None] = {}

    def spawn(self, spec: ProcessSpec, spawned: Spawned, failed: Failed) -> None:
        """Start a process. One of the callbacks follows in the reactor, not from inside this call.

        ``failed`` takes a line like ``cannot execute "ffmpegg": No such file or directory``.

        :raises RuntimeError: after :meth:`close`.
        """
        if self._closed:
            raise RuntimeError("the spawner is closed")
        if not self._threads:
            for number in range(THREADS):
                thread = threading.Thread(
                    target=self._run, name=f"overseer-spawn-{number}", daemon=True
                )
                self._threads.append(thread)
                thread.start()
        self._requests.put((spec, spawned, failed))

    def close(self) -> None:
        """Start nothing more than what was asked for already. Running children are not touched."""
        self._closed = True
        self.orphans.close()
        end = time.monotonic() + CLOSE_TIMEOUT
        for _ in self._threads:
            self._requests.put(None)
        for thread in self._threads:
            thread.join(max(end - time.monotonic(), 0.0))

    def owns(self, pid: int) -> bool:
        """Return whether the child ``pid`` is, or may be, one that :meth:`reap` waits for."""
        # In this order: a child is listed before its spawn is over.
        return bool(self._spawning) or pid in self._unreaped

    def reap(self, pid: int) -> int:
        """Wait for ``pid`` and return its status as of waitpid(2). Blocks unless it has ended.

        :raises ChildProcessError: when somebody else has reaped it.
        """
        process = self._unreaped[pid]
        try:
            return os.waitpid(pid, 0)[1]
        finally:
            if process is not None:
                process.returncode = 0  # it is not to wait for the child when it is dropped
            del self._unreaped[pid]

    # What follows runs in the threads.

    def _run(self) -> None:
        # A child inherits the mask of the thread that starts it.
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        while (request := self._requests.get()) is not None:
            self._serve(*request)
            del request  # or an idle thread would keep the last one's worker
        apart: ThreadApart | None = getattr(self._of_thread, "apart", None)
        if apart is not None:
            apart.close()

    def _serve(self, spec: ProcessSpec, spawned: Spawned, failed: Failed) -> None:
        self._spawning.add(threading.get_ident())
        try:
            child = self._start(spec)
        except Exception as error:
            self.reactor.callFromThread(failed, failure_reason(spec, error))
        else:
            self.reactor.callFromThread(spawned, child)
        finally:
            self._spawning.discard(threading.get_ident())

    def _start(self, spec: ProcessSpec) -> Child:
        with contextlib.ExitStack() as on_error:
            group = self._new_control_group(on_error) if spec.cgroup else None
            command = command_for(spec, None if group is None else group.entrance)
            streams = open_streams(spec, on_error)
            with self._limited_descriptors(streams.highest):
                pid = self._execute(spec, command, streams)
            pidfd = self._open_pidfd(pid) if self._use_pidfd else None
            on_error.pop_all()
        streams.close_child_side()
        if "nofile" not in spec.rlimits:
            self._limit_descriptors_of(pid)
        return Child(pid, streams.stdin, streams.stdout, streams.stderr, pidfd, group)

    def _new_control_group(self, on_error: contextlib.ExitStack) -> ControlGroup | None:
        if self._control_groups is None:
            return None
        try:
            group = self._control_groups.new()
        except OSError:
            return None  # as was said at start-up
        on_error.callback(group.remove)
        return group

    def _execute(self, spec: ProcessSpec, command: Command, streams: Streams) -> int:
        if command.identity == Identity() and spec.umask is None and not spec.pty:
            descriptors = (streams.child_stdin, streams.child_stdout, streams.child_stderr)
            pid = posix_spawn.spawn(
                command.argv, spec.env, spec.cwd, descriptors, self._apart(streams.highest)
            )
            if pid is not None:
                self._unreaped[pid] = None
                return pid
        process = subprocess.Popen(
            command.argv,
            bufsize=0,
            stdin=streams.child_stdin,
            stdout=streams.child_stdout,
            stderr=streams.child_stderr,
            # All are close-on-exec: see seal_inherited_descriptors.
            close_fds=False,
            cwd=spec.cwd,
            env=spec.env,
            user=command.identity.user,
            group=command.identity.group,
            extra_groups=command.identity.extra_groups,
            umask=-1 if spec.umask is None else spec.umask,
            # Sets SIGPIPE and SIGXFSZ, which Python ignores, back to their defaults. Handled
            # signals become so at the exec.
            restore_signals=True,
            start_new_session=True,
            # Rules out vfork, which is why only those with a terminal have it. It runs last, in a
            # child with one thread and no lock to wait for.
            preexec_fn=take_terminal if spec.pty else None,  # noqa: PLW1509
        )
        self._unreaped[process.pid] = process
        return process.pid

    def _apart(self, highest: int) -> ThreadApart | None:
        """Return what to start from when ``highest``, the newest descriptor, is one of many."""
        if highest < MANY_DESCRIPTORS:
            return None
        if not hasattr(self._of_thread, "apart"):
            self._of_thread.apart = thread_apart(f"{threading.current_thread().name}-apart")
        apart: ThreadApart | None = self._of_thread.apart
        return apart

    def _open_pidfd(self, pid: int) -> int:
        try:
            return os.pidfd_open(pid)
        except OSError:
            # Out of descriptors, most likely. A process whose end we can't see must not run.
            os.killpg(pid, signal.SIGKILL)
            self.reap(pid)
            raise

    @contextlib.contextmanager
    def _limited_descriptors(self, highest: int) -> Iterator[None]:
        """Hold this process to the limit of the children, so that the next one is born with it.

        The limit is the whole process's. So only while fewer than half of its descriptors are in
        use, ``highest`` being the newest one: the other threads have room for as many again.
        """
        limit = self._descriptor_limit
        if limit is None or highest >= limit // 2:
            yield
            return
        with self._limiting:
            if not self._limited:
                self._own_limits = resource.getrlimit(resource.RLIMIT_NOFILE)
                resource.setrlimit(resource.RLIMIT_NOFILE, (limit, self._own_limits[1]))
            self._limited += 1
        try:
            yield
        finally:
            with self._limiting:
                self._limited -= 1
                if not self._limited:
                    resource.setrlimit(resource.RLIMIT_NOFILE, self._own_limits)

    def _limit_descriptors_of(self, pid: int) -> None:
        """Give a child the limit that it was not born with, as soon as can be.

        Its program may see the daemon's limit if it asks first: some milliseconds, when the
        reactor is busy. Good enough for a daemon of many descriptors: prlimit(1) as a prefix
        would never be late, but costs each spawn a second exec and the exact error of the first.
        """
        if self._descriptor_limit is None or not hasattr(resource, "prlimit"):  # Linux only
            return
        # ESRCH: already gone. EPERM: a set-user-ID program, which is not ours to limit.
        with contextlib.suppress(OSError):
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            if soft != self._descriptor_limit:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (self._descriptor_limit, hard))
