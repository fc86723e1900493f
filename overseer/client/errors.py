"""What can go wrong between a client and an overseer: one family of exceptions.

The text of each is for a person; what the server said stands in it word by word.
"""


class OverseerError(Exception):
    """Anything that a client of an overseer can be told instead of an answer."""


class RequestRefused(OverseerError):
    """The server answered ``error``: the request changed nothing.

    ``message`` are its words, ``existing_task_id`` names the task in the way, if one is.
    """

    def __init__(self, message: str, existing_task_id: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.existing_task_id = existing_task_id


class RequestTimeout(OverseerError):
    """No answer came in time. The request may have been carried out all the same."""


class ConnectionLost(OverseerError):
    """The connection ended. A request that was on its way may have been carried out all the same."""


class ConnectionRefused(OverseerError):
    """There is no connection: nobody listens, the server does not want this client, or it is no overseer.

    ``permanent`` tells whether another attempt would only get the same answer.
    """

    def __init__(self, reason: str, *, permanent: bool = False) -> None:
        super().__init__(reason)
        self.permanent = permanent


class Forbidden(ConnectionRefused):
    """The server lets nobody in from this address."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, permanent=True)


class Unauthorized(ConnectionRefused):
    """The server wants a token, or another one."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, permanent=True)
