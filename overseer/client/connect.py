"""Connects to an overseer."""

from functools import partial
from typing import Any

from twisted.internet.defer import Deferred

from overseer.client.address import StdioAddress, parse_address
from overseer.client.client import REQUEST_TIMEOUT, Client
from overseer.client.link import Dial
from overseer.client.waiting import awaitable


async def connect(
    address: str,
    *,
    token: str | None = None,
    reactor: Any = None,
    timeout: float | None = REQUEST_TIMEOUT,
    reconnect: bool = True,
    tls: Any = None,
) -> Client:
    """Connect to an overseer and return its client.

    :param address: ``ws://HOST:PORT/ws``, ``wss://…``, ``unix:/PATH``; or ``stdio``, ``stdio:CONFIG``: an
        overseer of one's own, which ends with the client.
    :param token: one of the server's ``auth.tokens``.
    :param reactor: the running reactor; None = Twisted's global one.
    :param timeout: seconds for an answer; None waits for ever.
    :param reconnect: make a lost connection again, and go on where it ended. Never with ``stdio``.
    :param tls: what wraps the connection of ``wss://``, as ``twisted.internet.ssl`` has it; None = trust the
        certificates of the system.
    :raises ValueError: when that is no address.
    :raises ConnectionRefused: when there is no connection now; with a hint why.
    """
    if reactor is None:
        from twisted.internet import reactor  # noqa: PLC0415  # importing it chooses which one it is
    dial = dialer(address, reactor, token=token, tls=tls)
    if isinstance(parse_address(address), StdioAddress):
        reconnect = False
    client = Client(reactor, dial, timeout=timeout, reconnect=reconnect)
    await awaitable(Deferred.fromCoroutine(client.connect()))
    return client


def dialer(address: str, reactor: Any, *, token: str | None = None, tls: Any = None) -> Dial:
    """Return what makes a bare connection, as :func:`connect` does.

    :raises ValueError: when that is no address.
    """
    where = parse_address(address)
    if isinstance(where, StdioAddress):
        from overseer.client.stdio import dial_stdio  # noqa: PLC0415  # one transport is enough

        return partial(dial_stdio, reactor, where)
    from overseer.client.websocket import dial_websocket  # noqa: PLC0415  # one transport is enough

    return partial(dial_websocket, reactor, where, token=token, tls=tls)
