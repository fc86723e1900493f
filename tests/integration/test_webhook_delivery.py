"""A receiver hears how tasks end, signed, again after a failure, and at the shutdown, too."""

import hashlib
import hmac
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conftest import Daemon, Message, eventually

SECRET = "a secret of the test"
CONFIG = """
listen: "127.0.0.1:0"
webhooks:
  - {{url: "http://127.0.0.1:{port}/hook?key=hidden", secret_env: HOOK_SECRET, actions: [sh]}}
actions:
  sh: &sh
    type: exec
    config: {{entrypoint: sh, command: ["-c", "[[.script]]"], parameters: {{script: {{}}}}}}
  other: *sh
"""


class Receiver:
    """An HTTP server that keeps what it is sent and answers with ``statuses``, then with 200."""

    def __init__(self) -> None:
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append((dict(self.headers), body))
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    @property
    def events(self) -> list[Message]:
        return [json.loads(body) for _, body in self.received]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()
    receiver.server.server_close()


def test_a_receiver_hears_of_every_exit(launch: Callable[..., Daemon], receiver: Receiver) -> None:
    """The first answer is a failure, so that the event comes again."""
    receiver.statuses.append(500)
    daemon = launch(CONFIG.format(port=receiver.port), environment={"HOOK_SECRET": SECRET})
    with daemon.client() as client:
        *_, exited = client.run("exit 3", task_id="a")
        client.start("other", params={"script": "exit 4"})
        client.until("exited")
        eventually(lambda: len(receiver.received) == 2)
        assert receiver.events == [{**exited, "action": "sh"}] * 2
        (first, _), (second, body) = receiver.received
        assert first["X-Overseer-Delivery"] == second["X-Overseer-Delivery"]
        digest = hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
        assert second["X-Overseer-Signature-256"] == f"sha256={digest}"
        environment = client.run("echo ${HOOK_SECRET:-unknown}", task_id="b")
        assert environment[-2]["data"] == "unknown"
        client.start(task_id="c", params={"script": "sleep 1000"})
        daemon.stop()
    assert [(e["task_id"], e["intentional"]) for e in receiver.events[2:]] == [
        ("b", False),
        ("c", True),
    ]
    assert "hidden" not in daemon.log
    assert "factory" not in daemon.log
    assert SECRET not in daemon.log


def test_a_shutdown_does_not_wait_for_a_receiver_that_is_gone(
    launch: Callable[..., Daemon], receiver: Receiver
) -> None:
    receiver.server.shutdown()  # connections are accepted, and never answered
    daemon = launch(CONFIG.format(port=receiver.port), environment={"HOOK_SECRET": SECRET})
    with daemon.client() as client:
        client.run("exit 3", task_id="a")
        assert daemon.stop() == 0
    assert "events lost: 1" in daemon.log


def test_treq_is_only_loaded_for_those_who_want_it(launch: Callable[..., Daemon]) -> None:
    daemon = launch()
    assert "_openssl" not in Path(f"/proc/{daemon.process.pid}/maps").read_text()
