"""The JSON Schema (2020-12) of a configuration file, made from the tables of keys: for editors and checks.

It says less than load.py: where two keys disagree, or whether a template compiles, no schema can tell.
Keys of v2 that have no effect any more are ``deprecated``.
"""

from collections.abc import Mapping

from overseer.core.config.kinds import Kind, Schema
from overseer.core.config.table import ACTION, CONFIG


def config_schema(drivers: Mapping[str, Kind]) -> Schema:
    """Return the schema; ``drivers`` maps the ``type`` of an action to what its ``config`` may be."""
    schema = CONFIG.schema()
    schema["properties"]["actions"]["additionalProperties"] = {
        **ACTION.schema(),
        "allOf": [_config_of(name, kind) for name, kind in drivers.items()],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of overseer",
        **schema,
    }


def _config_of(driver: str, kind: Kind) -> Schema:
    return {
        "if": {"properties": {"type": {"const": driver}}, "required": ["type"]},
        "then": {"properties": {"config": kind.schema()}, "required": ["config"]},
    }
