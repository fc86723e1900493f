"""Which tasks run at once and which wait: sizes, queues, displacement, expiry, surplus.

pools.py decides and answers.py holds its answers; limits.py is what is configured, queue.py and slots.py
are who waits and who runs in one pool.
"""

from overseer.core.pool.answers import (
    Admitted,
    Change,
    PoolInfo,
    PoolLoad,
    Queued,
    QueueItem,
    Rejected,
    Requeued,
    Surplus,
)
from overseer.core.pool.limits import ExcessPolicy, PoolLimits, PoolSettings
from overseer.core.pool.pools import Pools
from overseer.core.pool.queue import Ticket

__all__ = [
    "Admitted",
    "Change",
    "ExcessPolicy",
    "PoolInfo",
    "PoolLimits",
    "PoolLoad",
    "PoolSettings",
    "Pools",
    "QueueItem",
    "Queued",
    "Rejected",
    "Requeued",
    "Surplus",
    "Ticket",
]
