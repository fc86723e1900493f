"""Requests that the daemon itself sends, by treq: what was answered, and nothing of its body.

Imported only where something is configured that needs it: treq and TLS take their time to load.
"""

# mypy: allow-untyped-calls

from collections.abc import Mapping
from typing import Any

from treq import collect
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseFailed, _HTTP11ClientFactory
from twisted.web.iweb import IResponse


class _QuietFactory(_HTTP11ClientFactory):
    noisy = False


class _QuietPool(HTTPConnectionPool):
    """There is no public way to keep it from logging the begin and the end of every connection."""

    _factory = _QuietFactory


class OutgoingHttp:
    """Sends requests. Connections are not kept, redirections not followed, and no proxy is asked.

    Each method fails with what the connection failed with, or with ``TimeoutError`` when no whole answer has
    come within ``timeout`` seconds.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        pool = _QuietPool(reactor, persistent=False)
        self._client = HTTPClient(Agent(reactor, pool=pool))

    def post(
        self, url: str, body: bytes, headers: Mapping[str, str], timeout: float
    ) -> Deferred[int]:
        """Send ``body`` and return the status of the answer."""
        return self._request("POST", url, timeout, data=body, headers=dict(headers))

    def get(self, url: str, timeout: float) -> Deferred[int]:
        """Return the status of the answer."""
        return self._request("GET", url, timeout)

    def _request(self, method: str, url: str, timeout: float, **options: Any) -> Deferred[int]:
        status = Deferred.fromCoroutine(self._status(method, url, options))
        return status.addTimeout(timeout, self._reactor, _too_late)

    async def _status(self, method: str, url: str, options: dict[str, Any]) -> int:
        try:
            response: IResponse = await self._client.request(
                method, url, allow_redirects=False, **options
            )
            # Read to its end, or its connection would stay; kept is nothing, however much comes.
            await collect(response, lambda data: None)
        except ResponseFailed as error:
            raise error.reasons[0].value from error
        code: int = response.code
        return code


def _too_late(result: int | Failure, timeout: float) -> int | Failure:
    if isinstance(result, Failure):
        result.trap(CancelledError)
        raise TimeoutError(f"no answer within {timeout:g} s")
    return result
