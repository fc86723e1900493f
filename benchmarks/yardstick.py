"""The yardstick: the server a good Twisted programmer writes in an afternoon.

``reactor.spawnProcess`` for the children, Autobahn for the sockets, the standard ``json`` once a
line, ``sendMessage`` once a line and subscriber: no batching, no flow control, no tricks, and no
mistakes either. It speaks the part of overseer's protocol that the workloads use (``start``,
``subscribe``, ``stop``) and sends the same message for the same line, so that one client measures
both.

    python benchmarks/yardstick.py --port 8090
"""

import argparse
import json
import os
import re
import resource
import shutil
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.internet.protocol import ProcessProtocol

ACTIONS = Path(__file__).with_name("actions.json")
# `json.dumps` with separators would make an encoder at every call, which is no fair opponent.
COMPACT = json.JSONEncoder(separators=(",", ":"))


def encode(message):
    """Return ``message`` as compact JSON."""
    return COMPACT.encode(message).encode()


def timestamp():
    """Return the present in RFC 3339."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


def command_line(action, params):
    """Return the argument vector of ``action`` with ``params`` in place of its ``[[.name]]``."""
    config = action["config"]
    values = {name: spec["default"] for name, spec in config.get("parameters", {}).items()}
    values.update(params)

    def fill(text):
        return re.sub(r"\[\[\.(\w+)\]\]", lambda match: values[match[1]], text)

    return [config["entrypoint"], *map(fill, config.get("command", []))]


class Task(ProcessProtocol):
    """One child: its lines go to the subscribers of its task as they come."""

    def __init__(self, task_id, starter, request_id, subscribers):
        self.task_id = task_id
        self.starter = starter
        self.request_id = request_id
        self.subscribers = subscribers
        self.seq = 0
        self.rest = {"stdout": b"", "stderr": b""}

    def connectionMade(self):
        """Tell the subscribers that the child runs; only its starter sees the request's id."""
        self.pid = self.transport.pid
        message = {"type": "started", "id": "", "task_id": self.task_id, "pid": self.pid}
        message["ts"] = timestamp()
        others = encode(message)
        message["id"] = self.request_id
        for subscriber in self.subscribers:
            subscriber.sendMessage(encode(message) if subscriber is self.starter else others)

    def outReceived(self, data):
        """Send the lines in ``data`` as standard output."""
        self.received("stdout", data)

    def errReceived(self, data):
        """Send the lines in ``data`` as standard error."""
        self.received("stderr", data)

    def received(self, stream, data):
        """Send every complete line and keep the rest."""
        *lines, self.rest[stream] = (self.rest[stream] + data).split(b"\n")
        now = timestamp()
        for line in lines:
            self.send_line(stream, line, now)

    def send_line(self, stream, line, now):
        """Send one line to every subscriber."""
        self.seq += 1
        payload = encode(
            {
                "type": "output",
                "task_id": self.task_id,
                "pid": self.pid,
                "stream": stream,
                "data": line.decode(errors="replace"),
                "ts": now,
                "seq": self.seq,
            }
        )
        for subscriber in self.subscribers:
            subscriber.sendMessage(payload)

    def processEnded(self, reason):
        """Send what an unterminated last line holds, then the exit."""
        now = timestamp()
        for stream, line in self.rest.items():
            if line:
                self.send_line(stream, line, now)
        exit_code = -1 if reason.value.exitCode is None else reason.value.exitCode
        message = {"type": "exited", "task_id": self.task_id, "pid": self.pid}
        payload = encode({**message, "exit_code": exit_code, "intentional": False, "ts": now})
        for subscriber in self.subscribers:
            subscriber.sendMessage(payload)
        self.starter.factory.tasks.pop(self.task_id, None)


class Client(WebSocketServerProtocol):
    """One WebSocket connection."""

    def onMessage(self, payload, isBinary):
        """Dispatch one request to the method that is named after its type."""
        request = json.loads(payload)
        getattr(self, f"handle_{request['type']}")(request)

    def handle_start(self, request):
        """Start a child; its starter is its first subscriber."""
        task_id = request["task_id"]
        argv = command_line(self.factory.actions[request["action"]], request.get("params", {}))
        subscribers = self.factory.subscribers[task_id]
        subscribers.add(self)
        task = Task(task_id, self, request["id"], subscribers)
        self.factory.tasks[task_id] = task
        reactor.spawnProcess(task, shutil.which(argv[0]), argv, env=os.environ)

    def handle_subscribe(self, request):
        """Subscribe to a task, which need not exist yet."""
        self.factory.subscribers[request["task_id"]].add(self)
        reply = {"type": "subscribed", "id": request["id"], "task_id": request["task_id"]}
        self.sendMessage(encode(reply))

    def handle_stop(self, request):
        """Ask a child to end."""
        self.factory.tasks[request["task_id"]].transport.signalProcess("TERM")

    def onClose(self, wasClean, code, reason):
        """Forget the connection's subscriptions."""
        for subscribers in self.factory.subscribers.values():
            subscribers.discard(self)


class Server(WebSocketServerFactory):
    """The actions, the running tasks, and who listens to which."""

    protocol = Client

    def __init__(self, actions):
        super().__init__()
        self.actions = actions
        self.tasks = {}
        self.subscribers = defaultdict(set)


def main():
    """Serve on 127.0.0.1 until a signal comes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1")
    parser.add_argument("--actions", type=Path, default=ACTIONS, help="JSON file of the actions")
    options = parser.parse_args()

    hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))
    server = Server(json.loads(options.actions.read_text()))
    reactor.listenTCP(options.port, server, backlog=1024, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main()
