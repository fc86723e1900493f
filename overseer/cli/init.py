"""``overseer init``: a configuration to begin with, every key in it with what it means.

The keys come from the tables that also check a configuration, so that none is missing and none is stale. All
but a few are comments: taken away, their ``# `` leaves the default, or a key that still wants a value.
"""

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from overseer.cli.exit_status import CommandError, ExitStatus
from overseer.core.config.exec_driver import EXEC
from overseer.core.config.kinds import Group, Key, Kind, ListOf, MapOf
from overseer.core.config.policies import RETRY
from overseer.core.config.process_kinds import RLIMITS
from overseer.core.config.table import ACTION, CONFIG

# A second way to say what another key says, for configurations of v2: a new one has no use for it.
_OTHER_SPELLINGS = frozenset({"limit", "queue", "meta", "stdout_condition", "stderr_condition"})
_TOLD_BY_HAND = frozenset({"listen", "actions", "type", "description", "config"})
_TOLD_IN_EXAMPLE = frozenset({"entrypoint", "command", "parameters"})

_HEAD = """\
# The configuration of overseer. What is a comment here is the default, or a key without one.
# `overseer check` finds every mistake in it, `overseer doctor` looks at the machine as well.
# A running daemon reads it again on SIGHUP.

# Where to listen: host:port, ":8080" for every interface, unix:/path, or a list of them. Before other machines
# may connect, give them tokens: see auth below.
listen: "127.0.0.1:8080"

"""
_ACTIONS = """\
# What clients may start. Nothing else is ever run, and no shell is involved: one element is one argument.
actions:
  hello:
    type: exec
    description: Says hello, once a second
    config:
      entrypoint: sh
      # A parameter is an argument of the script, never a part of its text.
      command: ["-c", 'for i in $(seq $2); do echo "hello $1"; sleep 1; done', "sh", "[[.name]]", "[[.times]]"]
      parameters:
        name: {default: "world", description: Who is greeted}
        times: {default: "3", validate: "int(value) <= 100", description: How often}
"""


def write_config(path: Path) -> None:
    """Write the configuration to a new file that only its owner may read.

    :raises CommandError: when there is such a file already, or it cannot be written.
    """
    try:
        # It is the place for tokens.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(example_config())
    except FileExistsError:
        raise CommandError(
            ExitStatus.FAILED, f"{path} is there already", "nothing was written; name another file"
        ) from None
    except OSError as error:
        raise CommandError(ExitStatus.FAILED, f"cannot write {path}", str(error.strerror)) from None


def example_config() -> str:
    """Return the text of the configuration."""
    top = _commented(CONFIG.keys, "", without=_TOLD_BY_HAND)
    driver = _commented(EXEC.keys, " " * 6, without=_TOLD_IN_EXAMPLE)
    action = _commented(ACTION.keys, " " * 4, without=_TOLD_BY_HAND)
    return "".join([_HEAD, *top, "\n", _ACTIONS, *driver, *action])


def _commented(
    keys: Iterable[Key], indent: str, without: frozenset[str], inner: str = ""
) -> Iterator[str]:
    for key in keys:
        if key.dead or key.name in without | _OTHER_SPELLINGS:
            continue
        group = _group(key.kind)
        if group is None:
            yield f"{indent}# {inner}{key.name}:{_value(key)}  # {key.description}\n"
        else:
            yield f"{indent}# {inner}{key.name}:  # {key.description}\n"
            yield from _commented(group.keys, indent, without, inner + "  ")


def _group(kind: Kind) -> Group | None:
    """Return the keys below, where all of them may be left out and are not many of a kind."""
    group = RETRY.group if kind is RETRY else kind
    if not isinstance(group, Group) or _wants_something(group):
        return None
    return None if group is RLIMITS else group


def _wants_something(kind: Kind) -> bool:
    return isinstance(kind, Group) and any(
        key.required or _wants_something(key.kind) for key in kind.keys
    )


def _value(key: Key) -> str:
    if key.default is not None and not isinstance(key.kind, Group):
        return f" {json.dumps(key.kind.written(key.default), ensure_ascii=False)}"
    if isinstance(key.kind, ListOf | MapOf):
        return " []" if isinstance(key.kind, ListOf) else " {}"
    return ""
