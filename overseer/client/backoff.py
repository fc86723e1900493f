"""How long to wait before the next attempt to connect."""

FIRST_WAIT = 0.1
LONGEST_WAIT = 10.0
_MOST_DOUBLINGS = 10


def waiting_time(attempt: int, jitter: float) -> float:
    """Return the seconds to wait before attempt 1, 2, …: they double.

    ``jitter`` from 0 to 1 spreads clients apart: all those of a restarted overseer come back at once otherwise.
    """
    longest: float = min(LONGEST_WAIT, FIRST_WAIT * 2 ** min(attempt - 1, _MOST_DOUBLINGS))
    return longest * (0.5 + jitter / 2)
