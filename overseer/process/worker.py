"""One run of one program: its events in order, from the spawn to the end of the last leftover.

The exit code comes from reaping the main process, never from the pipes: whoever still holds those
delays ``drained``, not ``exited``.
"""

import os
from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from overseer.core.process import Outcome, ProcessSpec, Stream
from overseer.core.worker import WorkerError, WorkerEvents
from overseer.process.escaped import Escaped
from overseer.process.exits import ExitWatch, PidfdWatch, ThreadWatch
from overseer.process.group import ProcessGroup
from overseer.process.input import InputPipe, TerminalInput
from overseer.process.pipes import OutputPipe
from overseer.process.spawn import Child, ProcessSpawner
from overseer.process.streams import set_window_size


class ProcessWorker:
    """I am a :class:`overseer.core.worker.Worker`: I run ``spec`` as a process and tell ``events``.

    No event arrives from inside a call of mine. Before ``spawned`` only the pausing of output has
    an effect: there is nothing to signal.
    """

    _log = Logger()

    def __init__(
        self, spawner: ProcessSpawner, spec: ProcessSpec, events: WorkerEvents, clock: IReactorTime
    ) -> None:
        self._spawner = spawner
        self._spec = spec
        self._events = events
        self._clock = clock
        self._pipes: tuple[OutputPipe, ...] = ()
        self._input: InputPipe | None = None
        self._group: ProcessGroup | None = None
        self._pid = -1
        self._paused = False
        self._exited = False
        self._drained = False
        self._group_gone = False

    def start(self) -> None:
        """Begin. Exactly one of ``spawned`` and ``spawn_failed`` follows."""
        self._spawner.spawn(self._spec, self._spawned, self._events.spawn_failed)

    def terminate(self, grace: float) -> None:
        """Send the stop signal to the whole group, SIGKILL after ``grace`` seconds to who is left."""
        if self._group is not None:
            self._group.terminate(grace)

    def kill(self) -> None:
        """Send SIGKILL to the whole group."""
        if self._group is not None:
            self._group.kill()

    def pause_output(self) -> None:
        """Read nothing until :meth:`resume_output`. Has no effect once the main process ended."""
        if self._exited:
            return
        self._paused = True
        for pipe in self._pipes:
            pipe.pause()

    def resume_output(self) -> None:
        """Read again."""
        if not self._paused:
            return
        self._paused = False
        for pipe in self._pipes:
            pipe.resume()

    def close_output(self) -> None:
        """Deliver what is in the pipes, close them and report ``drained``, all in the next turn."""
        self._clock.callLater(0, self._close_pipes)

    def write_input(
        self, data: bytes, taken: Callable[[], object], lost: Callable[[str], object]
    ) -> None:
        """Write to stdin. ``taken`` says that the pipe has it; more than 1 MiB may not wait for that."""
        if self._input is None:
            raise WorkerError("input: the action's configuration has no `stdin: pipe`")
        self._input.write(data, taken, lost)

    def end_input(self) -> None:
        """Close stdin once all is written; in a terminal type the character for the end of input."""
        if self._input is not None:
            self._input.end()

    def signal(self, number: int) -> None:
        """Send a signal to the whole group: what it leads to is no intentional end."""
        if self._group is None or self._exited:
            raise WorkerError("signal: the process has ended")
        self._group.signal(number)

    def resize(self, rows: int, columns: int) -> None:
        """Change the size of the terminal."""
        if not self._spec.pty or self._input is None:
            raise WorkerError("resize: the action's configuration has no `pty: true`")
        if self._input.closed:
            raise WorkerError("resize: the process has closed its terminal")
        set_window_size(self._input.fileno(), rows, columns)

    def _spawned(self, child: Child) -> None:
        reactor = self._spawner.reactor
        self._pid = child.pid
        self._group = ProcessGroup(
            child.pid,
            self._spec.stop_signal,
            self._clock,
            Escaped(self._spawner.orphans, child.pid, self._spec.env, child.control_group),
            self._leftovers_gone,
        )
        # Needed for the start only, and a large part of what is kept for a task that runs.
        self._spec = attrs.evolve(self._spec, argv=(), env={})
        self._pipes = (self._pipe("stdout", child.stdout),)
        if child.stderr is not None:
            self._pipes += (self._pipe("stderr", child.stderr),)
        if child.stdin is not None:
            writer = TerminalInput if self._spec.pty else InputPipe
            self._input = writer(reactor, child.stdin)
        watch: ExitWatch
        if child.pidfd is not None:
            watch = PidfdWatch(reactor, child.pidfd, self._ended)
        else:
            watch = ThreadWatch(reactor, child.pid, self._ended)
        watch.start()
        if not self._paused:
            for pipe in self._pipes:
                pipe.resume()
        self._events.spawned(child.pid)

    def _pipe(self, stream: Stream, descriptor: int) -> OutputPipe:
        events = self._events

        dropped = stream in self._spec.dropped

        def received(data: bytes) -> None:
            if not dropped:
                events.output(stream, data)

        def ended() -> None:
            events.closed(stream)
            self._advance()

        return OutputPipe(self._spawner.reactor, descriptor, received, ended)

    def _ended(self) -> None:
        assert self._group is not None
        # The order matters: only the zombie keeps the group's number ours for certain.
        self._group.leader_exited()
        outcome = self._reap()
        self._group.leader_reaped()
        self.resume_output()
        self._exited = True
        if self._input is not None:
            self._input.close()
        self._events.exited(outcome)
        self._advance()

    def _reap(self) -> Outcome:
        try:
            status = self._spawner.reap(self._pid)
        except ChildProcessError:
            self._log.error(
                "somebody else reaped process {pid}: its exit code is lost", pid=self._pid
            )
            return Outcome(-1)
        if os.WIFSIGNALED(status):
            return Outcome.from_signal(os.WTERMSIG(status))
        return Outcome(os.WEXITSTATUS(status))

    def _close_pipes(self) -> None:
        for pipe in self._pipes:
            pipe.close()

    def _leftovers_gone(self) -> None:
        self._group_gone = True
        self._advance()

    def _advance(self) -> None:
        """Report what is due, in order. Every pipe, the exit and the group come here once."""
        if not self._exited:
            return
        if not self._drained:
            if not all(pipe.closed for pipe in self._pipes):
                return
            self._drained = True
            self._events.drained()
        if self._group_gone:
            # They know me: let all go at once, and leave nothing for the garbage collector to stop for.
            self._pipes, self._input, self._group = (), None, None
            self._events.gone()
