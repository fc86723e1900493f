"""Starting child processes, in threads of their own, and reaping them.

An exec can be slow, so threads start all processes, and nobody's output waits. They are few: what is asked for
beyond that waits here, without descriptors.

Where nothing special is asked for, ``posix_spawn.py`` does the work, in threads that have few descriptors for a
child to copy (``apart.py``). ``subprocess.Popen`` does what it can't: setuid, a terminal, and the error of a
failed exec. It stops everybody for a moment, as CPython holds its lock from vfork(2) until the kernel has
opened the program. Its threads have the descriptors of the process, as the C library may keep one open when it
looks up a user. Its objects are kept until the child is reaped, and none of their methods is ever called: Popen
would wait for the child on its own, and a dropped object is reaped by the next ``Popen()``.
"""

import contextlib
import os
import resource
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import FrameType

import attrs
from twisted.internet.interfaces import IReactorFDSet, IReactorFromThreads, IReactorTime

from overseer.core.process import ProcessSpec
from overseer.process import posix_spawn
from overseer.process.apart import Threads
from overseer.process.cgroup import ControlGroup, ControlGroups
from overseer.process.command import Command, command_for, failure_reason, identity_of
from overseer.process.escaped import Orphans
from overseer.process.streams import Streams, open_streams, take_terminal

CLOSE_TIMEOUT = 1.0
"""How long :meth:`ProcessSpawner.close` waits for slow execs, in seconds."""
THREADS = 2
"""How many execs of each kind may be under way."""
AT_ONCE = 4
"""How many starts have their pipes: those that a thread works on, and its next one."""

_HANDED_DOWN = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
"""What a shell has its background jobs ignore, and nohup(1) what it runs: and so would their children."""


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


@attrs.frozen
class _Start:
    """A process that is asked for."""

    spec: ProcessSpec
    spawned: Spawned
    failed: Failed


@attrs.frozen
class _Started:
    """A process that was started."""

    pid: int
    control_group: ControlGroup | None


_Result = _Started | str | None
"""What comes of a start in a thread: the process, why there is none, or that it takes ``subprocess``."""


class _Stopped(RuntimeError):
    """Nothing more is started."""

    def __str__(self) -> str:
        return "the overseer has stopped"


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
        self._waiting: deque[_Start] = deque()
        self._under_way = 0
        # Started by the first spawn: a thread does not survive the fork of a daemon going to
        # background.
        self._threads: dict[bool, Threads[_Result]] = {}
        self._closed = False
        self._spawning: set[int] = set()  # the threads that do
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
        self._waiting.append(_Start(spec, spawned, failed))
        self._begin()

    def close(self) -> None:
        """Start nothing more: what no thread works on yet fails. Running children are not touched."""
        self._closed = True
        self.orphans.close()
        for start in self._waiting:
            self._fail_soon(start, _Stopped())
        self._waiting.clear()
        for threads in self._threads.values():
            threads.close(CLOSE_TIMEOUT)

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

    def _begin(self) -> None:
        while self._waiting and self._under_way < AT_ONCE:
            start = self._waiting.popleft()
            try:
                streams = open_streams(start.spec)
            except OSError as error:
                self._fail_soon(start, error)
                continue
            try:
                self._hand_over(start, streams, plain=_is_plain(start.spec))
            except (OSError, RuntimeError) as error:
                streams.close_child_side()
                streams.close_own_side()
                self._fail_soon(start, error)
                continue
            self._under_way += 1

    def _fail_soon(self, start: _Start, error: Exception) -> None:
        self.reactor.callLater(0, start.failed, failure_reason(start.spec, error))

    def _hand_over(self, start: _Start, streams: Streams, *, plain: bool) -> None:
        work = self._start_plain if plain else self._start_by_subprocess
        self._threads_for(plain).do(
            partial(work, start.spec, streams),
            streams.child_side,
            partial(self._ended, start, streams, plain),
        )

    def _threads_for(self, plain: bool) -> Threads[_Result]:
        if plain not in self._threads:
            _ignore_by_handlers()
            name = "overseer-spawn" if plain else "overseer-popen"
            self._threads[plain] = Threads(self.reactor, THREADS, name, apart=plain)
        return self._threads[plain]

    def _ended(self, start: _Start, streams: Streams, plain: bool, result: _Result) -> None:
        if result is None:
            try:
                if self._closed:
                    raise _Stopped
                self._hand_over(start, streams, plain=False)
                return
            except (OSError, RuntimeError) as error:
                result = failure_reason(start.spec, error)
        self._under_way -= 1
        streams.close_child_side()
        if isinstance(result, str):
            streams.close_own_side()
            self._begin()
            start.failed(result)
            return
        # First: there is room for it just now, as the child's side was closed.
        pidfd = self._open_pidfd(result.pid)
        self._begin()
        start.spawned(
            Child(
                result.pid,
                streams.stdin,
                streams.stdout,
                streams.stderr,
                pidfd,
                result.control_group,
            )
        )

    def _open_pidfd(self, pid: int) -> int | None:
        if not self._use_pidfd:
            return None
        try:
            return os.pidfd_open(pid)
        except OSError:
            return None  # somebody else was quicker: a thread can watch it as well

    # What follows runs in the threads.

    def _start_plain(
        self, spec: ProcessSpec, streams: Streams, descriptors: Sequence[int]
    ) -> _Result:
        def execute(command: Command) -> int | None:
            pid = posix_spawn.spawn(command.argv, spec.env, spec.cwd, descriptors)
            if pid is not None:
                self._unreaped[pid] = None
            return pid

        return self._start(spec, streams.highest, execute)

    def _start_by_subprocess(
        self, spec: ProcessSpec, streams: Streams, descriptors: Sequence[int]
    ) -> _Result:
        def execute(command: Command) -> int:
            if spec.pty and (user := identity_of(spec).user) is not None:
                os.fchown(streams.child_stdin, user, -1)  # or it could not open it by its name
            process = _popen(spec, command, streams)
            self._unreaped[process.pid] = process
            return process.pid

        return self._start(spec, streams.highest, execute)

    def _start(
        self, spec: ProcessSpec, highest: int, execute: Callable[[Command], int | None]
    ) -> _Result:
        self._spawning.add(threading.get_ident())
        group, reason = None, None
        try:
            group = self._new_control_group() if spec.cgroup else None
            command = command_for(spec, None if group is None else group.entrance)
            with self._limited_descriptors(highest):
                pid = execute(command)
        except Exception as error:
            pid, reason = None, failure_reason(spec, error)
        finally:
            self._spawning.discard(threading.get_ident())
        if pid is None:
            if group is not None:
                group.remove()
            return reason
        if "nofile" not in spec.rlimits:
            self._limit_descriptors_of(pid)
        return _Started(pid, group)

    def _new_control_group(self) -> ControlGroup | None:
        if self._control_groups is None:
            return None
        try:
            return self._control_groups.new()
        except OSError:
            return None  # as was said at start-up

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
        # ESRCH: already gone. EPERM: a set-user-ID program, which is not ours to limit. A ValueError:
        # its hard limit is lower by now.
        with contextlib.suppress(OSError, ValueError):
            soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
            if soft != self._descriptor_limit:
                resource.prlimit(pid, resource.RLIMIT_NOFILE, (self._descriptor_limit, hard))


def _ignore_by_handlers() -> None:
    """Do nothing about signals that this process ignores: an exec sets back what is handled, signal(7)."""
    if threading.current_thread() is threading.main_thread():
        for number in _HANDED_DOWN:
            if signal.getsignal(number) == signal.SIG_IGN:
                signal.signal(number, _do_nothing)


def _do_nothing(_number: int, _frame: FrameType | None) -> None:
    pass


def _is_plain(spec: ProcessSpec) -> bool:
    special = spec.pty or (spec.user, spec.group, spec.umask) != (None, None, None)
    return not special and posix_spawn.is_available()


def _popen(spec: ProcessSpec, command: Command, streams: Streams) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
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
