"""Identifiers that nobody guesses: random UUIDs (RFC 9562 section 5.4).

Each question to the kernel lets other threads go first, so it is asked for many at a time.
"""

import os
import uuid
from collections.abc import Iterator

_SIZE = 16
_AT_ONCE = 64


def random_uuids() -> Iterator[str]:
    """Yield one after the other, for ever."""
    while True:
        random = os.urandom(_SIZE * _AT_ONCE)
        for start in range(0, len(random), _SIZE):
            yield str(uuid.UUID(bytes=random[start : start + _SIZE], version=4))
