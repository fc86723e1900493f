"""Start an action of a running overseer and watch it: ``client.py ACTION [name=value ...]``.

Ctrl-C stops the task and shows how it ends.
"""

import argparse
import json
import os
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect


def main() -> int:
    """Run one task to its end and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action")
    parser.add_argument("params", nargs="*", metavar="name=value", type=parameter, default=[])
    parser.add_argument("--url", default=os.environ.get("OVERSEER_URL", "ws://127.0.0.1:8080/ws"))
    options = parser.parse_args()
    try:
        with connect(options.url, max_size=None) as overseer:
            return run(overseer, options.action, dict(options.params))
    except (OSError, ConnectionClosed) as error:
        print(f"error: {options.url}: {error}", file=sys.stderr)
        return 1


def parameter(text: str) -> tuple[str, str]:
    """Split ``name=value``."""
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f'expected name=value, got "{text}"')
    return name, value


def run(overseer: ClientConnection, action: str, params: dict[str, str]) -> int:
    """Start the action and show everything until it has ended; Ctrl-C stops it."""
    task_id = str(uuid.uuid4())  # an id of our own, so that it can be stopped at any time
    start = {"type": "start", "id": "start", "action": action, "task_id": task_id, "params": params}
    stop = {"type": "stop", "id": "stop", "task_id": task_id}
    request = start
    with ThreadPoolExecutor() as threads:
        ended = threads.submit(show, overseer)
        while True:
            try:
                overseer.send(json.dumps(request))
                return ended.result()
            except KeyboardInterrupt:
                request = stop


def show(overseer: ClientConnection) -> int:
    """Print what comes until the task has ended."""
    while True:
        message = json.loads(overseer.recv())
        if message["type"] == "started":
            print(f"started as process {message['pid']}", file=sys.stderr)
        elif message["type"] == "output":
            print(message["data"], file=getattr(sys, message["stream"]), flush=True)
        elif message["type"] == "exited":
            ending = message.get("signal") or f"code {message['exit_code']}"
            print(f"exited: {ending}", file=sys.stderr)
            return abs(message["exit_code"])
        elif message["type"] == "error":
            print(f"error: {message['message']}", file=sys.stderr)
            return 1


if __name__ == "__main__":
    sys.exit(main())
