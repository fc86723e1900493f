"""What may import what: the one rule of the architecture, and the habits that a test can see."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

SPEC = importlib.util.find_spec("overseer")
assert SPEC is not None
assert SPEC.origin is not None
PACKAGE = Path(SPEC.origin).parent
TESTS = Path(__file__).parent

# What each part may import of the package; `core` and `protocol` import no Twisted either.
ALLOWED = {
    "core": {"core"},
    "protocol": {"core", "protocol"},
    "process": {"core", "process"},
    "drivers": {"core", "protocol", "process", "drivers"},
    "lifecycle": {"core", "protocol", "drivers.interfaces", "lifecycle"},
    "requests.py": {"core", "protocol", "lifecycle"},
    "session.py": {"core", "protocol", "lifecycle", "requests"},
    "web": {"core", "web"},
    "services.py": {"core", "drivers", "lifecycle"},
    "config.py": {"core"},
    "testing/__init__.py": {"core", "drivers"},
    "testing/daemon.py": {
        "core",
        "protocol",
        "drivers",
        "client",
        "given_config",
        "service",
        "testing",
    },
    "documents.py": {"_version", "core", "protocol", "lifecycle", "web"},
    "pages.py": {
        *("core", "protocol", "lifecycle", "web", "documents", "websocket"),
        *("eventlog", "history", "prometheus"),
    },
    "listeners.py": {"core", "listeners"},
    "interfaces.py": {"core", "interfaces"},
    "producer.py": {"protocol", "producer"},
    "prompt_transport.py": {"prompt_transport"},
    "websocket.py": {
        *("core", "protocol", "lifecycle", "producer", "prompt_transport", "session", "websocket"),
    },
    "stdio.py": {"core", "protocol", "lifecycle", "producer", "session", "stdio"},
    "client": {"core", "protocol", "client"},
    "http_client.py": {"http_client"},
    "probes.py": {"core", "http_client", "lifecycle.readiness", "probes"},
    "webhooks.py": {"core", "protocol", "webhooks"},
    "local.py": {"core", "protocol", "lifecycle", "session", "client.link", "local"},
    "eventlog.py": {"core", "protocol", "log_file"},
    "log_file.py": {"core"},
    "history": {"core", "history"},
    "systemd.py": set(),
    "prometheus": {
        *("_version", "core", "eventlog", "history", "lifecycle", "prometheus", "websocket"),
    },
}
PURE = ("core", "protocol")
# Clocks, files, randomness and the operating system stay outside the pure parts.
IMPURE_MODULES = {
    "twisted",
    "autobahn",
    "time",
    "random",
    "secrets",
    "uuid",
    "os",
    "pathlib",
    "socket",
    "io",
}
IMPURE_CALLS = {"open", "input", "print"}


def modules(part: str) -> list[Path]:
    path = PACKAGE / part
    return [path] if path.suffix else sorted(path.rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            assert node.module is not None
            yield node.module


@pytest.mark.parametrize("part", ALLOWED)
def test_imports_point_inward(part: str) -> None:
    """No part imports what lies further out."""
    for path in modules(part):
        for name in imports(path):
            if name.startswith("overseer."):
                inner = name.removeprefix("overseer.")
                assert any(
                    inner == allowed or inner.startswith(f"{allowed}.") for allowed in ALLOWED[part]
                ), f"{path.relative_to(PACKAGE)} imports {name}"


@pytest.mark.parametrize("part", PURE)
def test_decisions_are_pure(part: str) -> None:
    """The pure parts import no Twisted and read no clock, file or random source."""
    for path in modules(part):
        found = {name.split(".")[0] for name in imports(path)} & IMPURE_MODULES
        assert not found, f"{path.relative_to(PACKAGE)} imports {found}"
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & IMPURE_CALLS, f"{path.relative_to(PACKAGE)} calls {calls & IMPURE_CALLS}"


@pytest.mark.parametrize("part", ["core", "protocol", "lifecycle"])
def test_the_inner_parts_are_synchronous(part: str) -> None:
    """``async def`` belongs to the thin layers."""
    for path in modules(part):
        found = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.AsyncFunctionDef)
        ]
        assert not found, f"{path.relative_to(PACKAGE)}:{found[0].lineno}"


def test_only_the_program_takes_the_global_reactor() -> None:
    """Everything else is given its reactor, so that it can be tested; what applications use may be."""
    takers = {
        str(path.relative_to(PACKAGE))
        for path in sorted(PACKAGE.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom)
        and node.module == "twisted.internet"
        and any(alias.name == "reactor" for alias in node.names)
    }
    assert takers == {
        "tap.py",
        "cli/conversation.py",
        "cli/serve.py",
        "client/connect.py",
        "service.py",
    }


def test_no_two_test_files_have_the_same_name() -> None:
    """pytest imports them by their bare names: of two in one run it finds only one."""
    names = [path.name for path in TESTS.rglob("test_*.py")]
    assert {name for name in names if names.count(name) > 1} == set()


def test_tests_never_sleep() -> None:
    """Tests wait for conditions; the one place that looks again and again is ``eventually``."""
    for path in sorted(TESTS.rglob("*.py")):
        tree = ast.parse(path.read_text())
        waiting = {
            id(node)
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef) and function.name == "eventually"
            for node in ast.walk(function)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                name = f"{getattr(node.func.value, 'id', '')}.{node.func.attr}"
                sleeps = name in ("time.sleep", "asyncio.sleep") and id(node) not in waiting
                assert not sleeps, f"{path}:{node.lineno}"


def test_twisted_folders_have_no_init() -> None:
    """A package of that name here would hide the real Twisted."""
    checkout = TESTS.parent / "twisted"
    assert not list(checkout.rglob("__init__.py"))
