"""``overseer schema``: the JSON Schema of the configuration file, for editors and checks."""

import json

from overseer.core.config.schema import config_schema
from overseer.drivers.registry import installed_drivers


def print_schema() -> int:
    """Print the schema and return the exit status."""
    print(json.dumps(config_schema(installed_drivers().keys), indent=2, ensure_ascii=False))
    return 0
