"""What can be imported from ``overseer`` itself."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import overseer


def typed_names() -> dict[str, str]:
    """Return what type checkers see: names, and the modules that they come from."""
    tree = ast.parse(Path(overseer.__file__).read_text(encoding="utf-8"))
    return {
        alias.name: node.module or ""
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_type_checkers_and_programs_see_the_same_names() -> None:
    """They are written twice: the one for the other is loaded when it is used."""
    assert typed_names() == overseer._HOME
    assert set(overseer.__all__) == {*overseer._HOME, "__version__"}


@pytest.mark.parametrize("name", sorted(overseer.__all__))
def test_every_name_is_there(name: str) -> None:
    """Loaded when it is first used."""
    assert getattr(overseer, name) is not None


def test_other_names_are_not() -> None:
    """The error is the usual one."""
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        overseer.nothing  # noqa: B018


def test_the_version_needs_no_reactor() -> None:
    """Importing overseer costs next to nothing."""
    code = "import sys, overseer; sys.exit('twisted' in sys.modules or 'attrs' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=30).returncode == 0
