"""Fill the tables of the pages in this folder from the definitions in the code.

``python docs/generate.py`` rewrites what stands between ``<!-- generated: NAME -->`` and ``<!-- end -->``
in every page here. With ``--check`` nothing is written: the differences are shown, and the exit status is
1 when there are any. Names, types, defaults and descriptions are read from the code and stand nowhere
else; a field or a key without a description is an error.
"""

import argparse
import ast
import difflib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # As a command it describes the checkout that it stands in; imported, what is installed.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from msgspec import Struct

from overseer import listeners, session, webhooks, websocket
from overseer._version import __version__
from overseer.cli import manual
from overseer.cli.help import ENVIRONMENT
from overseer.core import webhooks as webhook_rules
from overseer.core.config import exec_driver, policies, process_kinds, table
from overseer.core.config.kinds import WITHOUT_EFFECT, Group, Key, Kind, ListOf, MapOf, Scalar
from overseer.core.sizes import format_size
from overseer.core.template.functions import FUNCTIONS
from overseer.drivers import watch
from overseer.lifecycle import flow, machine, supervisor
from overseer.process import descriptors, group, pipes, streams
from overseer.process import input as process_input
from overseer.prometheus.families import FAMILIES
from overseer.protocol import outbox
from overseer.protocol.fields import FieldSpec, fields_of
from overseer.protocol.messages import MESSAGES, REQUESTS, Message, Request, tag_of
from overseer.web import connection, root, routes

DOCS = Path(__file__).resolve().parent
BLOCK = re.compile(
    r"(?P<start><!-- generated: (?P<name>[\w-]+) -->\n)(?P<body>.*?)(?P<end><!-- end -->)",
    re.DOTALL,
)
TYPES = {
    "string": "text",
    "integer": "whole number",
    "boolean": "`true` or `false`",
    "uuid": "text that names a task: a UUID, or any other text of at most "
    f"{supervisor.MAX_TASK_ID_SIZE} characters except `*`",
    "timestamp": "RFC 3339 text. From the server always in UTC, with six digits: "
    '`"2026-11-22T22:07:47.123456Z"`',
    "duration": 'text as Go writes it: `"5s"`, `"1m30s"`, `"250ms"`, `"1.5s"`, `"0s"`; not negative',
    "object": "JSON object",
}
"""What the types of fields are in JSON; enums, lists, maps and objects of ours explain themselves."""

RECIPIENTS = {
    "broadcast_subscribers": "the subscribers of the task",
    "broadcast": "every client",
}

TEMPLATE_FUNCTIONS = {
    "and": "the first argument that is empty, else the last one",
    "or": "the first argument that is not empty, else the last one",
    "not": "whether its argument is empty",
    "eq": "whether the first argument equals any of the others",
    "ne": "whether two arguments differ",
    "lt": "whether the first argument is less than the second",
    "le": "whether the first argument is less than the second, or equal",
    "gt": "whether the first argument is greater than the second",
    "ge": "whether the first argument is greater than the second, or equal",
    "len": "number of bytes of a text, or of entries of a map",
    "index": "the entry of a map by its name, or one byte of a text by its number",
    "slice": "part of a text, from one byte up to another",
    "print": "the arguments as text, with a blank between two that are no texts",
    "println": "the arguments as text, with blanks between them and a line end",
    "printf": "the arguments in a format: `%s`, `%q`, `%d`, `%05d` …",
    "html": "the arguments with HTML's special characters escaped",
    "js": "the arguments as the inside of a JavaScript string",
    "urlquery": "the arguments as a value within the query of a URL",
    "call": "nothing: there are no functions among the values, so it always fails",
}
"""What the functions yield; which there are and how many arguments they take is read from the code."""


# --------------------------------------------------------------------------------------- the protocol


def requests() -> str:
    """Return a section for each request."""
    return "\n".join(_request(request) for request in REQUESTS)


def messages() -> str:
    """Return a section for each message of the server."""
    return "\n".join(_message(message) for message in MESSAGES)


def objects() -> str:
    """Return a section for each JSON object that occurs within messages."""
    parts = []
    for struct in _structs():
        fields = fields_of(struct)
        text = f"### {struct.__name__}\n\n{_summary(struct)}\n"
        parts.append(f"{text}\n{_field_table(struct)}" if fields else text)
    return "\n".join(parts)


def kinds() -> str:
    """Return the table of the types of fields."""
    used = {field.kind for struct in _all_structs() for field in _with_items(fields_of(struct))}
    plain = used - {"enum", "array", "map", "struct"}
    return _table(("type", "in JSON"), [(f"`{kind}`", TYPES[kind]) for kind in sorted(plain)])


def operations() -> str:
    """Return the table of the manifest's operations."""
    rows = []
    for request in REQUESTS:
        direct = [*request.direct, *(["error"] if request.can_fail else [])]
        effects = [
            f"{_code(names)} to {RECIPIENTS[delivery]}"
            for delivery, names in request.side_effects.items()
        ]
        rows.append(
            (
                f"`{request.operation}`",
                f"`{tag_of(request)}`",
                _code(direct),
                "; ".join(effects),
            )
        )
    return _table(("operation", "request", "to the caller", "to others"), rows)


def _request(request: type[Request]) -> str:
    rows = [
        (
            f"`{field.name}`",
            _type_name(field),
            "yes" if field.required else "no",
            _json_default(field),
            _described(request, field),
        )
        for field in fields_of(request)
    ]
    fields = _table(("field", "type", "required", "default", "meaning"), rows)
    answers = _code([*request.direct, *(["error"] if request.can_fail else [])])
    if any(field.name == "ack" for field in fields_of(request)):
        answers += ", and `ack` if it asks for one"
    answers += "." if request.for_viewers else ". A viewer may not use it."
    return f"### `{tag_of(request)}`\n\n{_summary(request)}\n\n{fields}\nIt is answered by: {answers}\n"


def _message(message: type[Message]) -> str:
    names = {field.name for field in fields_of(message)}
    caller = "the client that asked" if "id" in names else "the client that it is about"
    to = RECIPIENTS.get(message.delivery, caller)
    heading = f"### `{tag_of(message)}`"
    if tag_of(message) in map(tag_of, REQUESTS):
        heading += " (answer)"
    return f"{heading}\n\n{_summary(message)} To: {to}.\n\n{_field_table(message)}"


def _field_table(struct: type[Struct]) -> str:
    rows = []
    for field in fields_of(struct):
        optional = not field.required and struct.__struct_config__.omit_defaults
        there = "always" if not optional else "if true" if field.default is False else "if known"
        rows.append((f"`{field.name}`", _type_name(field), there, _described(struct, field)))
    return _table(("field", "type", "present", "meaning"), rows)


def _type_name(field: FieldSpec) -> str:
    if field.kind == "enum":
        return ", ".join(f"`{value}`" for value in field.values)
    if field.struct is not None:
        return f"[{field.type_name}](#{field.type_name.lower()})"
    if field.item is not None:
        return f"{'list' if field.kind == 'array' else 'map'} of {_type_name(field.item)}"
    return field.kind


def _json_default(field: FieldSpec) -> str:
    if field.required or field.default is None:
        return ""
    return f"`{str(field.default).lower()}`"


def _described(struct: type[Struct], field: FieldSpec) -> str:
    if not field.description:
        raise SystemExit(f"{struct.__name__}.{field.name} has no description")
    return field.description


def _summary(struct: type[Struct]) -> str:
    return " ".join((struct.__doc__ or "").split())


def _structs() -> list[type[Struct]]:
    """Return the objects within messages, in the order of their first use."""
    found: dict[type[Struct], None] = {}

    def visit(struct: type[Struct]) -> None:
        for field in _with_items(fields_of(struct)):
            if field.struct is not None and field.struct not in found:
                found[field.struct] = None
                visit(field.struct)

    for struct in (*REQUESTS, *MESSAGES):
        visit(struct)
    return list(found)


def _all_structs() -> Iterator[type[Struct]]:
    yield from REQUESTS
    yield from MESSAGES
    yield from _structs()


def _with_items(fields: Iterable[FieldSpec]) -> Iterator[FieldSpec]:
    for field in fields:
        yield field
        if field.item is not None:
            yield from _with_items([field.item])


# ---------------------------------------------------------------------------------- the configuration


def top_level_keys() -> str:
    """Return the table of the keys at the top of a configuration."""
    # Actions, pools and retry policies have tables of their own.
    return _keys(table.CONFIG, without=("actions", "task_pool", "retry"))


def action_keys() -> str:
    """Return the table of the keys of an action."""
    return _keys(table.ACTION, without=("task_pool", "retry"))


def exec_keys() -> str:
    """Return the table of the keys of the exec driver."""
    return _keys(exec_driver.EXEC)


def watch_keys() -> str:
    """Return the table of the keys of the watch driver."""
    return _keys(watch.WATCH)


def pool_keys() -> str:
    """Return the table of the keys of a task pool."""
    return _status("task_pool") + _keys(policies.TASK_POOL)


def retry_keys() -> str:
    """Return the table of the keys of a retry policy."""
    return _status("retry") + _keys(policies._RETRY_KEYS)


def _status(name: str) -> str:
    (key,) = (key for key in table.CONFIG.keys if key.name == name)
    return f"`{name}`, at the top and in an action: {key.description}.\n\n"


def _keys(top: Group, without: Sequence[str] = ()) -> str:
    rows = []
    for path, key in _walk(top, ""):
        if path in without:
            continue
        meaning = key.description
        if key.environment is not None:
            meaning += f"; set by `{key.environment}`, too"
        if key.dead:
            text = WITHOUT_EFFECT + key.note
            meaning += f". **{text[0].upper()}{text[1:]}**"
        rows.append((f"`{path}`", _expected(key.kind), _default(key), meaning))
    return _table(("key", "value", "default", "meaning"), rows)


def _walk(top: Group, prefix: str) -> Iterator[tuple[str, Key]]:
    """Yield every key with its path."""
    for key in top.keys:
        path = prefix + key.name
        yield path, key
        inner = _inner(key.kind)
        # The tables of policies.py are told once, and an action is told by itself.
        if inner is not None and inner is not table.ACTION:
            several = {MapOf: ".NAME", ListOf: "[]"}.get(type(key.kind), "")
            yield from _walk(inner, f"{path}{several}.")


def _inner(kind: Kind) -> Group | None:
    """Return the group of keys below a key, where it is not told elsewhere or in a word."""
    if kind is policies.TASK_POOL or kind is process_kinds.RLIMITS:
        return None
    if isinstance(kind, Group):
        return kind
    if isinstance(kind, MapOf | ListOf):
        return _inner(kind.item)
    if isinstance(kind, exec_driver._Parameter):
        return exec_driver._PARAMETER
    return None


def _expected(kind: Kind) -> str:
    if isinstance(kind, Scalar | ListOf | MapOf):
        return kind.expected
    if kind is process_kinds.RLIMITS:
        names = _code(key.name for key in process_kinds.RLIMITS.keys)
        return f"a mapping from {names} to {process_kinds.LIMIT.expected}, or to `{{soft, hard}}`"
    return "a mapping"


def _default(key: Key) -> str:
    if key.required:
        return "*required*"
    if key.default is None or key.default in ("", (), {}):
        return ""
    value = key.kind.written(key.default)
    if isinstance(value, list):
        return f"`{', '.join(value)}`"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def paths() -> str:
    """Return the table of the plain HTTP paths."""
    rows = []
    for route in routes.ROUTES:
        answers = [f"{status}: {meaning}" for status, meaning in route.answers.items()]
        rows.append((f"`{route.path}`", route.summary, "; ".join(answers)))
    return _table(("path", "what it is", "answers"), rows)


def metrics() -> str:
    """Return the table of what ``GET /metrics`` tells."""
    rows = [
        (f"`{family.told_name}`", _code(family.labels), family.kind, family.help)
        for family in FAMILIES
    ]
    return _table(("name", "labels", "kind", "what it is"), rows)


def environment() -> str:
    """Return what the command line says about environment variables."""
    return f"```text\n{ENVIRONMENT}```\n"


def exit_statuses() -> str:
    """Return the table of the exit statuses of the commands."""
    return _table(("status", "meaning"), manual.statuses())


def template_functions() -> str:
    """Return the table of the functions that templates can call."""
    if FUNCTIONS.keys() != TEMPLATE_FUNCTIONS.keys():
        raise SystemExit(f"template functions: {FUNCTIONS.keys() ^ TEMPLATE_FUNCTIONS.keys()}")
    rows = []
    for name, meaning in TEMPLATE_FUNCTIONS.items():
        function = FUNCTIONS[name]
        count = str(function.least)
        if function.most is None:
            count += " or more"
        elif function.most != function.least:
            count += f" to {function.most}"
        rows.append((f"`{name}`", count, meaning))
    return _table(("function", "arguments", "result"), rows)


# ------------------------------------------------------------------------------------ the architecture


def fixed_values() -> str:
    """Return the table of the times and sizes that no key changes."""
    seconds, size = "{:g} s".format, format_size
    times = [
        ("time for a whole HTTP request, TLS handshake included", connection.REQUEST_DEADLINE),
        ("time that an idle HTTP connection is kept", root.IDLE_TIMEOUT),
        ("time for the WebSocket handshake", websocket.HANDSHAKE_TIMEOUT),
        ("time for webhooks to take what they are owed at the end", webhooks.CLOSE_TIMEOUT),
        ("time between two pings", websocket.PING_INTERVAL),
        ("time for the answer to a ping", websocket.PING_TIMEOUT),
        ("time for clients to take what they are owed at the end", websocket.CLOSE_TIMEOUT),
        ("time for requests of one client before others get a turn", session.TURN),
        ("time that a child is held while no subscriber takes anything", flow.PATIENCE),
        ("time that output is read on after the exit", machine.DRAIN_DEADLINE),
        ("time between SIGTERM and SIGKILL for leftovers", group.LEFTOVER_GRACE),
        ("time after SIGKILL after which a process is given up", machine.UNKILLABLE_AFTER),
    ]
    sizes = [
        ("requests that wait for one client, above which it is not read", session.BACKLOG_SIZE),
        ("bytes queued for a subscriber, above which it is behind", outbox.BEHIND_SIZE),
        ("bytes of one read of a pipe", pipes.READ_SIZE),
        ("bytes of the last read of a pipe that somebody holds open", pipes.FINAL_READ_SIZE),
        ("input that may wait for a child to read it", process_input.BUFFER_SIZE),
    ]
    numbers = [
        ("file descriptors of a running task", descriptors.DESCRIPTORS_PER_TASK),
        ("rows of a terminal before the first `resize`", streams.ROWS),
        ("columns of a terminal before the first `resize`", streams.COLUMNS),
        ("file descriptors kept back for everything else", descriptors.RESERVED_DESCRIPTORS),
        ("connections of a listener that may wait to be accepted", listeners.BACKLOG),
        ("connections beyond `limits.connections` that get an answer", connection.OVERFLOW),
        ("events that wait for a webhook", webhook_rules.QUEUE_SIZE),
        ("attempts to deliver an event to a webhook", webhook_rules.ATTEMPTS),
        ("characters of a task id", supervisor.MAX_TASK_ID_SIZE),
    ]
    rows = [
        *((what, seconds(value)) for what, value in times),
        *((what, size(value)) for what, value in sizes),
        *((what, str(value)) for what, value in numbers),
    ]
    return _table(("what", "value"), rows)


def states() -> str:
    """Return the table of the states of a task: every transition that leads elsewhere."""
    automaton = machine.new_machine.__automat_automaton__
    exits: dict[str, list[str]] = {}
    for start, happening, end, _ in automaton.allTransitions():
        if start.name != end.name:
            exits.setdefault(start.name, []).append(f"`{happening}` → {end.name}")
    rows = [(f"`{state}`", ", ".join(sorted(ways))) for state, ways in sorted(exits.items())]
    return _table(("state", "what leads out of it, and where to"), rows)


def modules() -> str:
    """Return the table of the modules of the package, by the first sentences of their docstrings."""
    spec = importlib.util.find_spec("overseer")
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    rows = []
    for path in sorted(package.rglob("*.py"), key=lambda path: _place(package, path)):
        name = str(path.relative_to(package))
        if path.name == "__init__.py":
            name = name.removesuffix("__init__.py")
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        if name and docstring:
            rows.append((f"`{name}`", _first_sentence(docstring)))
    return _table(("module", "what it does"), rows)


def _place(package: Path, path: Path) -> tuple[bool, str, bool, str]:
    """Sort folders before what lies at the top, and a package before its modules."""
    folder = str(path.relative_to(package).parent)
    return folder == ".", folder, path.name != "__init__.py", path.name


def _first_sentence(docstring: str) -> str:
    paragraph = " ".join(docstring.partition("\n\n")[0].split())
    sentence = re.split(r"(?<=[.!?])\s", paragraph)[0]
    sentence = re.sub(r":\w+:`~?([^`]*)`", r"`\1`", sentence)
    return sentence.removesuffix(".").replace("``", "`")


# ------------------------------------------------------------------------------------------- the pages


BLOCKS: dict[str, Callable[[], str]] = {
    "requests": requests,
    "messages": messages,
    "objects": objects,
    "types": kinds,
    "operations": operations,
    "paths": paths,
    "metrics": metrics,
    "top-level-keys": top_level_keys,
    "action-keys": action_keys,
    "exec-keys": exec_keys,
    "watch-keys": watch_keys,
    "pool-keys": pool_keys,
    "retry-keys": retry_keys,
    "environment": environment,
    "template-functions": template_functions,
    "fixed-values": fixed_values,
    "states": states,
    "modules": modules,
    "commands": manual.commands_markdown,
    "shared-options": manual.shared_options_markdown,
    "exit-statuses": exit_statuses,
}


def filled(page: str) -> str:
    """Return the text of a page with its generated parts made anew."""

    def fill(match: re.Match[str]) -> str:
        name = match["name"]
        if name not in BLOCKS:
            raise SystemExit(f"nothing is generated under the name {name}")
        return f"{match['start']}\n{BLOCKS[name]()}\n{match['end']}"

    if page.count("<!-- generated:") != len(BLOCK.findall(page)):
        raise SystemExit("a generated part has no <!-- end -->")
    return BLOCK.sub(fill, page)


def pages() -> list[Path]:
    """Return the pages of this folder, the man page among them, which is generated as a whole."""
    return sorted([*DOCS.glob("*.md"), *DOCS.glob("*.1")])


def _renewed(page: Path) -> str:
    if page.suffix == ".1":
        return manual.manual_page(__version__)
    return filled(page.read_text(encoding="utf-8"))


def difference(page: Path) -> str:
    """Return what would change in a page, as a unified diff; empty when nothing does."""
    present = page.read_text(encoding="utf-8")
    name = page.name
    changes = difflib.unified_diff(
        present.splitlines(keepends=True),
        _renewed(page).splitlines(keepends=True),
        f"{name} (as it is)",
        f"{name} (as the code says)",
    )
    return "".join(changes)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description="Fill the tables of the pages from the code.")
    parser.add_argument("--check", action="store_true", help="only show what is out of date")
    options = parser.parse_args(arguments)
    out_of_date = 0
    for page in pages():
        changes = difference(page)
        if not changes:
            continue
        out_of_date += 1
        if options.check:
            print(changes, end="")
        else:
            page.write_text(_renewed(page), encoding="utf-8")
            print(f"updated {page.name}")
    return 1 if options.check and out_of_date else 0


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(
        "| " + " | ".join(str(cell).replace("|", "\\|") for cell in line) + " |\n" for line in lines
    )


def _code(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    sys.exit(main())
