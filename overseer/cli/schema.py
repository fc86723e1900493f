"""``overseer schema``: the JSON Schema of the configuration file, for editors and checks."""

import json

from overseer.core.config.exec_driver import EXEC
from overseer.core.config.schema import config_schema


def print_schema() -> int:
    """Print the schema and return the exit status."""
    print(json.dumps(config_schema({"exec": EXEC}), indent=2, ensure_ascii=False))
    return 0
