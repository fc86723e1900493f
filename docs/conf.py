"""How ``make docs`` turns these pages into a site: Sphinx with MyST and furo.

The pages are Markdown that reads well by itself. Only index.md, changelog.md and benchmarks.md are of use
in the site alone: they fetch pages that stand elsewhere.
"""

import os
import re
import runpy
from pathlib import Path

from sphinx.application import Sphinx

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent

project = "overseer"
version = release = runpy.run_path(str(ROOT / "overseer" / "_version.py"))["__version__"]

extensions = ["myst_parser"]
exclude_patterns = ["_build"]

myst_heading_anchors = 4  # what links name as GitHub does: the words of a heading
highlight_language = "text"

html_theme = "furo"
html_title = f"overseer {release}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False

FETCHED = {
    ROOT / "README.md": "index.md",
    ROOT / "CHANGELOG.md": "changelog.md",
    ROOT / "benchmarks" / "README.md": "benchmarks.md",
}
"""Pages outside of this folder, and the pages here that show them."""

_LINK = re.compile(r"\]\((?!https?://|#)(?P<path>[^)#\s]+)")


def setup(app: Sphinx) -> None:
    """Let the links between pages lead to each other within the site, too."""
    app.connect("source-read", lambda _app, _page, source: _relink(source, DOCS))
    app.connect(
        "include-read",
        lambda _app, path, _page, source: _relink(source, (DOCS / path).resolve().parent),
    )


def _relink(source: list[str], folder: Path) -> None:
    """Change links of a page in ``folder`` into links of a page here; ``source`` is its only text."""

    def link(match: re.Match[str]) -> str:
        path = (folder / match["path"]).resolve()
        return f"]({FETCHED.get(path) or os.path.relpath(path, DOCS)}"

    source[0] = _LINK.sub(link, source[0])
