"""The documents say what the code does: generated parts, tables and links are checked against it.

The pages are those of the checkout that this file belongs to; overseer is what is installed.
"""

import ast
import importlib.util
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from pages import DOCS, FENCE, PAGES, README, ROOT

import overseer
from overseer.core.config.changes import NEEDS_RESTART
from overseer.core.config.exec_driver import _PARAMETER, EXEC
from overseer.core.config.kinds import Group, Kind, ListOf, MapOf
from overseer.core.config.policies import _RETRY_KEYS, TASK_POOL
from overseer.core.config.table import CONFIG
from overseer.core.template import compile_template
from overseer.protocol.fields import fields_of
from overseer.protocol.messages import MESSAGES, REQUESTS, tag_of

_LINK = re.compile(r"\[[^\]]*\]\((?P<target>[^)\s]+)\)")
_REQUESTS = {tag_of(kind): kind for kind in REQUESTS}
_MESSAGES = {tag_of(kind): kind for kind in MESSAGES}


def generator() -> ModuleType:
    """Load ``docs/generate.py``, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("generate_docs", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def keys_of(kind: Kind) -> Iterator[str]:
    """Yield the name of every key below a kind of value."""
    if isinstance(kind, MapOf | ListOf):
        yield from keys_of(kind.item)
    elif isinstance(kind, Group):
        for key in kind.keys:
            yield key.name
            yield from keys_of(key.kind)


@pytest.mark.parametrize("page", generator().pages(), ids=lambda page: page.name)
def test_generated_parts_are_up_to_date(page: Path) -> None:
    """Whoever changes a message, a key or a state runs ``python docs/generate.py``."""
    assert generator().difference(page) == ""


def refusals() -> Iterator[str]:
    """Yield how the text of every refusal begins that stands in the code: as far as it is always the same."""
    for path in Path(overseer.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "RequestError":
                text = node.args[0]
                first = text.values[0] if isinstance(text, ast.JoinedStr) else text
                if isinstance(first, ast.Constant):
                    yield str(first.value)


@pytest.mark.parametrize("beginning", sorted(set(refusals())))
def test_every_refusal_is_in_the_table_of_the_protocol(beginning: str) -> None:
    """Whoever gets one can look up when it comes."""
    protocol = (DOCS / "protocol.md").read_text(encoding="utf-8")
    field = beginning.partition(":")[0]
    assert f"`{beginning}" in protocol or f"`{field}: …`" in protocol


def test_every_generated_part_is_on_a_page() -> None:
    """A table that no page shows would be forgotten."""
    shown = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    missing = [name for name in generator().BLOCKS if f"<!-- generated: {name} -->" not in shown]
    assert not missing


def test_the_command_shows_what_is_out_of_date(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``--check`` changes nothing, shows the difference and fails; without it the page is filled."""
    page = tmp_path / "page.md"
    page.write_text("Before.\n<!-- generated: states -->\nold\n<!-- end -->\nAfter.\n")
    module = generator()
    monkeypatch.setattr(module, "DOCS", tmp_path)
    assert module.main(["--check"]) == 1
    shown = capsys.readouterr().out
    assert "-old\n" in shown
    assert "+| `draining` | `drained` → judging |\n" in shown
    assert "\nold\n" in page.read_text()
    assert module.main([]) == 0
    assert module.main(["--check"]) == 0
    text = page.read_text()
    assert text.startswith("Before.\n<!-- generated: states -->\n")
    assert "| `draining` |" in text
    assert text.endswith("<!-- end -->\nAfter.\n")


def test_the_command_runs_from_the_checkout() -> None:
    """``python docs/generate.py`` needs overseer's dependencies, not an installed overseer."""
    run = subprocess.run(
        [sys.executable, DOCS / "generate.py", "--check"],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")


@pytest.mark.parametrize("text", ["<!-- generated: nothing -->\n<!-- end -->", "<!-- generated: x"])
def test_unknown_and_unfinished_parts_are_errors(text: str) -> None:
    """A misspelt name must not leave an old table standing."""
    with pytest.raises(SystemExit):
        generator().filled(text)


def test_every_key_is_mentioned() -> None:
    """configuration.md names every key, in backticks, those of later versions too."""
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    mentioned = {name for code in re.findall(r"`([^`\n]+)`", page) for name in code.split(".")}
    groups = (CONFIG, EXEC, _PARAMETER, TASK_POOL, _RETRY_KEYS)
    assert {name for group in groups for name in keys_of(group)} <= mentioned


def test_every_message_has_a_section() -> None:
    """protocol.md has a heading for every request and every message."""
    page = (DOCS / "protocol.md").read_text(encoding="utf-8")
    headings = re.findall(r"^### `(\w+)`", page, re.MULTILINE)
    assert headings == [*_REQUESTS, *_MESSAGES]


def test_templates_render_as_shown() -> None:
    """Every row of the table of templates is true."""
    page = (DOCS / "configuration.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(.*\[\[.*)` \| `(\{.*\})` \| `(.*)` \|$", page, re.MULTILINE)
    assert len(rows) >= 10
    for source, params, result in rows:
        template = compile_template(source.replace("\\|", "|"))
        assert template.render(json.loads(params)) == result, source


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CHANGELOG.md", *ROOT.glob("*/README.md")], ids=str
)
def test_links_resolve(page: Path) -> None:
    """Links within the repository lead to a file, and to a heading of it."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    for match in _LINK.finditer(text):
        target, _, anchor = match["target"].partition("#")
        if target.startswith(("http://", "https://")):
            continue
        file = page.parent / target if target else page
        assert file.is_file(), match["target"]
        if anchor:
            assert anchor in anchors(file), match["target"]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = FENCE.sub("", page.read_text(encoding="utf-8"))
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_what_needs_a_restart_is_told() -> None:
    """operations.md names the keys that a reload leaves as they were."""
    page = (DOCS / "operations.md").read_text(encoding="utf-8")
    row = re.search(r"^\| (.*) \| after a restart;", page, re.MULTILINE)
    assert row is not None
    assert set(re.findall(r"`(\w+)`", row[1])) == NEEDS_RESTART


def test_the_site_has_a_place_for_every_page() -> None:
    """What index.md does not list is not to be found in the site of `make docs`, which refuses it."""
    index = (DOCS / "index.md").read_text(encoding="utf-8")
    places = re.findall(r"^[\w-]+$", index, re.MULTILINE)
    assert sorted(places) == [page.stem for page in PAGES[1:] if page.stem != "index"]


def test_the_readme_lists_the_requests() -> None:
    """README's table names every request, and of each only fields that it has, rightly marked."""
    rows = re.findall(r"^\| (`\w+`.*?) \| .* \|$", README.read_text(encoding="utf-8"), re.MULTILINE)
    named: list[str] = []
    for cell in rows:
        for token, optional in re.findall(r"`([^`]+)`(\??)", cell):
            if token in _REQUESTS and not optional:
                named.append(token)
                continue
            if token == "*":  # a value of the field before
                continue
            fields = {field.name: field for field in fields_of(_REQUESTS[named[-1]])}
            assert token in fields, f"{named[-1]}: {token}"
            assert fields[token].required != bool(optional), f"{named[-1]}: {token}"
    assert sorted(named) == sorted(_REQUESTS)
