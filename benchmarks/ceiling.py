"""The ceiling: a sender of prepared bytes, which shows what the measuring client can take.

It answers ``subscribe`` and ``start`` like the contenders and then copies one prepared block of
``output`` messages to every subscriber as fast as the kernel takes it. No server can be measured
faster than this: a contender that comes near it has met the client's limit, not its own.

    python benchmarks/ceiling.py --port 8090
"""

import argparse
import base64
import hashlib
import json
import re
import selectors
import socket

from clients import HANDSHAKE_SALT  # run as a script: this folder is the import path

BLOCK_LINES = 1_024  # about 200 KB
TEXT_FRAME = 0x81


def frame(message):
    """Return ``message`` as compact JSON in one server frame."""
    payload = json.dumps(message, separators=(",", ":")).encode()
    if len(payload) < 126:
        return bytes([TEXT_FRAME, len(payload)]) + payload
    return bytes([TEXT_FRAME, 126]) + len(payload).to_bytes(2, "big") + payload


def requests(data):
    """Return the requests in ``data`` and what is left of it; they are shorter than 64 KiB."""
    found = []
    while len(data) >= 8:
        size, start = data[1] & 0x7F, 2
        if size == 126:
            size, start = int.from_bytes(data[2:4], "big"), 4
        end = start + 4 + size
        if len(data) < end:
            break
        mask = data[start : start + 4]
        masked = data[start + 4 : end]
        found.append(json.loads(bytes(byte ^ mask[i % 4] for i, byte in enumerate(masked))))
        data = data[end:]
    return found, data


def output_lines(task_id, lines):
    """Return ``lines`` frames of ``output``, all with the same number."""
    message = {"type": "output", "task_id": task_id, "pid": 12345, "stream": "stdout"}
    tail = {"data": "x" * 60, "ts": "2026-01-01T00:00:00.000000Z", "seq": 1_000_000}
    return frame({**message, **tail}) * lines


class Sender:
    """All connections, and who listens to which task."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.received = {}  # connection: bytes not yet understood
        self.subscribers = {}  # task_id: connections

    def serve(self, listener):
        """Serve for ever."""
        self.selector.register(listener, selectors.EVENT_READ)
        while True:
            for key, _ in self.selector.select():
                if key.fileobj is listener:
                    connection, _ = listener.accept()
                    self.received[connection] = b""
                    self.selector.register(connection, selectors.EVENT_READ)
                else:
                    self.read(key.fileobj)

    def read(self, connection):
        """Take in what a client sent: its handshake first, then requests."""
        data = self.received[connection] + connection.recv(64 * 1024)
        if data == self.received[connection]:
            self.close(connection)
            return
        if data.startswith(b"GET "):
            self.received[connection] = data
            if data.endswith(b"\r\n\r\n"):
                self.received[connection] = b""
                self.shake_hands(connection, data)
            return
        found, self.received[connection] = requests(data)
        for request in found:
            task_id = request["task_id"]
            self.subscribers.setdefault(task_id, []).append(connection)
            if request["type"] == "start":
                connection.sendall(frame({"type": "started", "id": request["id"], "pid": 12345}))
                self.stream(task_id, int(request["params"]["count"]))
            else:
                connection.sendall(frame({"type": "subscribed", "id": request["id"]}))

    def shake_hands(self, connection, data):
        """Accept a WebSocket."""
        key = re.search(rb"(?i)sec-websocket-key: *(\S+)", data)[1]
        accept = base64.b64encode(hashlib.sha1(key + HANDSHAKE_SALT).digest())
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
        )

    def close(self, connection):
        """Forget a client that has gone."""
        self.selector.unregister(connection)
        del self.received[connection]
        connection.close()

    def stream(self, task_id, lines):
        """Copy ``lines`` lines and an exit to every subscriber."""
        connections = self.subscribers.pop(task_id)
        blocks, rest = divmod(lines, BLOCK_LINES)
        block = output_lines(task_id, BLOCK_LINES)
        for _ in range(blocks):
            for connection in connections:
                connection.sendall(block)
        last = output_lines(task_id, rest) + frame({"type": "exited", "task_id": task_id})
        for connection in connections:
            connection.sendall(last)


def main():
    """Serve on 127.0.0.1 until a signal comes."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1")
    options = parser.parse_args()
    with socket.create_server(("127.0.0.1", options.port), backlog=1024) as listener:
        Sender().serve(listener)


if __name__ == "__main__":
    main()
