"""Texts that more than one command line shows."""

from collections.abc import Mapping
from types import MappingProxyType

DAEMON_VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "OVERSEER_CONFIG": "path of the configuration (wins over --config)",
        "OVERSEER_LISTEN": "where to listen",
        "OVERSEER_PORT": "TCP port, where neither the file nor OVERSEER_LISTEN says where to listen",
        "OVERSEER_DB": "SQLite file of the history",
        "OVERSEER_LOG_FILE": "JSONL event log",
        "OVERSEER_TRUSTED_CIDRS": "networks that may connect",
    }
)
"""The environment variables of the daemon, with what they mean."""

CLIENT_VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "OVERSEER_URL": "the daemon that commands talk to",
        "OVERSEER_TOKEN": "the token that they show it",
        "NO_COLOR": "no colours, if it is not empty",
    }
)
"""Those of the commands that talk to one."""


def _lines(variables: Mapping[str, str]) -> str:
    return "".join(f"  {name:<22}  {meaning}\n" for name, meaning in variables.items())


ENVIRONMENT = f"""\
Environment variables, each of which wins over the configuration file:
{_lines(DAEMON_VARIABLES)}An empty variable counts as unset.
"""

CLIENT_ENVIRONMENT = f"""\
Environment variables of the commands:
{_lines(CLIENT_VARIABLES)}"""
