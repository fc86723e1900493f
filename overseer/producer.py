"""What every transport tells the outbox of its client: when it takes data, and when it does not."""

from collections.abc import Callable

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from overseer.protocol.outbox import Outbox


@implementer(IPushProducer)
class OutboxProducer:
    """The outbox of one client as the producer of its transport.

    :param taken: called when the transport has taken something of what waited.
    """

    def __init__(self, outbox: Outbox, taken: Callable[[], object]) -> None:
        self._outbox = outbox
        self._taken = taken

    def pauseProducing(self) -> None:
        """Queue from now on."""
        self._outbox.pause()

    def resumeProducing(self) -> None:
        """Send what is queued."""
        self._outbox.resume()
        self._taken()

    def stopProducing(self) -> None:
        """The connection is lost, of which the protocol is told as well."""
