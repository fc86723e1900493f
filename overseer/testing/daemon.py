"""A whole overseer for tests: no process, no socket, and a clock that the test moves.

>>> overseer = FakeOverseer({"actions": {"thumbnail": {"type": "thumbnail"}}}, ThumbnailFactory())
>>> events = overseer.events(overseer.run("thumbnail", params={"input": "film.mp4"}))
>>> overseer.processes[0].runs()
>>> overseer.processes[0].exits(0)
>>> overseer.reactor.advance(1)
>>> [type(event).__name__ for event in events]
['Started', 'Exited']
"""

from collections.abc import Coroutine
from typing import Any, TypeVar

import txaio
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from overseer.client.subscription import Subscription
from overseer.core.process import ProcessSpec
from overseer.core.worker import Worker, WorkerEvents
from overseer.drivers.interfaces import ActionHandlerFactory
from overseer.drivers.registry import Drivers, installed_drivers
from overseer.given_config import GivenConfig
from overseer.protocol.messages import Message
from overseer.service import OverseerService
from overseer.testing import FakeReactor, ScriptedProcess

_Answer = TypeVar("_Answer")


class FakeOverseer(OverseerService):
    """An overseer that is asked as any other, and whose processes live as the test says.

    It has started already. ``processes`` are those that its tasks have begun, in their order.

    :param factories: drivers for its actions; without any, those that are installed.
    """

    def __init__(self, config: GivenConfig, *factories: ActionHandlerFactory) -> None:
        self.reactor = FakeReactor()
        self.processes: list[ScriptedProcess] = []
        loop = txaio.config.loop  # type: ignore[attr-defined]  # exists once Twisted was chosen
        super().__init__(
            config,
            reactor=self.reactor,
            listen=(),
            drivers=Drivers(factories) if factories else installed_drivers(),
            environment={},
        )
        txaio.config.loop = loop  # type: ignore[attr-defined]  # it is everybody's
        self.startService()

    def ask(self, question: Coroutine[Any, Any, _Answer]) -> _Answer:
        """Return the answer to a question: ``overseer.ask(overseer.list())``.

        :raises AssertionError: when there is none without more time or an event.
        """
        answers: list[_Answer | Failure] = []
        Deferred.fromCoroutine(question).addBoth(answers.append)
        self.reactor.advance(0)
        assert answers, "no answer yet: for a start its process has to begin, by runs()"
        (answer,) = answers
        if isinstance(answer, Failure):
            answer.raiseException()
        return answer

    def events(self, subscription: Subscription) -> list[Message]:
        """Return a list that the events of a subscription come into, as far as there are any."""
        events: list[Message] = []

        async def collect() -> None:
            async for event in subscription:
                events.append(event)

        Deferred.fromCoroutine(collect())
        self.reactor.advance(0)
        return events

    def _start_process(self, spec: ProcessSpec, events: WorkerEvents) -> Worker:
        process = ScriptedProcess(spec, events, 1000 + len(self.processes))
        self.processes.append(process)
        return process
