"""Texts that more than one command line shows."""

ENVIRONMENT = """\
Environment variables, each of which wins over the configuration file:
  OVERSEER_CONFIG         path of the configuration (wins over --config)
  OVERSEER_LISTEN         where to listen
  OVERSEER_PORT           TCP port, where neither the file nor OVERSEER_LISTEN says where to listen
  OVERSEER_DB             SQLite file of the history
  OVERSEER_LOG_FILE       JSONL event log
  OVERSEER_TRUSTED_CIDRS  networks that may connect
An empty variable counts as unset.
"""
