"""The wait before another attempt to connect."""

from overseer.client.backoff import FIRST_WAIT, LONGEST_WAIT, waiting_time


def test_it_doubles_up_to_a_bound() -> None:
    """Quick at first, at most one attempt every ten seconds later, however long it takes."""
    waits = [waiting_time(attempt, 1.0) for attempt in (1, 2, 3, 10, 10_000)]
    assert waits == [FIRST_WAIT, 2 * FIRST_WAIT, 4 * FIRST_WAIT, LONGEST_WAIT, LONGEST_WAIT]


def test_jitter_spreads_clients_over_half_of_it() -> None:
    """A thousand clients of a restarted daemon do not come at the same instant."""
    assert waiting_time(1, 0.0) == FIRST_WAIT / 2
    assert waiting_time(1, 0.5) == FIRST_WAIT * 0.75
