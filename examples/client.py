"""Start an action of a running overseer and watch it: ``client.py ACTION [name=value ...]``.

Ctrl-C stops the task and shows how it ends.
"""

import argparse
import json
import os
import sys

from websockets.sync.client import connect


def main() -> int:
    """Run one task to its end and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action")
    parser.add_argument("params", nargs="*", metavar="name=value")
    parser.add_argument("--url", default=os.environ.get("OVERSEER_URL", "ws://127.0.0.1:8080/ws"))
    options = parser.parse_args()
    params = dict(param.split("=", 1) for param in options.params)

    with connect(options.url, max_size=None) as overseer:
        start = {"type": "start", "id": "start", "action": options.action, "params": params}
        overseer.send(json.dumps(start))
        task_id = None
        while True:
            try:
                message = json.loads(overseer.recv())
            except KeyboardInterrupt:
                overseer.send(json.dumps({"type": "stop", "id": "stop", "task_id": task_id}))
                continue
            if message["type"] == "started":
                task_id = message["task_id"]
                print(f"started as process {message['pid']}", file=sys.stderr)
            elif message["type"] == "output":
                print(message["data"], file=getattr(sys, message["stream"]))
            elif message["type"] == "exited":
                ending = message.get("signal") or f"code {message['exit_code']}"
                print(f"exited: {ending}", file=sys.stderr)
                return abs(message["exit_code"])
            elif message["type"] == "error":
                print(f"error: {message['message']}", file=sys.stderr)
                return 1


if __name__ == "__main__":
    sys.exit(main())
