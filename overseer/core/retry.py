"""Whether a task that has ended is started again, and when (protocol.md section 5, "Retries").

The policy comes from three layers, field by field: global, action, ``start``. Durations and instants are
seconds; the instants may come from a clock that steps, an interval that seems negative counts as 0.
"""

from typing import Any, Literal

import attrs

from overseer.core.process import Outcome

RestartOn = Literal["exit", "failure"]

LONGEST_DELAY = 100 * 365 * 86400.0
"""Seconds after which no wait grows any more; it can still be written as a duration."""


@attrs.frozen(kw_only=True)
class RetryPolicy:
    """When a task is started again; zero means off.

    ``restart_delay`` is waited before each restart, plus up to ``restart_jitter`` at random. With
    ``backoff`` above 1 the delay grows by that factor from restart to restart, up to ``max_delay``, and
    begins anew after a run of at least ``stable_after``. ``error_threshold`` exits within
    ``error_window`` (0 = ever) end it. ``restart_on="failure"`` lets a run that exits with one of
    ``success_exit_codes`` be the last. With ``release_slot`` the task waits without its pool slot.
    """

    restart_delay: float = 0.0
    restart_jitter: float = 0.0
    error_window: float = 0.0
    error_threshold: int = 0
    restart_on: RestartOn = "exit"
    success_exit_codes: tuple[int, ...] = (0,)
    backoff: float = 0.0
    max_delay: float = 0.0
    stable_after: float = 0.0
    release_slot: bool = False


@attrs.frozen(kw_only=True)
class PartialRetryPolicy:
    """The fields of a policy that one layer gives; None is one that it does not give."""

    restart_delay: float | None = None
    restart_jitter: float | None = None
    error_window: float | None = None
    error_threshold: int | None = None
    restart_on: RestartOn | None = None
    success_exit_codes: tuple[int, ...] | None = None
    backoff: float | None = None
    max_delay: float | None = None
    stable_after: float | None = None
    release_slot: bool | None = None

    def over(self, lower: "PartialRetryPolicy") -> "PartialRetryPolicy":
        """Return what holds when this layer lies on ``lower``: what is given here wins, zero included."""
        given = _given(self)
        return attrs.evolve(lower, **given) if given else lower

    def complete(self) -> RetryPolicy:
        """Return the whole policy, with defaults for what is not given."""
        return RetryPolicy(**_given(self))


Layer = PartialRetryPolicy | Literal[False]
"""What one place of the configuration says; ``retry: false`` puts away what lies below it."""

_NAMES = tuple(field.name for field in attrs.fields(PartialRetryPolicy))
NOTHING_GIVEN = PartialRetryPolicy()


def effective_policy(
    general: Layer, action: Layer, start: PartialRetryPolicy | None
) -> RetryPolicy | None:
    """Return the policy of a task, None if it is never restarted.

    ``start`` is the request's own object, None without one. It turns restarts on even when it is empty;
    the configuration does so only by a field.
    """
    configured = NOTHING_GIVEN
    for layer in (general, action):
        configured = layer.over(configured) if layer else NOTHING_GIVEN
    if start is not None:
        return start.over(configured).complete()
    return configured.complete() if _given(configured) else None


@attrs.frozen
class Complete:
    """The task has done what it should: it is not started again."""


@attrs.frozen
class RetryAfter:
    """Start again after ``delay`` seconds; ``attempt`` counts these in a row, from 1."""

    delay: float
    attempt: int


@attrs.frozen
class GiveUp:
    """The task is errored: ``exit_count`` exits came within the window."""

    exit_count: int


Verdict = Complete | RetryAfter | GiveUp


class RetryState:
    """What the unintentional exits of one task lead to; remembers ``error_threshold`` of them at most."""

    def __init__(self, policy: RetryPolicy | None) -> None:
        self._policy = policy
        self._exits: list[float] = []
        self._attempt = 0
        self._delay = 0.0

    def reset(self) -> None:
        """Forget all exits, as a ``reset`` of an errored task does."""
        self._exits.clear()
        self._attempt = 0

    def verdict(
        self, outcome: Outcome | None, *, started_at: float, now: float, random: float
    ) -> Verdict:
        """Return what follows a run that ended ``now`` without having been stopped.

        ``outcome`` is None for a run that cannot count as a success whatever its exit code: it could not
        be spawned, or a time limit ended it. ``random`` lies in [0, 1).
        """
        policy = self._policy
        if policy is None or (policy.restart_on == "failure" and _succeeded(outcome, policy)):
            return Complete()
        self._exits.append(now)
        del self._exits[: -policy.error_threshold or None]
        if self._is_too_often(policy, now):
            return GiveUp(len(self._exits))
        if policy.stable_after and now - started_at >= policy.stable_after:
            self._attempt = 0
        self._attempt += 1
        self._delay = self._next_delay(policy)
        # The jitter comes on top of max_delay: tasks that have all reached it shall not restart at once.
        delay = min(self._delay + random * policy.restart_jitter, LONGEST_DELAY)
        return RetryAfter(delay, self._attempt)

    def _is_too_often(self, policy: RetryPolicy, now: float) -> bool:
        if not policy.error_threshold or len(self._exits) < policy.error_threshold:
            return False
        return not policy.error_window or now - self._exits[0] <= policy.error_window

    def _next_delay(self, policy: RetryPolicy) -> float:
        # From the delay before, not by a power of the attempt: that overflows some day.
        delay = policy.restart_delay
        if self._attempt > 1:
            delay = self._delay * max(policy.backoff, 1.0)
        return min(delay, policy.max_delay or LONGEST_DELAY)


def _succeeded(outcome: Outcome | None, policy: RetryPolicy) -> bool:
    if outcome is None or outcome.signal is not None:
        return False
    return outcome.exit_code in policy.success_exit_codes


def _given(policy: PartialRetryPolicy) -> dict[str, Any]:
    # By hand, as every start needs it: attrs.asdict takes six times as long.
    values = ((name, getattr(policy, name)) for name in _NAMES)
    return {name: value for name, value in values if value is not None}
