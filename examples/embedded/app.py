"""A web application with an overseer of its own: it counts words in the background, and tells how far it is.

``python app.py [PORT]``, then ``curl -d 'some words' http://127.0.0.1:8000/`` starts a job and names it,
``curl http://127.0.0.1:8000/`` lists the jobs with the last thing that each has said, and any client of an
overseer can look on at ``ws://127.0.0.1:8000/overseer/ws``. Ctrl-C stops the jobs, then the application.
"""

import sys
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from overseer import OverseerService
from overseer.protocol.messages import Output, Started


class Jobs(Resource):
    """The jobs at ``/``: GET lists them, POST starts one."""

    def __init__(self, overseer: OverseerService) -> None:
        super().__init__()
        self._overseer = overseer

    def getChild(self, path: bytes, request: Request) -> Resource:
        """Answer at ``/`` itself."""
        return self if path == b"" else super().getChild(path, request)

    def render_GET(self, request: Request) -> int:
        """List the jobs."""
        return answer_later(request, self._list())

    def render_POST(self, request: Request) -> int:
        """Start a job that counts the words of the body."""
        return answer_later(request, self._start(request.content.read().decode()))

    async def _start(self, text: str) -> str:
        started = await self._overseer.start("count-words", params={"text": text})
        assert isinstance(started, Started)
        return started.task_id

    async def _list(self) -> str:
        lines = []
        for task in (await self._overseer.list()).tasks:
            events = await self._overseer.replay(task.task_id)
            said = [event.data for event in events if isinstance(event, Output)]
            lines.append(f"{task.task_id} {task.state}: {said[-1] if said else ''}")
        return "\n".join(lines)


def answer_later(request: Request, answer: Any) -> int:
    """Answer a request with what a coroutine returns."""

    def write(text: str) -> None:
        request.setHeader("Content-Type", "text/plain; charset=utf-8")
        request.write(f"{text}\n".encode())
        request.finish()

    Deferred.fromCoroutine(answer).addCallback(write).addErrback(request.processingFailed)
    return NOT_DONE_YET


def main(port: int) -> None:
    """Run the application until a signal ends it."""
    overseer = OverseerService(Path(__file__).with_name("overseer.yaml"), listen=())
    root = Jobs(overseer)
    root.putChild(b"overseer", overseer.resource())

    def listening(where: Any) -> None:
        print(f"http://127.0.0.1:{where.getHost().port}/", flush=True)

    overseer.startService()
    reactor.addSystemEventTrigger("before", "shutdown", overseer.stopService)
    TCP4ServerEndpoint(reactor, port, interface="127.0.0.1").listen(Site(root)).addCallback(
        listening
    )
    reactor.run()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 8000)
