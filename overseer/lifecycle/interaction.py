"""What clients do to a task while it runs: give it something to read, signal it, resize its terminal."""

import base64
from collections.abc import Callable

from overseer.core.process import signal_number
from overseer.core.worker import Worker, WorkerError
from overseer.lifecycle.requests import RequestError
from overseer.lifecycle.task import Task
from overseer.protocol.messages import Input, Resize, Signal


def give_input(
    task: Task, request: Input, taken: Callable[[], object], lost: Callable[[str], object]
) -> None:
    """Give a task what a request holds; ``taken`` or ``lost`` follows, perhaps at once.

    :raises RequestError: when it can take nothing, or the request holds nothing.
    """
    data = _data_of(request)
    worker = _worker_of(task)
    try:
        worker.write_input(data, taken, lost)
        if request.eof:
            worker.end_input()
    except WorkerError as error:
        raise RequestError(str(error)) from None


def send_signal(task: Task, request: Signal) -> None:
    """Send a signal to the process group of a task.

    :raises RequestError: when there is no such signal, or nothing to send it to.
    """
    try:
        number = signal_number(request.signal)
        _worker_of(task).signal(number)
    except (ValueError, WorkerError) as error:
        raise RequestError(str(error)) from None


def resize_terminal(task: Task, request: Resize) -> None:
    """Change the size of a task's terminal.

    :raises RequestError: when it has none.
    """
    try:
        _worker_of(task).resize(request.rows, request.cols)
    except WorkerError as error:
        raise RequestError(str(error)) from None


def _worker_of(task: Task) -> Worker:
    worker = task.worker
    if worker is None:
        raise RequestError("task is not running")
    return worker


def _data_of(request: Input) -> bytes:
    if request.data is not None and request.data_base64 is not None:
        raise RequestError("data_base64: not together with data")
    if request.data is not None:
        return request.data.encode()
    if request.data_base64 is not None:
        try:
            return base64.b64decode(request.data_base64, validate=True)
        except ValueError:  # binascii.Error, or what is not even ASCII
            raise RequestError("data_base64: expected base64 (RFC 4648)") from None
    if not request.eof:
        raise RequestError("data, data_base64 or eof is required")
    return b""
