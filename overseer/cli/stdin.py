"""Gives a task what comes on stdin: no more of it is read than the task has taken."""

import base64
import os
import threading
from collections.abc import AsyncIterator

from twisted.internet.defer import DeferredQueue

from overseer.cli.conversation import reactor
from overseer.cli.exit_status import CommandError, ExitStatus
from overseer.client import Client
from overseer.protocol.messages import Input

READ_SIZE = 64 * 1024
"""Bytes of stdin that one ``input`` carries."""


async def give_stdin(client: Client, task_id: str) -> None:
    """Send all of stdin to a task, whose own is not ended by that.

    :raises RequestRefused: when the task does not read it, or no more.
    :raises CommandError: when it cannot be read.
    """
    async for data in _chunks():
        encoded = base64.b64encode(data).decode()
        await client.request(Input("", task_id, data_base64=encoded), timeout=None)


async def _chunks() -> AsyncIterator[bytes]:
    """Yield what comes on stdin: read in a thread, because a terminal lets one wait for ever."""
    chunks: DeferredQueue[bytes | OSError] = DeferredQueue()
    wanted = threading.Semaphore(1)

    def read() -> None:
        data: bytes | OSError = b"more"
        while data and wanted.acquire():
            try:
                data = os.read(0, READ_SIZE)
            except OSError as error:
                data = error
            reactor.callFromThread(chunks.put, data)

    # When the command ends first, nobody waits for it.
    threading.Thread(target=read, daemon=True).start()
    while data := await chunks.get():
        if isinstance(data, OSError):
            raise CommandError(ExitStatus.FAILED, f"cannot read stdin: {data.strerror}")
        yield data
        wanted.release()
