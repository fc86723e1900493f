"""How many tasks a pool runs and lets wait, and what becomes of a surplus: as written, and as it holds.

An action's settings override the global ones key by key, except its size, which is its own.
"""

from collections.abc import Mapping
from typing import Any, Literal

import attrs

Order = Literal["first", "last"]
Displace = Literal["true", "false", "prohibit"]


@attrs.frozen(kw_only=True)
class ExcessPolicy:
    """What happens to tasks over the size.

    ``order`` "first" takes the longest running first; ``grace`` is in seconds, 0 = the action's own.
    """

    action: Literal["stop", "requeue", "none"] = "none"
    order: Order = "first"
    grace: float = 0.0


@attrs.frozen(kw_only=True)
class PoolLimits:
    """What holds for a pool.

    ``size`` tasks run at once (0 = unlimited) and ``queue_size`` wait (0 = no queue, None = any number),
    each for at most ``queue_timeout`` seconds (0 = for ever). ``order`` "first" lets the oldest go first.
    With ``displace`` "true" a full queue drops its oldest task for a new one; "false" and "prohibit"
    both reject the new one, since the forced starts that v2 lets in by "false" never wait here.
    """

    size: int = 0
    queue_size: int | None = 0
    queue_timeout: float = 0.0
    order: Order = "first"
    displace: Displace = "false"
    excess: ExcessPolicy = ExcessPolicy()


@attrs.frozen(kw_only=True)
class PoolSettings:
    """The keys of a pool that are written somewhere; None is one that is not.

    ``queue_bound`` is the number of waiting tasks where ``queue_enabled``, 0 = any number.
    """

    size: int | None = None
    queue_enabled: bool | None = None
    queue_bound: int | None = None
    queue_timeout: float | None = None
    order: Order | None = None
    displace: Displace | None = None
    excess_action: Literal["stop", "requeue", "none"] | None = None
    excess_order: Order | None = None
    excess_grace: float | None = None

    @classmethod
    def from_keys(cls, keys: Mapping[str, Any]) -> "PoolSettings":
        """Return the settings in ``keys``, checked before, named as in ``task_pool`` or ``set_pool``."""
        queue = keys.get("queue") or {}
        excess = keys.get("excess") or {}
        queue_size = keys.get("queue_size")
        # The flat key says both at once: 0 of them is no queue at all.
        enabled = None if queue_size is None else queue_size > 0
        return cls(
            size=_first_given(keys.get("size"), keys.get("limit")),
            queue_enabled=_first_given(queue.get("enabled"), enabled),
            queue_bound=_first_given(queue.get("size"), queue_size),
            queue_timeout=_first_given(queue.get("max_age"), keys.get("queue_timeout")),
            order=queue.get("order"),
            displace=queue.get("displace"),
            excess_action=excess.get("action"),
            excess_order=excess.get("order"),
            excess_grace=excess.get("grace"),
        )

    def over(self, lower: "PoolSettings") -> "PoolSettings":
        """Return what holds when these lie on ``lower``: what is written here wins."""
        written = attrs.asdict(self, filter=lambda _, value: value is not None)
        return attrs.evolve(lower, **written)

    def where_unchanged(self, before: "PoolSettings", after: "PoolSettings") -> "PoolSettings":
        """Return these without the keys whose value differs between ``before`` and ``after``."""
        names = attrs.fields_dict(PoolSettings)
        changed = [name for name in names if getattr(before, name) != getattr(after, name)]
        return attrs.evolve(self, **dict.fromkeys(changed))

    def for_actions(self) -> "PoolSettings":
        """Return these, the global ones, as what an action inherits: all but the size."""
        return attrs.evolve(self, size=None)

    def limits(self) -> PoolLimits:
        """Return what holds by these, with defaults for what is not written."""
        queue_size: int | None = 0
        if self.queue_enabled:
            queue_size = self.queue_bound or None
        return PoolLimits(
            size=self.size or 0,
            queue_size=queue_size,
            queue_timeout=self.queue_timeout or 0.0,
            order=self.order or "first",
            displace=self.displace or "false",
            excess=ExcessPolicy(
                action=self.excess_action or "none",
                order=self.excess_order or "first",
                grace=self.excess_grace or 0.0,
            ),
        )


def _first_given(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value
