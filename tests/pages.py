"""The pages of the documentation and the fenced blocks on them, as the tests of both look at them.

A comment just before a block says what else holds for it:

``<!-- runs -->``
    It is run against a daemon, with the last configuration that the page shows before it, else with
    examples/config.yaml. A block of text right below it is what it prints; ``…`` there stands for any text,
    and for any lines where it is a line of its own.

``<!-- runs after the one above -->``
    The same, in one program with the last block before it that is run.

``<!-- shown only: REASON -->``
    It is checked by nothing.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
README = ROOT / "README.md"
PAGES = [README, *sorted(DOCS.glob("*.md"))]

FENCE = re.compile(
    r"(?:^<!-- (?P<mark>runs(?: after the one above)?|shown only: [^\n]+) -->\n\n?)?"
    r"^(?P<ticks>```+)(?P<kind>[^\s`]*)[^\n`]*\n(?P<text>.*?)^(?P=ticks)$",
    re.MULTILINE | re.DOTALL,
)
_PRINTED = re.compile(r"\n\n```(?:text)?\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """One fenced block: ``kind`` is its language, ``mark`` what the comment before it says.

    ``printed`` is the block of text right below it.
    """

    page: Path
    line: int
    kind: str
    text: str
    mark: str
    printed: str | None

    @property
    def name(self) -> str:
        """Where it stands."""
        return f"{self.page.name}:{self.line}"

    @property
    def runs(self) -> bool:
        """Whether it is run against a daemon."""
        return self.mark.startswith("runs")

    @property
    def is_configuration(self) -> bool:
        """Whether it is a configuration of overseer: all YAML is, unless it says otherwise."""
        return self.kind == "yaml" and not self.mark


def blocks(page: Path) -> Iterator[Block]:
    """Yield the blocks of a page in their order."""
    text = page.read_text(encoding="utf-8")
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("ticks")) + 1
        below = _PRINTED.match(text, match.end())
        printed = below["text"] if below else None
        yield Block(page, line, match["kind"], match["text"], match["mark"] or "", printed)


BLOCKS = [block for page in PAGES for block in blocks(page)]


def checked(*kinds: str) -> list[Block]:
    """Return all blocks of these kinds that are not only shown."""
    return [block for block in BLOCKS if block.kind in kinds and not block.mark.startswith("shown")]
