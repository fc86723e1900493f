"""Whether and when a task that ended is started again."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from overseer.core.durations import format_duration
from overseer.core.process import Outcome
from overseer.core.retry import (
    LONGEST_DELAY,
    NOTHING_GIVEN,
    Complete,
    GiveUp,
    Layer,
    PartialRetryPolicy,
    RetryAfter,
    RetryPolicy,
    RetryState,
    Verdict,
    effective_policy,
)

OK = Outcome(0)
FAILED = Outcome(1)
KILLED = Outcome.from_signal(9)


def partial(**fields: object) -> PartialRetryPolicy:
    return PartialRetryPolicy(**fields)  # type: ignore[arg-type]


def after_exits(
    policy: RetryPolicy, *times: float, outcome: Outcome | None = FAILED
) -> list[Verdict]:
    """Verdicts on runs of no length that end at these times."""
    state = RetryState(policy)
    return [state.verdict(outcome, started_at=time, now=time, random=0) for time in times]


# ------------------------------------------------------------------------------------------- merge


@pytest.mark.parametrize(
    ("general", "action", "start", "expected"),
    [
        # Restarts are off unless the configuration gives a field or the start an object.
        (partial(), partial(), None, None),
        (False, partial(), None, None),
        (partial(), False, None, None),
        (partial(), partial(), partial(), RetryPolicy()),
        (False, False, partial(), RetryPolicy()),
        (partial(restart_delay=0.0), partial(), None, RetryPolicy()),
        (partial(), partial(error_threshold=0), None, RetryPolicy()),
        (partial(restart_delay=5.0), partial(), None, RetryPolicy(restart_delay=5.0)),
        # Field by field, the later layer wins, zero included.
        (
            partial(restart_delay=5.0, error_threshold=3),
            partial(restart_delay=0.0),
            partial(restart_jitter=1.0),
            RetryPolicy(restart_delay=0.0, error_threshold=3, restart_jitter=1.0),
        ),
        (
            partial(error_window=60.0, release_slot=True),
            partial(error_threshold=3),
            partial(error_threshold=0, error_window=0.0, release_slot=False),
            RetryPolicy(),
        ),
        (
            partial(restart_on="failure"),
            partial(success_exit_codes=(0, 2)),
            None,
            RetryPolicy(restart_on="failure", success_exit_codes=(0, 2)),
        ),
        (partial(), partial(success_exit_codes=()), None, RetryPolicy(success_exit_codes=())),
        # `retry: false` puts away what lies below; a start may still ask.
        (partial(restart_delay=5.0), False, None, None),
        (partial(restart_delay=5.0), False, partial(), RetryPolicy()),
        (False, partial(restart_delay=5.0), None, RetryPolicy(restart_delay=5.0)),
    ],
)
def test_the_policy_of_a_task(
    general: Layer,
    action: Layer,
    start: PartialRetryPolicy | None,
    expected: RetryPolicy | None,
) -> None:
    """Global, then action, then start."""
    assert effective_policy(general, action, start) == expected


seconds = st.sampled_from([0.0, 1.0, 60.0])
partials = st.builds(
    PartialRetryPolicy,
    restart_delay=st.none() | seconds,
    error_window=st.none() | seconds,
    error_threshold=st.none() | st.integers(0, 3),
    restart_on=st.none() | st.sampled_from(["exit", "failure"]),
    success_exit_codes=st.none() | st.sampled_from([(), (0,), (0, 3)]),
    backoff=st.none() | st.sampled_from([0.0, 2.0]),
    release_slot=st.none() | st.booleans(),
)


@settings(max_examples=50)
@given(partials, partials, partials)
def test_layers_merge_field_by_field(
    low: PartialRetryPolicy, middle: PartialRetryPolicy, high: PartialRetryPolicy
) -> None:
    """The highest layer that gives a field decides it; grouping does not matter; nothing adds nothing."""
    merged = high.over(middle).over(low)
    assert merged == high.over(middle.over(low))
    assert low.over(NOTHING_GIVEN) == low == NOTHING_GIVEN.over(low) == low.over(low)
    for name in attrs.fields_dict(PartialRetryPolicy):
        given_values = [getattr(layer, name) for layer in (high, middle, low)]
        expected = next((value for value in given_values if value is not None), None)
        assert getattr(merged, name) == expected
        default = getattr(RetryPolicy(), name)
        assert getattr(merged.complete(), name) == (default if expected is None else expected)


# ----------------------------------------------------------------------------------- what counts


@pytest.mark.parametrize(
    ("policy", "outcome", "again"),
    [
        (None, FAILED, False),
        (None, None, False),
        # Every unintentional exit counts, code 0 too.
        (RetryPolicy(), OK, True),
        (RetryPolicy(), FAILED, True),
        (RetryPolicy(), KILLED, True),
        (RetryPolicy(), None, True),
        (RetryPolicy(success_exit_codes=(1,)), FAILED, True),
        (RetryPolicy(restart_on="failure"), OK, False),
        (RetryPolicy(restart_on="failure"), FAILED, True),
        (RetryPolicy(restart_on="failure"), KILLED, True),
        (RetryPolicy(restart_on="failure"), None, True),
        (RetryPolicy(restart_on="failure", success_exit_codes=(1, 3)), FAILED, False),
        (RetryPolicy(restart_on="failure", success_exit_codes=(1, 3)), OK, True),
        (RetryPolicy(restart_on="failure", success_exit_codes=()), OK, True),
        # The -1 of a signal is no exit code.
        (RetryPolicy(restart_on="failure", success_exit_codes=(-1,)), KILLED, True),
    ],
)
def test_which_exits_are_retried(
    policy: RetryPolicy | None, outcome: Outcome | None, again: bool
) -> None:
    """No policy, no restart; with `restart_on: failure` a success is the end."""
    verdict = RetryState(policy).verdict(outcome, started_at=0, now=1, random=0)
    assert verdict == (RetryAfter(0.0, 1) if again else Complete())


def test_a_success_does_not_count() -> None:
    """A task that completes and is asked again later has no exit more behind it."""
    state = RetryState(RetryPolicy(restart_on="failure", error_threshold=2))
    verdicts = [
        state.verdict(outcome, started_at=0, now=0, random=0)
        for outcome in (FAILED, OK, OK, FAILED)
    ]
    assert verdicts == [RetryAfter(0.0, 1), Complete(), Complete(), GiveUp(2)]


# ------------------------------------------------------------------------- window and threshold


@pytest.mark.parametrize(
    ("policy", "times", "given_up"),
    [
        (RetryPolicy(error_threshold=0), [0, 0, 0, 0, 0], None),
        (RetryPolicy(error_threshold=0, error_window=60), [0, 0, 0, 0, 0], None),
        (RetryPolicy(error_threshold=1), [0], 0),
        (RetryPolicy(error_threshold=1, error_window=1), [0], 0),
        (RetryPolicy(error_threshold=3), [0, 1000, 2_000_000], 2),
        (RetryPolicy(error_threshold=3, error_window=60), [0, 30, 60], 2),
        (RetryPolicy(error_threshold=3, error_window=60), [0, 30, 60.5, 90], 3),
        (RetryPolicy(error_threshold=3, error_window=60), [0, 31, 62, 93, 124], None),
        # A clock that steps back makes no interval negative, so the exits stand close together.
        (RetryPolicy(error_threshold=2, error_window=60), [1000, 0], 1),
        (RetryPolicy(error_threshold=3, error_window=60), [1000, 0, 50], 2),
        # One that steps forward makes them look far apart, once.
        (RetryPolicy(error_threshold=2, error_window=60), [0, 1000, 1001], 2),
    ],
)
def test_when_it_gives_up(policy: RetryPolicy, times: list[float], given_up: int | None) -> None:
    """At the exit that makes it ``error_threshold`` within ``error_window``, no sooner, no later."""
    expected: list[Verdict] = [RetryAfter(0.0, number) for number in range(1, len(times) + 1)]
    if given_up is not None:
        expected[given_up] = GiveUp(policy.error_threshold)
    assert after_exits(policy, *times) == expected


@settings(max_examples=50)
@given(
    st.integers(1, 5),
    st.integers(0, 20),
    st.lists(st.integers(0, 20), min_size=1, max_size=40),
)
def test_the_threshold_is_exact(threshold: int, window: int, gaps: list[int]) -> None:
    """Counted over all exits that ever were; only the newest are remembered."""
    state = RetryState(RetryPolicy(error_threshold=threshold, error_window=window))
    exits: list[int] = []
    for gap in gaps:
        exits.append((exits[-1] if exits else 0) + gap)
        now = exits[-1]
        verdict = state.verdict(KILLED, started_at=now, now=now, random=0)
        inside = [time for time in exits if not window or now - time <= window]
        if len(inside) >= threshold:
            assert verdict == GiveUp(threshold)
            state.reset()
            exits = []
        else:
            assert isinstance(verdict, RetryAfter)
        assert len(state._exits) <= threshold


def test_reset_forgets_everything() -> None:
    """After `reset` a task has all its attempts again, the first delay too; without it, none."""
    policy = RetryPolicy(restart_delay=1, backoff=2, error_threshold=3)
    state = RetryState(policy)
    fresh = [RetryAfter(1, 1), RetryAfter(2, 2), GiveUp(3)]
    for again in (False, True):
        if again:
            state.reset()
        assert [state.verdict(OK, started_at=0, now=0, random=0) for _ in range(3)] == fresh
    assert state.verdict(OK, started_at=0, now=0, random=0) == GiveUp(3)


def test_nothing_is_remembered_without_a_threshold() -> None:
    """A task that restarts for ever costs no memory."""
    state = RetryState(RetryPolicy())
    for time in range(100):
        state.verdict(OK, started_at=time, now=time, random=0)
    assert not state._exits


# -------------------------------------------------------------------------------------- the delay


@pytest.mark.parametrize(
    ("policy", "delays"),
    [
        (RetryPolicy(), [0, 0, 0]),
        (RetryPolicy(restart_delay=5), [5, 5, 5]),
        (RetryPolicy(restart_delay=1, backoff=2), [1, 2, 4, 8]),
        (RetryPolicy(restart_delay=1, backoff=1.5), [1, 1.5, 2.25]),
        (RetryPolicy(restart_delay=1, backoff=2, max_delay=5), [1, 2, 4, 5, 5]),
        (RetryPolicy(restart_delay=10, backoff=2, max_delay=5), [5, 5]),
        (RetryPolicy(restart_delay=10, max_delay=5), [5, 5]),
        # A factor up to 1 is none, and nothing grows from nothing.
        (RetryPolicy(restart_delay=4, backoff=0.5), [4, 4]),
        (RetryPolicy(restart_delay=4, backoff=1), [4, 4]),
        (RetryPolicy(backoff=2, max_delay=5), [0, 0]),
    ],
)
def test_how_long_it_waits(policy: RetryPolicy, delays: list[float]) -> None:
    """The delay of each restart in a row."""
    expected = [RetryAfter(delay, attempt) for attempt, delay in enumerate(delays, 1)]
    assert after_exits(policy, *[0.0] * len(delays)) == expected


@pytest.mark.parametrize(
    ("stable_after", "lengths", "attempts"),
    [
        (0, [10, 1000, 10], [1, 2, 3]),
        (60, [0, 0, 59.9, 0], [1, 2, 3, 4]),
        (60, [0, 0, 60, 0, 0], [1, 2, 1, 2, 3]),
        (60, [60, 60], [1, 1]),
        # A clock that stepped back during the run says nothing about its length.
        (60, [0, -1000, 0], [1, 2, 3]),
    ],
)
def test_a_stable_run_brings_back_the_first_delay(
    stable_after: float, lengths: list[float], attempts: list[int]
) -> None:
    """Runs of these lengths are followed by these attempts and their delays."""
    state = RetryState(RetryPolicy(restart_delay=1, backoff=2, stable_after=stable_after))
    verdicts = [state.verdict(OK, started_at=0, now=length, random=0) for length in lengths]
    assert verdicts == [RetryAfter(2.0 ** (attempt - 1), attempt) for attempt in attempts]


def test_a_stable_run_does_not_clear_the_window() -> None:
    """The threshold counts by its window alone."""
    state = RetryState(RetryPolicy(error_threshold=2, stable_after=1))
    state.verdict(OK, started_at=0, now=10, random=0)
    assert state.verdict(OK, started_at=10, now=20, random=0) == GiveUp(2)


long = st.floats(0, 9e9)


@settings(max_examples=50)
@given(
    st.builds(
        RetryPolicy,
        restart_delay=long,
        restart_jitter=long,
        backoff=st.floats(0, 1e9),
        max_delay=st.just(0.0) | long,
    ),
    st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=50),
)
def test_the_delay_stays_within_its_bounds(policy: RetryPolicy, randoms: list[float]) -> None:
    """Never less than asked, never more than the bound and the jitter, always one that can be told."""
    state = RetryState(policy)
    bound = min(policy.max_delay or LONGEST_DELAY, LONGEST_DELAY)
    base = min(policy.restart_delay, bound)
    for random in randoms:
        verdict = state.verdict(OK, started_at=0, now=0, random=random)
        assert isinstance(verdict, RetryAfter)
        assert base <= verdict.delay <= LONGEST_DELAY
        assert verdict.delay <= bound + policy.restart_jitter
        if policy.backoff <= 1:
            expected = min(base + random * policy.restart_jitter, LONGEST_DELAY)
            assert verdict.delay == expected
        format_duration(verdict.delay)
