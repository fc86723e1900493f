"""Which task or action somebody means: ids by a unique prefix, and what may have been misspelt."""

import difflib
import re
from collections.abc import Iterable

from overseer.cli.exit_status import CommandError, ExitStatus

_SHOWN = 5
_SHORTEST = 8
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return ``did you mean "…"?`` with the closest of the known names, empty when none is close."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f'did you mean "{close[0]}"?' if close else ""


def find_task(text: str, ids: Iterable[str]) -> str:
    """Return the id that ``text`` is, or the only one that begins with it.

    :raises CommandError: when there is none, or more than one.
    """
    known = list(ids)
    if text in known:
        return text
    found = [task_id for task_id in known if text and task_id.startswith(text)]
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(found[:_SHOWN]) + (", …" if len(found) > _SHOWN else "")
        raise CommandError(
            ExitStatus.NO_TASK,
            f'{len(found)} tasks begin with "{text}"',
            f"give more of it ({shown})",
        )
    advice = did_you_mean(text, known) or "`overseer ls` lists the tasks"
    raise CommandError(ExitStatus.NO_TASK, f'no such task "{text}"', advice)


def no_such_action(name: str, known: Iterable[str]) -> CommandError:
    """Return the error that says so."""
    names = list(known)
    advice = did_you_mean(name, names)
    if not advice:
        advice = f"there are {', '.join(names[:_SHOWN])}" if names else "the daemon has no actions"
        if len(names) > _SHOWN:
            advice += f" and {len(names) - _SHOWN} more, see `overseer actions`"
    return CommandError(ExitStatus.NO_ACTION, f'no such action "{name}"', advice)


def short_ids(ids: Iterable[str]) -> dict[str, str]:
    """Return for each id what a person needs of it: of a UUID the shortest beginning that is unique here."""
    known = sorted(set(ids))
    short = {}
    for number, task_id in enumerate(known):
        neighbours = (*known[max(0, number - 1) : number], *known[number + 1 : number + 2])
        size = _SHORTEST
        while any(other.startswith(task_id[:size]) for other in neighbours):
            size += 1
        short[task_id] = task_id[:size] if _UUID.fullmatch(task_id) else task_id
    return short
