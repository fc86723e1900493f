"""What differs between two configurations, in the words of the file."""

from collections.abc import Iterable
from operator import attrgetter

import attrs

from overseer.core.config.model import Config

NEEDS_RESTART = frozenset(
    {"listen", "unix_mode", "limits", "db", "history", "log_file", "log_rotate", "webhooks"}
)
"""Fields of a configuration that hold as they were until the daemon is started anew."""
_WRITTEN_ELSEWHERE = {"tokens": "auth.tokens"}
_NOT_WRITTEN = frozenset({"actions", "token_variables", "warnings"})


@attrs.frozen(kw_only=True)
class Changes:
    """The names of the actions that are new, changed and removed, and of the fields with another value."""

    new: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    fields: tuple[str, ...]

    @classmethod
    def between(cls, before: Config, after: Config) -> "Changes":
        """Compare two configurations; where in the file something stands makes no difference."""
        names = [field.name for field in attrs.fields(Config) if field.name not in _NOT_WRITTEN]
        return cls(
            new=tuple(name for name in after.actions if name not in before.actions),
            changed=tuple(
                name
                for name, action in after.actions.items()
                if before.actions.get(name, action) != action
            ),
            removed=tuple(name for name in before.actions if name not in after.actions),
            fields=tuple(
                name for name in names if attrgetter(name)(before) != attrgetter(name)(after)
            ),
        )

    @property
    def waiting(self) -> tuple[str, ...]:
        """The keys that take effect only when the daemon is started anew."""
        return _keys(name for name in self.fields if name in NEEDS_RESTART)

    def __str__(self) -> str:
        effective = _keys(name for name in self.fields if name not in NEEDS_RESTART)
        parts = {
            "new actions": self.new,
            "changed actions": self.changed,
            "removed actions": self.removed,
            "changed keys": effective,
        }
        told = (f"{what}: {', '.join(names)}" for what, names in parts.items() if names)
        return "; ".join(told) or "nothing changed"


def keep_until_restart(before: Config, after: Config) -> Config:
    """Return ``after`` as a daemon that runs with ``before`` can take it over."""
    kept = {name: attrgetter(name)(before) for name in NEEDS_RESTART}
    return attrs.evolve(after, **kept)


def _keys(fields: Iterable[str]) -> tuple[str, ...]:
    return tuple(_WRITTEN_ELSEWHERE.get(name, name) for name in fields)
