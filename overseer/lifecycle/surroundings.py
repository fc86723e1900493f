"""What all tasks share: the time, who is told what happens to them, and where it is counted."""

from collections.abc import Callable

import attrs
from twisted.internet.interfaces import IReactorTime

from overseer.core.metrics import Counters
from overseer.lifecycle.journal import Journal
from overseer.lifecycle.readiness import Prober
from overseer.lifecycle.subscriptions import Subscriptions


@attrs.frozen(kw_only=True)
class Surroundings:
    """What tasks share: ``now`` gives microseconds since the epoch, ``random`` a number in [0, 1).

    ``json_lines`` says whether a sink wants output as lines of JSON, too. There may be no ``journal``. With no
    ``prober`` nothing is ever ready.
    """

    clock: IReactorTime
    now: Callable[[], int]
    random: Callable[[], float]
    subscriptions: Subscriptions
    line_size: int
    json_lines: bool = False
    journal: Journal | None = None
    prober: Prober | None = None
    counters: Counters = attrs.field(factory=Counters)
