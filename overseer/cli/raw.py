"""``overseer raw``: requests as they stand, and every message that comes, one a line."""

import json
import sys
from collections.abc import Sequence
from typing import Any

from twisted.internet.defer import Deferred

from overseer.cli.conversation import reactor
from overseer.cli.exit_status import CommandError, ExitStatus
from overseer.client import ConnectionLost
from overseer.client.connect import dialer
from overseer.client.output import OutputBlock

_END = "the last one of `overseer raw`"
_ANSWERED_IF_ASKED = ("stop", "replay")


async def raw(
    url: str, token: str | None, *, as_json: bool, requests: Sequence[str], follow: bool
) -> int:
    """Send requests and print what comes until all are answered; JSON it is anyway."""
    del as_json
    wanted = [
        _read(text, number) for number, text in enumerate(requests or sys.stdin, 1) if text.strip()
    ]
    printer = _Printer(follow)
    link = await dialer(url, reactor, token=token)(printer)
    for request in wanted:
        if request.get("ack") or request.get("type") not in _ANSWERED_IF_ASKED:
            printer.unanswered.add(request["id"])
        link.send(json.dumps(request).encode())
    # Requests take effect in their order: with this answer nothing more is to come of those without one.
    printer.unanswered.add(_END)
    link.send(json.dumps({"type": "metrics", "id": _END}).encode())
    await printer.done
    link.close()
    return 0


class _Printer:
    """Prints messages; ``done`` fires when none is outstanding."""

    def __init__(self, follow: bool) -> None:
        self.unanswered: set[str] = set()
        self.done: Deferred[None] = Deferred()
        self._follow = follow

    def received(self, messages: Sequence[bytes | OutputBlock]) -> None:
        """Print messages."""
        texts = [one.json_lines() if isinstance(one, OutputBlock) else one for one in messages]
        payloads = b"\n".join(texts).split(b"\n")
        ids = [json.loads(payload).get("id") for payload in payloads]
        shown = [text for text, one in zip(payloads, ids, strict=True) if one != _END]
        sys.stdout.buffer.write(b"".join(text + b"\n" for text in shown))
        try:
            sys.stdout.buffer.flush()
        except BrokenPipeError as error:
            self._end(error)
        self.unanswered.difference_update(ids)
        if not self.unanswered and not self._follow:
            self._end(None)

    def lost(self, reason: str) -> None:
        """Nothing more will come."""
        self._end(ConnectionLost(reason))

    def _end(self, error: Exception | None) -> None:
        if self.done.called:
            return
        if error is None:
            self.done.callback(None)
        else:
            self.done.errback(error)


def _read(text: str, number: int) -> dict[str, Any]:
    try:
        request = json.loads(text)
    except ValueError as error:
        raise CommandError(ExitStatus.USAGE, f"request {number} is not JSON", str(error)) from None
    if not isinstance(request, dict):
        raise CommandError(ExitStatus.USAGE, f"request {number} is no JSON object")
    if not isinstance(request.get("id"), str) or not request["id"]:
        request["id"] = str(number)
    return request
