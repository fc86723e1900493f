"""Every block of code in the documentation is one: it loads, decodes, compiles or parses as what it is.

``pages.py`` says how a block is marked that is run, too (``integration/test_docs_runs.py``), or only shown.
"""

import ast
import configparser
import importlib
import importlib.util
import json
import re
import shlex
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from pages import BLOCKS, FENCE, PAGES, ROOT, Block, checked

import overseer
from overseer.cli import main as overseer_main
from overseer.core.config import load_config
from overseer.core.config.schema import config_schema
from overseer.core.yaml_source import load_yaml
from overseer.drivers import registry
from overseer.drivers.registry import installed_drivers
from overseer.protocol.codec import decode_request
from overseer.protocol.fields import fields_of
from overseer.protocol.messages import MESSAGES, REQUESTS, tag_of
from overseer.tap import Options
from overseer.web.routes import ROUTES

KINDS = {
    "yaml": "loads as a configuration",
    "json": "decodes as messages of the protocol",
    "text": "lines with arrows decode as messages of the protocol",
    "python": "compiles, and what it imports of overseer is there",
    "sh": "calls commands that there are, with options that they have",
    "ini": "parses, and starts commands that there are",
    "toml": "parses",
    "nginx": "nothing: there is no nginx in the tests",
    "js": "names requests, messages and fields that there are",
    "html": "names requests, messages and fields that there are",
    "{include}": "nothing: it belongs to the site",
    "{toctree}": "nothing: it belongs to the site",
    "": "nothing: it is what a command prints, or a picture",
}
"""What is asked of the blocks of each kind."""

OTHER_PROGRAMS = {
    "cd",
    "docker",
    "export",
    "ffmpeg",
    "head",
    "less",
    "openssl",
    "pip",
    "printf",
    "systemctl",
    "useradd",
    "websocketd",
}
"""What may be called without a look at its arguments."""

DRIVERS = installed_drivers()
SCHEMA = Draft202012Validator(config_schema(DRIVERS.keys))
_REQUESTS = {tag_of(kind): kind for kind in REQUESTS}
_MESSAGES = {tag_of(kind): kind for kind in MESSAGES}


def by_name(found: list[Block]) -> Any:
    """Parametrize a test with blocks."""
    return pytest.mark.parametrize("block", found, ids=lambda block: block.name)


def test_every_kind_of_block_is_known() -> None:
    """A new kind needs a word about what its blocks must be."""
    unknown = {block.name: block.kind for block in BLOCKS if block.kind not in KINDS}
    assert not unknown


def test_few_blocks_are_only_shown() -> None:
    """What nothing checks goes stale."""
    shown = [block.name for block in BLOCKS if block.mark.startswith("shown")]
    assert len(shown) <= len(BLOCKS) / 10, shown


# ------------------------------------------------------------------------------------- configurations


CONFIGURATIONS = [block for block in checked("yaml") if block.is_configuration]


@by_name(CONFIGURATIONS)
def test_configurations_load(block: Block) -> None:
    """Every configuration that is shown is one: without problems, without keys of later versions."""
    config = load_config(block.text, "example.yaml", {}, DRIVERS.check)
    assert config.warnings == ()
    SCHEMA.validate(load_yaml(block.text, "").value(()))
    for action in DRIVERS.create_actions(config.actions, services=None).values():
        assert list(action.warnings) == []


# ------------------------------------------------------------------------------------------- messages


def examples() -> list[Any]:
    """Return the JSON examples line by line: requests (``→``), messages (``←``), or either."""
    found = []
    for block in checked("json", "text"):
        for number, line in enumerate(block.text.splitlines(), 1):
            arrow = line[:2] if line.startswith(("→ ", "← ")) else ""
            if arrow or line.startswith('{"'):
                example = (arrow.strip(), line.removeprefix(arrow))
                found.append(pytest.param(*example, id=f"{block.name}+{number}"))
    return found


def test_examples_are_found() -> None:
    """The search for examples has not gone blind."""
    assert len(CONFIGURATIONS) >= 7
    assert len(examples()) >= 20


@pytest.mark.parametrize(("arrow", "text"), examples())
def test_examples_fit_the_protocol(arrow: str, text: str) -> None:
    """Every request that is shown decodes; every message has the fields that it should, in order."""
    value = json.loads(text)
    if "type" not in value:
        assert set(value) == {"error"}  # an HTTP answer
        return
    name = value["type"]
    if arrow == "→" or (not arrow and name in _REQUESTS):
        request = decode_request(text.encode())
        assert type(request) is _REQUESTS[name]
        assert set(value) - {"type"} <= {field.name for field in fields_of(_REQUESTS[name])}
        return
    kind = _MESSAGES[name]
    message = msgspec.json.decode(text, type=kind)
    assert list(value) == list(json.loads(msgspec.json.encode(message)))


@by_name(checked("js", "html"))
def test_web_pages_know_the_protocol(block: Block) -> None:
    """There is no browser in the tests; what a page sends and looks at is there all the same."""
    assert set(re.findall(r'\btype: "(\w+)"', block.text)) <= set(_REQUESTS)
    told = re.findall(r'\b(?:case|message\.type ===) "(\w+)"', block.text)
    assert set(told) <= set(_MESSAGES)
    fields = {field.name for name in told for field in fields_of(_MESSAGES[name])}
    assert set(re.findall(r"\bmessage\.(\w+)", block.text)) <= {"type", *fields}


# --------------------------------------------------------------------------------------------- Python


@by_name(checked("python"))
def test_python_compiles(block: Block) -> None:
    """It is Python, and the names that it takes from overseer are there."""
    flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    tree = compile(block.text, block.name, "exec", flags=flags)
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                for alias in names:
                    _import(alias.name)
            case ast.ImportFrom(module=str(module), names=names):
                for alias in names:
                    _import(module, alias.name)


def _import(module: str, name: str | None = None) -> None:
    """Import a module of overseer, and see that a name is there: in it, or as a module below it."""
    if module.partition(".")[0] != "overseer":
        return
    found = importlib.import_module(module)
    if name is not None and not hasattr(found, name):
        importlib.import_module(f"{module}.{name}")


@pytest.mark.parametrize("page", ["drivers.md", "services.md"])
def test_drivers_run(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python of these pages runs from their beginning to their end, and what it asserts holds."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    monkeypatch.setattr(overseer, "run_cli", lambda version, commit: None)
    names: dict[str, Any] = {}
    for block in checked("python"):
        if block.name.startswith(page):
            exec(compile(block.text, block.name, "exec"), names)
    assert names


@by_name(checked("toml"))
def test_toml_parses(block: Block) -> None:
    """It is TOML."""
    assert tomllib.loads(block.text)


# ------------------------------------------------------------------------------------------- commands


def commands(text: str) -> Iterator[list[str]]:
    """Yield the words of each simple command of a script, without redirections and variables."""
    for line in text.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
        lexer.whitespace_split = True
        words: list[str] = []
        skip = False
        for word in [*lexer, ";"]:
            if skip:
                skip = False
            elif set(word) <= set("<>&") and set(word) & set("<>"):
                skip = True  # the file after it
                if words and words[-1] == "2":
                    words.pop()
            elif set(word) <= set("();|&"):
                if words:
                    yield words
                words = []
            elif words or not re.match(r"[A-Za-z_]\w*=", word):
                words.append(word)


def check_commands(text: str) -> None:
    """Fail unless everything that a script calls can be called so."""
    for words in commands(text):
        program, *arguments = words[1:] if words[0] == "sudo" else words
        name = Path(program).name
        assert name in CHECKS or name in OTHER_PROGRAMS, f"{name}: in neither of both lists"
        CHECKS.get(name, lambda _: None)(arguments)


def _overseer(arguments: list[str]) -> None:
    """Read a command line as ``overseer`` does; with ``--help`` at its end nothing comes of it."""
    try:
        status = overseer_main([*arguments, "--help"])
    except SystemExit as end:
        status = end.code
    assert not status


def _twistd(arguments: list[str]) -> None:
    """Read what follows ``overseer`` on the command line of twistd."""
    Options().parseOptions(arguments[arguments.index("overseer") + 1 :])


def _make(arguments: list[str]) -> None:
    folder = arguments[arguments.index("-C") + 1] if "-C" in arguments else "."
    makefile = (ROOT / folder / "Makefile").read_text(encoding="utf-8")
    for word in arguments:
        if word not in ("-C", folder) and "=" not in word:
            assert re.search(rf"^{re.escape(word)}:", makefile, re.MULTILINE), f"make {word}"


def _python(arguments: list[str]) -> None:
    if arguments[0] == "-m":
        assert importlib.util.find_spec(arguments[1]), arguments[1]
    elif arguments[0].startswith("examples/"):
        assert (ROOT / arguments[0]).is_file(), arguments[0]


def _curl(arguments: list[str]) -> None:
    for word in arguments:
        path = re.match(r"https?://(?:localhost|127\.0\.0\.1)(?::\d+)?(/[^?]*)", word)
        if path:
            assert path[1] in {route.path for route in ROUTES}, word


CHECKS: dict[str, Callable[[list[str]], None]] = {
    "overseer": _overseer,
    "sticky-overseer": _overseer,
    "twistd": _twistd,
    "make": _make,
    "python": _python,
    "python3": _python,
    "curl": _curl,
}
"""How the arguments of a command are looked at."""


@by_name(checked("sh"))
def test_commands_are_there(block: Block) -> None:
    """Everything that a shell is told to call can be called so."""
    check_commands(block.text)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_in_the_text_are_there(page: Path) -> None:
    """What a sentence or a table tells to call can be called, too."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for command in re.findall(r"`((?:twistd )?overseer [^`]+)`", text):
        check_commands(command.replace("\\|", "|"))


@by_name(checked("ini"))
def test_units_start_what_is_there(block: Block) -> None:
    """A unit of systemd parses, and its commands can be called so."""
    parser = configparser.RawConfigParser(strict=False, default_section="")
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    text = block.text if block.text.startswith("[") else f"[Service]\n{block.text}"
    parser.read_string(text)
    for section in parser.values():
        for key, value in section.items():
            if key.startswith("Exec"):
                check_commands(value)


@pytest.mark.parametrize(
    "command",
    [
        "overseer chekc",
        "overseer check --form-v2",
        "twistd overseer --confg F",
        "make runn",
        "sudo make -C docker bild",
        "overseer schema > F && overseer --confg F",
        ".venv/bin/python examples/clientt.py",
        "curl -s 'http://127.0.0.1:8080/histery?limit=2'",
        "unheard-of",
    ],
)
def test_wrong_commands_are_noticed(command: str) -> None:
    """The checks have not gone blind."""
    with pytest.raises(BaseException):  # noqa: B017, PT011  # each parser has an error of its own
        check_commands(command)
