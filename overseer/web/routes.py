"""The table of the plain HTTP paths: what each is for and what it answers.

Root serves them, the OpenAPI document and the pages of ``docs/`` describe them; all read this table.
"""

from collections.abc import Mapping

import attrs


@attrs.frozen(eq=False)
class Route:
    """One path for GET and HEAD. ``answers`` says what each status means; refusals may come besides.

    ``query`` names what may stand in the query of the URL.
    """

    path: str
    summary: str
    answers: Mapping[int, str]
    content_type: str = "application/json"
    query: tuple[str, ...] = ()


WEBSOCKET = Route(
    "/ws",
    "The WebSocket",
    {
        101: "it is a WebSocket from here on",
        400: "the request asks for no WebSocket; the words are `Bad Request`",
    },
)
MANIFEST = Route(
    "/ws/manifest",
    "The manifest: the protocol and the actions, in v2's own format",
    {200: "the manifest"},
)
OPENAPI_2 = Route(
    "/openapi.json",
    "The requests and the actions as v2 described them: Swagger 2.0 with commands below `/ws`",
    {200: "the document"},
)
OPENAPI_3_1 = Route("/openapi-3.1.json", "The plain HTTP paths: OpenAPI 3.1", {200: "the document"})
ASYNCAPI = Route("/asyncapi.json", "The WebSocket: AsyncAPI 3.0", {200: "the document"})
HISTORY = Route(
    "/history",
    "Runs of the past: what the request `history` answers, its fields in the query of the URL",
    {
        200: "the runs, newest first",
        400: "the query is wrong: the error names what",
        404: "there is no history",
        503: "the history cannot be read now",
    },
    query=("task_id", "action", "since", "until", "limit", "before", "statistics"),
)
METRICS = Route(
    "/metrics",
    "Counters and gauges for Prometheus",
    {200: "the numbers, in the format that `Accept` asks for"},
    content_type="text/plain",
)
HEALTH = Route("/healthz", "Whether the process answers", {200: '`{"status": "ok"}`'})
READY = Route(
    "/readyz",
    "Whether it listens and takes starts",
    {
        200: '`{"status": "ok"}`, with a list `failing` while the history or the event log cannot be written',
        503: '`{"status": "not ready"}`, or too many connections',
    },
)

ROUTES = (WEBSOCKET, MANIFEST, OPENAPI_2, OPENAPI_3_1, ASYNCAPI, HISTORY, METRICS, HEALTH, READY)
