"""Requests over real sockets, good and bad ones, and who may send them at all."""

import contextlib
import json
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from conftest import DEADLINE, SHELL, Client, Daemon, Message
from prometheus_client.parser import text_string_to_metric_families
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

TEMPLATES = """
  convert:
    type: exec
    description: Shows its arguments
    config:
      entrypoint: "[[ `printf` ]]"
      command:
        - '<%s>\\n'
        - 'plain'
        - '[[.input]]'
        - '[[ if .fast ]]-preset ultra [[ .fast ]][[ else ]]-slow[[ end ]]'
        - '[[ if eq .input "a b" ]]same[[ end ]]'
        - '[[ printf "%s-%03d" .input 7 ]]'
        - '[[ .input | printf "%q" ]]'
        - '[[ with .fast ]]with [[ . ]][[ else ]]without[[ end ]]'
        - '[[- " trimmed " -]]'
        - '[[ len .input ]] [[ index .input 0 ]]'
        - '[[/* nothing */]]'
      parameters:
        input: {description: What is read}
        fast: {default: ""}
  careless:
    type: exec
    config: {entrypoint: echo, command: ["[[.typo]]"]}
"""


@pytest.fixture(scope="module")
def shared(launch_shared: Callable[..., Daemon]) -> Daemon:
    """A daemon for all tests here; nothing that is asked may break it."""
    return launch_shared(SHELL + TEMPLATES)


@pytest.fixture
def client(shared: Daemon) -> Iterator[Client]:
    with shared.client() as client:
        yield client


# ------------------------------------------------------------------------------------- bad input

BAD = [
    ("not json", "", "invalid JSON: "),
    ("", "", "invalid JSON: "),
    ("{", "", "invalid JSON: "),
    ('{"id":"x"} {}', "", "invalid JSON: "),
    ("[" * 5000, "", "invalid JSON: "),
    ("[]", "", "invalid JSON: expected an object, got array"),
    ('"start"', "", "invalid JSON: expected an object, got string"),
    ("null", "", "invalid JSON: expected an object, got null"),
    ("12", "", "invalid JSON: expected an object, got integer"),
    ('{"type":"list"}', "", "id is required"),
    ('{"type":"list","id":""}', "", "id is required"),
    ('{"type":"list","id":null}', "", "id is required"),
    ('{"type":"list","id":7}', "", "id is required"),
    ('{"id":"x","type":"dance"}', "x", "unknown message type: dance"),
    ('{"id":"x","type":"started"}', "x", "unknown message type: started"),
    ('{"id":"x"}', "x", "type is required"),
    ('{"id":"x","type":5}', "x", "type: expected string, got integer"),
    ('{"id":"x","type":"start"}', "x", "action is required"),
    ('{"id":"x","type":"start","action":""}', "x", "action is required"),
    ('{"id":"x","type":"start","action":null}', "x", "action is required"),
    ('{"id":"x","type":"start","action":[]}', "x", "action: expected string, got array"),
    ('{"id":"x","type":"start","action":"nope"}', "x", 'unknown action: "nope"'),
    (
        '{"id":"x","type":"start","action":"echo","params":{"count":3}}',
        "x",
        "params.count: expected string, got integer",
    ),
    (
        '{"id":"x","type":"start","action":"echo","params":[]}',
        "x",
        "params: expected object, got array",
    ),
    (
        '{"id":"x","type":"start","action":"echo","task_id":{}}',
        "x",
        "task_id: expected string, got object",
    ),
    (
        '{"id":"x","type":"start","action":"echo","force":"yes"}',
        "x",
        "force: expected boolean, got string",
    ),
    ('{"id":"x","type":"stop"}', "x", "task_id is required"),
    ('{"id":"x","type":"stop","task_id":""}', "x", "task_id is required"),
    (
        '{"id":"x","type":"stop","task_id":"a","grace":5}',
        "x",
        "grace: expected string, got integer",
    ),
    ('{"id":"x","type":"stop","task_id":"a","grace":"soon"}', "x", "grace: expected a duration"),
    ('{"id":"x","type":"stop","task_id":"a","ack":1}', "x", "ack: expected boolean, got integer"),
    ('{"id":"x","type":"replay"}', "x", "task_id is required"),
    (
        '{"id":"x","type":"replay","task_id":"a","since":"noon"}',
        "x",
        "since: expected an RFC 3339 timestamp",
    ),
    (
        '{"id":"x","type":"replay","task_id":"a","since_seq":1.5}',
        "x",
        "since_seq: expected integer, got number",
    ),
    (
        '{"id":"x","type":"replay","task_id":"a","since_seq":-1}',
        "x",
        "since_seq: expected integer >= 0, got -1",
    ),
    ('{"id":"x","type":"replay","task_id":"nobody"}', "x", "task not found"),
    ('{"id":"x","type":"subscribe"}', "x", "task_id is required"),
    ('{"id":"x","type":"subscribe","task_id":"*","since_seq":1}', "x", "since_seq: not with"),
    ('{"id":"x","type":"unsubscribe"}', "x", "task_id is required"),
    ('{"id":"x","type":"list","limit":"1"}', "x", "limit: expected integer, got string"),
    ('{"id":"x","type":"list","limit":true}', "x", "limit: expected integer, got boolean"),
    ('{"id":"x","type":"list","state":"gone"}', "x", "state: expected one of active, "),
    ('{"id":"x","type":"describe","action":"nope"}', "x", 'unknown action: "nope"'),
]


@pytest.mark.parametrize("binary", [False, True], ids=["text", "binary"])
def test_bad_input(client: Client, binary: bool) -> None:
    """Every mistake is answered by what is wrong and where, with its id; the connection stays open."""
    wrong = []
    for text, request_id, message in BAD:
        client.connection.send(text.encode() if binary else text)
        answer = client.receive()
        got = (answer["type"], answer["id"])
        if got != ("error", request_id) or not answer["message"].startswith(message):
            wrong.append((text, message, answer))
    assert wrong == []
    assert client.ask(type="list", action="none")["tasks"] == []


@pytest.mark.parametrize("payload", [b"\xff\xfe", b'{"id":"\xff","type":"list"}', b"\0" * 10])
def test_binary_garbage(client: Client, payload: bytes) -> None:
    """A binary frame that holds no JSON is a mistake like any other."""
    client.connection.send(payload)
    answer = client.receive()
    assert (answer["type"], answer["id"]) == ("error", "")
    assert answer["message"].startswith("invalid JSON: ")


def test_binary_request(client: Client) -> None:
    """A binary frame that holds JSON is read like a text frame, and answered by text."""
    client.connection.send(b'{"id":"caf\xc3\xa9","type":"list","action":"none"}')
    answer = client.connection.recv(DEADLINE)
    assert answer == '{"type":"tasks","id":"café","tasks":[]}'


def test_what_is_ignored(client: Client) -> None:
    """Unknown fields are ignored, and ``null`` and empty optional strings count as absent."""
    started = client.ask(
        type="start",
        action="echo",
        task_id="",
        params=None,
        force=None,
        colour="blue",
        retry={"x": [1]},
    )
    assert started["type"] == "started"
    assert len(started["task_id"]) == 36
    assert client.until("output")[-1]["data"] == "hello"
    client.until("exited")
    listed = client.ask(type="list", since=None, action="", state="", limit=None)
    assert started["task_id"] in [task["task_id"] for task in listed["tasks"]]


def test_an_oversized_message(shared: Daemon, client: Client) -> None:
    """Whoever sends more than 1 MiB at once is closed with 1009; everybody else goes on."""
    with shared.client() as large:
        large.send(type="list", action="none", padding="x" * (1024 * 1024 - 200))
        assert large.receive()["type"] == "tasks"
        with contextlib.suppress(ConnectionClosed):  # before the daemon has all of it, perhaps
            large.send(type="list", padding="x" * 1024 * 1024)
        with pytest.raises(ConnectionClosed):
            large.receive()
        assert large.connection.close_code == 1009
    assert client.ask(type="list", action="none")["type"] == "tasks"


# ----------------------------------------------------------------------------------------- browsers

ORIGINS = [
    ({"Origin": "http://evil.example"}, 403),
    ({"Origin": "null"}, 403),
    ({"Origin": ""}, 403),
    ({"Origin": "https://127.0.0.1:{port}"}, 403),
    ({"Origin": "http://127.0.0.1:1"}, 403),
    ({"Origin": "http://127.0.0.1:{port}.evil.example"}, 403),
    ({"Origin": "http://127.0.0.1:{port}"}, 101),
    ({"Origin": "https://app.example"}, 101),
    ({"Origin": "https://app.example:444"}, 403),
    ({"Host": "localhost:{port}", "Origin": "http://localhost:{port}"}, 101),
    # DNS rebinding: a name of the attacker's that leads here looks like the same origin.
    ({"Host": "evil.example:{port}", "Origin": "http://evil.example:{port}"}, 403),
    ({"Host": "evil.example:{port}", "Sec-Fetch-Site": "same-origin"}, 403),
    ({"Host": "evil.example:{port}", "Origin": "https://app.example"}, 403),
    ({"Host": "board.example:{port}", "Origin": "http://board.example:{port}"}, 101),
    ({"Host": "board.example:{port}", "Sec-Fetch-Mode": "websocket"}, 101),
    ({"Host": "whatever.example"}, 101),
]


@pytest.fixture(scope="module")
def guarded(launch_shared: Callable[..., Daemon]) -> Daemon:
    """A daemon that two sites may use."""
    sites = "allowed_origins: [https://app.example]\nallowed_hosts: [board.example]\n"
    return launch_shared(sites + SHELL)


def upgrade(daemon: Daemon, path: str = "/ws", **headers: str) -> tuple[int, str]:
    """Ask for a WebSocket, or for a page; return status and body (none of an upgrade)."""
    headers = {"Host": f"127.0.0.1:{daemon.port}", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    websocket = (
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
    )
    extra = websocket if path == "/ws" else "Connection: close\r\n"
    with socket.create_connection(("127.0.0.1", daemon.port), DEADLINE) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\n{lines}{extra}\r\n".encode())
        answer = connection.recv(65536)
        while b"\r\n\r\n" not in answer or (b" 101 " not in answer[:20] and (more := True)):
            more = connection.recv(65536)
            if not more:
                break
            answer += more
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body.decode()


def test_browsers(guarded: Daemon) -> None:
    """A web page of another site can start nothing here, on no path; the Go original let them all."""
    wrong = []
    for template, status in ORIGINS:
        headers = {name: text.format(port=guarded.port) for name, text in template.items()}
        for path, expected in (("/ws", status), ("/ws/manifest", 403 if status == 403 else 200)):
            got, body = upgrade(guarded, path, **headers)
            if got != expected or (got == 403 and "allowed_" not in body):
                wrong.append((path, headers, expected, got, body))
    assert wrong == []
    _, body = upgrade(guarded, Host="evil.example", **{"Sec-Fetch-Site": "none"})
    assert json.loads(body) == {
        "error": 'host "evil.example" is refused to browsers: allowed_hosts does not list it'
    }


def test_a_browser_library(guarded: Daemon) -> None:
    """The same with a client library: refused and let in."""
    with pytest.raises(InvalidStatus) as refused, guarded.client(origin="http://evil.example"):
        pass
    assert refused.value.response.status_code == 403
    with guarded.client(origin="https://app.example", subprotocols=["overseer.v1"]) as client:
        assert client.connection.subprotocol == "overseer.v1"
        assert client.ask(type="list")["type"] == "tasks"


# --------------------------------------------------------------------------------------------- HTTP


def get(daemon: Daemon, path: str, method: str = "GET") -> tuple[int, dict[str, str], Any]:
    answer = daemon.http(
        f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    )
    head, _, body = answer.partition("\r\n\r\n")
    status, *lines = head.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, json.loads(body) if body else None


def test_http(shared: Daemon, client: Client) -> None:
    """The plain paths beside the WebSocket answer in JSON."""
    assert get(shared, "/healthz")[::2] == (200, {"status": "ok"})
    assert get(shared, "/readyz")[::2] == (200, {"status": "ok"})
    status, headers, body = get(shared, "/ws")
    assert (status, headers["content-type"]) == (400, "application/json")
    assert "Bad Request" in body["error"]
    for path in ("/nowhere", "/ws/", "/healthz/x", "//", "/WS"):
        status, headers, body = get(shared, path)
        assert (status, headers["content-type"]) == (404, "application/json")
        assert (body["error"], body["path"]) == ("not found", path)
        assert "/ws" in body["paths"]
    assert get(shared, "/healthz", "POST")[0] == 405
    assert get(shared, "/healthz", "HEAD")[2] is None
    status, headers, manifest = get(shared, "/ws/manifest")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert manifest == client.ask(type="manifest")["manifest"]
    assert {action["name"] for action in manifest["actions"]} == {
        "sh",
        "echo",
        "convert",
        "careless",
    }


def test_metrics_of_a_daemon_at_work(shared: Daemon, client: Client) -> None:
    """Prometheus's parser reads what a scrape tells of a run, of this client and of the reactor."""
    client.run("echo one; exit 3")
    answer = shared.http("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    head, _, body = answer.partition("\r\n\r\n")
    assert "Content-Type: text/plain; version=0.0.4" in head
    samples = [s for family in text_string_to_metric_families(body) for s in family.samples]
    numbers = {(s.name, *sorted(s.labels.items())): s.value for s in samples}
    failed = ("overseer_task_exits_total", ("action", "sh"), ("result", "failed"))
    assert numbers[failed] >= 1
    assert numbers[("overseer_output_lines_total", ("action", "sh"), ("stream", "stdout"))] >= 1
    assert numbers[("overseer_clients",)] >= 1
    assert numbers[("overseer_messages_total", ("result", "ok"), ("type", "start"))] >= 1
    assert ("overseer_reactor_lag_seconds_count",) in numbers


def test_connections_limit(launch: Callable[..., Daemon]) -> None:
    """Whoever comes beyond the limit is told so by 503, and let in once somebody has left."""
    daemon = launch("limits: {connections: 3}\n" + SHELL)
    with daemon.client() as one, daemon.client() as two:
        with daemon.client() as three:
            for _ in range(3):
                with pytest.raises(InvalidStatus) as refused:
                    connect(daemon.url)
                assert refused.value.response.status_code == 503
            assert upgrade(daemon, "/healthz")[0] == 503
            assert [c.ask(type="list")["type"] for c in (one, two, three)] == ["tasks"] * 3
        assert upgrade(daemon, "/healthz")[0] == 200
        with daemon.client() as four:
            assert four.run("echo in")[1]["data"] == "in"


# ----------------------------------------------------------------------------- describe and list


def test_describe(client: Client) -> None:
    """A client learns what there is to start, and with which parameters."""
    actions = client.ask(type="describe")["actions"]
    assert [action["name"] for action in actions] == ["sh", "echo", "convert", "careless"]
    (convert,) = client.ask(type="describe", action="convert")["actions"]
    assert convert == {
        "name": "convert",
        "type": "exec",
        "description": "Shows its arguments",
        "params": {"input": {"description": "What is read"}, "fast": {"default": ""}},
        "task_pool": {"limit": 0, "excess": {"action": "", "order": "", "grace": 0}},
        "retry": {},
    }


def test_list(launch: Callable[..., Daemon]) -> None:
    """Tasks come in the order in which they were made, and can be narrowed down."""
    daemon = launch()
    with daemon.client() as client:

        def listed(**fields: object) -> list[str]:
            return [task["task_id"] for task in client.ask(type="list", **fields)["tasks"]]

        assert listed() == []
        client.run("exit 3", task_id="a")
        client.send(type="start", action="echo", task_id="b", params={"message": "x"})
        exited = client.until("exited")[-1]
        started = client.start(task_id="c", params={"script": "sleep 100"})
        assert listed() == ["a", "b", "c"]
        assert listed(action="sh") == ["a", "c"]
        assert listed(action="nope") == []
        assert listed(state="active") == ["c"]
        assert listed(state="stopped") == ["a", "b"]
        assert listed(state="queued") == []
        assert listed(limit=2) == ["b", "c"]
        assert listed(limit=0) == []
        assert listed(action="sh", limit=1) == ["c"]
        assert listed(since=exited["ts"]) == ["b", "c"]
        assert listed(since=started["ts"]) == ["c"]
        assert listed(since="2999-01-01T00:00:00+01:00") == []
        a, b, c = client.ask(type="list")["tasks"]
        assert (a["state"], a["last_exit_code"], a["worker_state"]) == ("stopped", 3, "exited")
        assert "current_pid" not in a
        assert (b["params"], b["restart_count"]) == ({"message": "x"}, 0)
        assert b["last_exited_at"] == exited["ts"]
        assert (c["state"], c["current_pid"], c["worker_state"]) == (
            "active",
            started["pid"],
            "running",
        )
        assert c["last_started_at"] == started["ts"]
        assert "last_exit_code" not in c


# ---------------------------------------------------------------------------------------- templates


def converted(client: Client, **params: str) -> list[str]:
    client.send(type="start", action="convert", params=params)
    return [m["data"] for m in client.until("exited") if m["type"] == "output"]


def test_templates(client: Client) -> None:
    """Each argument is made from the parameters, and stays one argument whatever is in it."""
    assert converted(client, input="a b", fast="yes; rm -rf /") == [
        "<plain>",
        "<a b>",
        "<-preset ultra yes; rm -rf />",
        "<same>",
        "<a b-007>",
        '<"a b">',
        "<with yes; rm -rf />",
        "< trimmed >",
        "<3 97>",
        "<>",
    ]
    assert converted(client, input='$(id) "é" [[.fast]] *') == [
        "<plain>",
        '<$(id) "é" [[.fast]] *>',
        "<-slow>",
        "<>",
        '<$(id) "é" [[.fast]] *-007>',
        '<"$(id) \\"é\\" [[.fast]] *">',
        "<without>",
        "< trimmed >",
        "<22 36>",
        "<>",
    ]


def test_a_template_with_an_unknown_name(client: Client) -> None:
    """As in Go, a name that nobody gives renders to nothing; a parameter that is given fills it."""
    client.send(type="start", action="careless")
    assert client.until("exited")[1]["data"] == ""
    client.send(type="start", action="careless", params={"typo": "given"})
    assert client.until("exited")[1]["data"] == "given"


@pytest.mark.parametrize(
    ("action", "params", "message"),
    [
        ("convert", {}, 'validation error: parameter "input" is required'),
        ("convert", {"fast": "x"}, 'validation error: parameter "input" is required'),
        ("convert", None, 'validation error: parameter "input" is required'),
        (
            "convert",
            {"input": "a\0b"},
            'validation error: parameter "input": contains a NUL character',
        ),
        (
            "echo",
            {"other": "\0"},
            'validation error: parameter "other": contains a NUL character',
        ),
        ("convert", {"input": ""}, "command[9]: "),
    ],
)
def test_parameters_that_do_not_fit(
    client: Client, action: str, params: dict[str, str] | None, message: str
) -> None:
    """The error names the parameter, nothing is started and nothing is left behind."""
    before = client.ask(type="list")["tasks"]
    answer = client.ask(type="start", action=action, params=params)
    assert answer["type"] == "error"
    assert message in answer["message"]
    assert client.ask(type="list")["tasks"] == before


def test_answers_come_in_the_order_of_the_requests(client: Client) -> None:
    """A client may send without waiting: its requests take effect one after the other."""
    for number in range(300):
        client.send(type="subscribe", task_id=f"t-{number}", id=f"{number}")
    answers: list[Message] = [client.receive() for _ in range(300)]
    assert [answer["id"] for answer in answers] == [str(number) for number in range(300)]
    assert {answer["type"] for answer in answers} == {"subscribed"}
