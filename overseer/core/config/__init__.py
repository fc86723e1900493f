"""What may be configured, what it means, and what is wrong with a configuration.

table.py and exec_driver.py describe every key; load.py reads a text by these tables;
changes.py compares what was read twice.
"""

from overseer.core.config.changes import Changes, keep_until_restart
from overseer.core.config.exec_driver import ExecConfig, Parameter
from overseer.core.config.kinds import Group, Key, Kind, Schema, read_keys
from overseer.core.config.load import default_config, load_config
from overseer.core.config.model import ActionConfig, Config, Limits, Retain
from overseer.core.config.section import ConfigError, Report, Section
from overseer.core.yaml_source import Problem

__all__ = [
    "ActionConfig",
    "Changes",
    "Config",
    "ConfigError",
    "ExecConfig",
    "Group",
    "Key",
    "Kind",
    "Limits",
    "Parameter",
    "Problem",
    "Report",
    "Retain",
    "Schema",
    "Section",
    "default_config",
    "keep_until_restart",
    "load_config",
    "read_keys",
]
