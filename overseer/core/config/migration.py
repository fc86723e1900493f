"""What a configuration of sticky-overseer v2 does differently here: of one file by its keys, and in general.

It looks at what is written and no further: what is wrong with a file, load.py tells.
"""

from collections.abc import Iterator

from overseer.core.config.section import Section
from overseer.core.durations import parse_duration
from overseer.core.listen import Address, StdioAddress, UnixAddress, parse_listen
from overseer.core.yaml_source import Document, Problem

GENERAL_DIFFERENCES = (
    "SIGKILL follows SIGTERM when the stop grace (5 s) is over, to the whole process group;"
    " a second stop is harmless",
    "what a task leaves behind in its process group ends with it, and never delays exited",
    "a finished task id can be started again; seq and replay go on across the runs of a task",
    "finished tasks are forgotten after 24 h or 1,000 others (retain)",
    "lines above 1 MiB come in pieces, partial on all but the last (limits.line_size)",
    "a client that does not read delays nobody; what it missed it is told by lagged",
    "a task leaves the queue with one dequeued message",
    "unknown keys, wrong types and an entrypoint that clients could choose are errors at start-up",
)
"""What holds whatever the file says."""

_Found = Iterator[tuple[Section, str]]


def differences(document: Document) -> tuple[Problem, ...]:
    """Return what this very file makes differ from v2, in the order of the file."""
    root = Section(document)
    actions = root.at("actions")
    found = [*_access(root), *_event_log(root), *_retry(root), *_pool(root)]
    for name in actions.names:
        action = actions.at(name)
        found += [*_retry(action), *_pool(action), *_conditions(action)]
    found.sort(key=lambda pair: document.line(pair[0].path))
    return tuple(section.problem((), text) for section, text in found)


def _access(root: Section) -> _Found:
    listen = root.at("listen")
    addresses = list(_addresses(listen))
    by_network = any(not isinstance(a, UnixAddress | StdioAddress) for a in addresses)
    if by_network and not root.at("allowed_origins").value:
        yield (
            listen,
            "web pages of other origins are refused now: allowed_origins lists those that may connect",
        )
    if by_network and root.at("trusted_cidrs").value:
        yield (
            root.at("trusted_cidrs"),
            "holds for every path now; clients of this machine need loopback among the networks",
        )
    private = any(isinstance(a, UnixAddress) and a.mode is None for a in addresses)
    if private and root.at("unix_mode").value is None:
        yield listen, "the Unix socket is for its own user alone (mode 0600): unix_mode opens it"


def _addresses(listen: Section) -> Iterator[Address]:
    value = listen.value
    count = len(value) if isinstance(value, list) else 0
    places = [listen.at(index) for index in range(count)] if count else [listen]
    for place in places:
        try:
            yield parse_listen(place.text or ":8080")
        except ValueError:
            continue


def _event_log(root: Section) -> _Found:
    if root.at("log_file").value and root.at("log_rotate").value is None:
        yield root.at("log_file"), "starts anew at 50 MiB, 10 old files are kept: log_rotate"


def _retry(owner: Section) -> _Found:
    retry = owner.at("retry")
    if all(retry.at(name).value is None for name in retry.names):
        return
    if retry.at("restart_on").value == "failure":
        exits = "an exit code of failure or a signal"
    else:
        exits = "every exit, code 0 too (restart_on: failure leaves that out)"
    yield retry, f"applies now, v2 never did it: a task is started again after {exits}"


def _pool(owner: Section) -> _Found:
    pool = owner.at("task_pool")
    queue = pool.at("queue")
    size, limit = pool.at("size"), pool.at("limit")
    if limit.value:
        yield limit, "holds for restarts and resets now, too"
    elif size.value:
        yield size, f"counts now, in v2 only limit did: at most {size.text} tasks run at once"
    slots = pool.at("queue_size")
    if slots.value and queue.at("size").value is None:
        yield slots, f"counts now, in v2 only queue.size did: at most {slots.text} tasks wait"
    timeout = pool.at("queue_timeout")
    if _lasts(timeout) and queue.at("max_age").value is None:
        yield (
            timeout,
            f"counts now, in v2 only queue.max_age did: a task waits {timeout.text} at most",
        )
    if queue.at("displace").text == "true":
        yield (
            queue.at("displace"),
            "a full queue drops its oldest task that was not forced, told once as displaced",
        )


def _lasts(duration: Section) -> bool:
    try:
        return parse_duration(duration.text or "") > 0
    except ValueError:
        return False


def _conditions(action: Section) -> _Found:
    config = action.at("config")
    for stream in ("stdout", "stderr"):
        flat = config.at(f"{stream}_condition")
        if flat.value and config.at("output", stream, "condition").value is None:
            yield (
                flat,
                f"counts now, in v2 only output.{stream}.condition did: other lines are left out",
            )
