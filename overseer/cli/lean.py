"""Imports Twisted without what no command needs of it: that takes as long as the rest of ``overseer ls``.

Twisted imports pyOpenSSL where it is installed, and http.cookiejar for a name that it deprecates; with these
come cryptography, urllib, http.client and email. By asyncio comes ssl. What is imported stays, so no garbage is
looked for in it.
"""

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType


@contextmanager
def lean_imports(*, tls: bool) -> Iterator[None]:
    """While this holds, Twisted is imported without them; with ``tls`` pyOpenSSL stays."""
    left_out: dict[str, ModuleType | None] = {"http.cookiejar": ModuleType("http.cookiejar")}
    if not tls:
        # For Python that is a module that cannot be imported.
        left_out["OpenSSL"] = left_out["ssl"] = None
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
