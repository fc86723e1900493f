"""The paths of an overseer below a place of somebody else's ``twisted.web`` site.

:class:`~overseer.web.root.Root` answers there as it does on listeners of its own, by the same access rules.
What a request is and when it takes too long is that site's business.
"""

# mypy: allow-untyped-calls

from collections.abc import Callable
from typing import Any, cast

from twisted.web.resource import Resource
from twisted.web.server import Request

from overseer.core.tokens import Role
from overseer.web.root import Answer, Root, SiteRequest, send_answer


class Mounted(Resource):
    """Hands what is below its own place to ``root``; ``full`` tells whether it takes no more clients."""

    isLeaf = True

    def __init__(self, root: Root, full: Callable[[], bool]) -> None:
        super().__init__()
        self._root = root
        self._full = full

    def render(self, request: Request) -> int:
        """Answer the request, or hand its connection to the WebSocket."""
        return self._root.render(cast("SiteRequest", _MountedRequest(request, full=self._full())))


class _MountedRequest:
    """A request of another site as :class:`~overseer.web.root.Root` wants it."""

    def __init__(self, request: Request, *, full: bool) -> None:
        self._request = request
        self.path = b"/" + b"/".join(request.postpath or ())
        self.connection = _MountedConnection(request, surplus=full)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)

    def answer(self, answer: Answer, *, close: bool = False) -> None:
        send_answer(self._request, answer, close=close)


class _MountedConnection:
    """What a request of another site came over."""

    def __init__(self, request: Request, *, surplus: bool) -> None:
        self._request = request
        self.surplus = surplus

    def leave_http(self, role: Role) -> None:
        # The WebSocket asks its transport what it may do.
        transport: Any = self._request.channel.transport
        transport.role = role
