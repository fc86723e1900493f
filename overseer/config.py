"""What a driver describes its part of the configuration with: a Group of Keys, each of some kind.

>>> KEYS = Group(keys=(Key("every", DURATION, default=60.0, description="time between two looks"),))

Overseer reads ``config:`` by such a table: every mistake is told with its line, and the schema that editors use
knows the keys.
"""

from overseer.core.config.kinds import Group, Key, Kind, ListOf, MapOf, Scalar, Schema, UnfitError
from overseer.core.config.scalars import (
    ANYTHING,
    BOOL,
    DURATION,
    NAME,
    TEXT,
    choice,
    integer,
    size,
)
from overseer.core.config.section import ConfigError, Report, Section

__all__ = [
    "ANYTHING",
    "BOOL",
    "DURATION",
    "NAME",
    "TEXT",
    "ConfigError",
    "Group",
    "Key",
    "Kind",
    "ListOf",
    "MapOf",
    "Report",
    "Scalar",
    "Schema",
    "Section",
    "UnfitError",
    "choice",
    "integer",
    "size",
]
