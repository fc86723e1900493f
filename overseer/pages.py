"""What the plain HTTP paths tell: documents, the history, the metrics, and how the daemon is."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from overseer.documents import Documents
from overseer.lifecycle import views
from overseer.lifecycle.supervisor import Supervisor
from overseer.protocol.codec import BadRequest, decode_query, encode_message
from overseer.protocol.messages import History
from overseer.web import routes
from overseer.web.root import Answer, Page, Question, json_answer
from overseer.websocket import ClientFactory

if TYPE_CHECKING:
    from overseer.eventlog import EventLog
    from overseer.history.recorder import HistoryRecorder
    from overseer.prometheus.exposition import Exposition, ReactorLag

_EXPOSITION = "overseer.prometheus.exposition"


class Pages:
    """Answers from the parts of a daemon, of which there may be no history and no event log.

    ``ready`` tells whether clients may count on it now.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: Any,
        supervisor: Supervisor,
        clients: ClientFactory,
        documents: Documents,
        *,
        history: "HistoryRecorder | None",
        event_log: "EventLog | None",
        orphans_ended: Callable[[], int],
        ready: Callable[[], bool],
    ) -> None:
        self._reactor = reactor
        self._supervisor = supervisor
        self._clients = clients
        self._history = history
        self._event_log = event_log
        self._orphans_ended = orphans_ended
        self._ready = ready
        self.by_route: Mapping[routes.Route, Page] = {
            **{route: _document(route, body) for route, body in documents.by_route.items()},
            routes.HISTORY: self._look_up_history,
            routes.METRICS: self._tell_metrics,
            routes.HEALTH: lambda _: json_answer(200, {"status": "ok"}),
            routes.READY: self._tell_readiness,
        }
        self._closed = False
        self._exposition: Exposition | None = None
        self._reactor_lag: ReactorLag | None = None

    def close(self) -> None:
        """Measure nothing any more."""
        self._closed = True
        if self._reactor_lag is not None:
            self._reactor_lag.stop()

    def _look_up_history(self, question: Question) -> Deferred[Answer]:
        return Deferred.fromCoroutine(self._answer_from_history(question.query))

    async def _answer_from_history(self, query: Mapping[str, str]) -> Answer:
        if self._history is None:
            return json_answer(404, {"error": 'there is no history: the configuration has no "db"'})
        try:
            request = decode_query(History, query)
            assert isinstance(request, History)
            page = await self._history.page(views.run_query(request), statistics=request.statistics)
        except BadRequest as error:
            return json_answer(400, {"error": error.message})
        except ValueError as error:
            return json_answer(400, {"error": f"before: {error}"})
        except Exception as error:
            self._log.warn("the history cannot be read: {reason}", reason=error)
            return json_answer(503, {"error": "the history cannot be read now"})
        return Answer(200, encode_message(views.history("", page)))

    def _tell_metrics(self, question: Question) -> Answer | Deferred[Answer]:
        if self._exposition is not None:
            return self._expose(question)
        # In a thread, as this takes longer than anybody's output should wait.
        pool = self._reactor.getThreadPool()
        imported = deferToThreadPool(self._reactor, pool, import_module, _EXPOSITION)
        return imported.addCallback(lambda _: self._expose(question))

    def _expose(self, question: Question) -> Answer:
        if self._closed:
            return json_answer(503, {"error": "the overseer has stopped"})
        if self._exposition is None:
            self._exposition = self._first_exposition()
        content_type, body = self._exposition.render(question.accept)
        return Answer(200, body, content_type)

    def _first_exposition(self) -> "Exposition":
        from overseer.prometheus.exposition import Exposition, ReactorLag  # noqa: PLC0415  # slow to import
        from overseer.prometheus.families import Sources  # noqa: PLC0415

        self._reactor_lag = ReactorLag(self._reactor)
        return Exposition(
            Sources(
                supervisor=self._supervisor,
                clients=self._clients,
                history=self._history,
                event_log=self._event_log,
                orphans_ended=self._orphans_ended,
                reactor_lag=self._reactor_lag.histogram,
            )
        )

    def _tell_readiness(self, _question: Question) -> Answer:
        if not self._ready():
            return json_answer(503, {"status": "not ready"})
        # What cannot be written now is no reason to send clients elsewhere: tasks go on.
        parts = {"history": self._history, "event log": self._event_log}
        failing = [name for name, part in parts.items() if part is not None and part.failing]
        return json_answer(200, {"status": "ok", **({"failing": failing} if failing else {})})


def _document(route: routes.Route, body: Callable[[], bytes]) -> Page:
    return lambda _: Answer(200, body(), route.content_type)
