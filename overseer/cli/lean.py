"""Imports Twisted without what no command needs of it: that takes as long as the rest of ``overseer ls``.

Twisted imports pyOpenSSL where it is installed, and http.cookiejar for a name that it deprecates; with these
come cryptography, urllib, http.client and email; and it imports asyncio, which runs nothing here. What is
imported stays, so no garbage is looked for in it.
"""

import gc
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType


class _Asyncio(ModuleType):
    """What Twisted wants of asyncio to be imported."""

    AbstractEventLoop = Future = object
    iscoroutine = staticmethod(inspect.iscoroutine)

    def __init__(self) -> None:
        super().__init__("asyncio")
        self.__path__ = []


def lean_import(name: str, *, tls: bool) -> ModuleType:
    """Import a module that imports Twisted; with ``tls`` pyOpenSSL comes with it."""
    left_out: dict[str, ModuleType | None] = {
        "http.cookiejar": ModuleType("http.cookiejar"),
        "asyncio": _Asyncio(),
    }
    if not tls:
        left_out["OpenSSL"] = None  # for Python that is a module that cannot be imported
    try:
        with _without(left_out):
            return import_module(name)
    except (ImportError, AttributeError):  # another Twisted may want more of them
        return import_module(name)


@contextmanager
def _without(left_out: dict[str, ModuleType | None]) -> Iterator[None]:
    left_out = {name: module for name, module in left_out.items() if name not in sys.modules}
    gc.disable()
    sys.modules.update(left_out)  # type: ignore[arg-type]  # None is allowed, says importlib
    try:
        yield
    finally:
        for name in left_out:
            del sys.modules[name]
        gc.freeze()
        gc.enable()
