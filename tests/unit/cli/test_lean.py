"""What a command imports: Twisted, and not what Twisted could do besides."""

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import sys
from overseer.cli.lean import lean_import
assert lean_import("overseer.cli.conversation", tls=False).reactor
print(*(name for name in ("asyncio", "OpenSSL", "ssl", "http.cookiejar") if name in sys.modules))
lean_import("greedy", tls=False)
print(*(name for name in ("asyncio", "OpenSSL") if name in sys.modules))
import asyncio
print(asyncio.run(asyncio.sleep(0, "runs")))
"""


@pytest.mark.parametrize("greed", ["import asyncio.events", "import asyncio; asyncio.sleep"])
def test_what_is_not_needed_is_not_imported(tmp_path: Path, greed: str) -> None:
    """Unless it is: a module that wants more of these than Twisted does gets it."""
    (tmp_path / "greedy.py").write_text(f"{greed}\n")
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["", "asyncio", "runs"]
