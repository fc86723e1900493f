"""The client library: talk to an overseer from Twisted or asyncio.

>>> client = await connect("ws://127.0.0.1:8080/ws")
>>> async for event in client.run("echo", params={"message": "hi"}):
...     print(event)
"""

from overseer.client.client import Client
from overseer.client.connect import connect
from overseer.client.errors import (
    ConnectionLost,
    ConnectionRefused,
    Forbidden,
    OverseerError,
    RequestRefused,
    RequestTimeout,
    Unauthorized,
)
from overseer.client.output import OutputBlock
from overseer.client.subscription import Subscription

__all__ = [
    "Client",
    "ConnectionLost",
    "ConnectionRefused",
    "Forbidden",
    "OutputBlock",
    "OverseerError",
    "RequestRefused",
    "RequestTimeout",
    "Subscription",
    "Unauthorized",
    "connect",
]
