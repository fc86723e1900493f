"""Reads and writes sizes in bytes: ``64KiB``, ``50MiB``, ``10KB``, ``1000``.

``KiB``, ``MiB``, ``GiB``, ``TiB`` count in steps of 1024; ``kB`` or ``KB``, ``MB``, ``GB``, ``TB``
in steps of 1000. A bare ``K`` or ``M`` is refused, as programs disagree about what it means.
"""

import json
import re

_BYTES = {
    "": 1,
    "B": 1,
    "kB": 1000,
    "KB": 1000,
    "MB": 1000**2,
    "GB": 1000**3,
    "TB": 1000**4,
    "KiB": 1024,
    "MiB": 1024**2,
    "GiB": 1024**3,
    "TiB": 1024**4,
}
_LARGEST = 2**63 - 1

SIZE_PATTERN = rf"^[0-9]{{1,19}}(\.[0-9]{{1,19}})? ?({'|'.join(filter(None, _BYTES))})?$"
"""A size, as a regular expression for JSON Schemas."""

# No size that fits has more digits; the bound keeps a hostile text cheap.
_SIZE = re.compile(r"(?P<whole>[0-9]{1,19})(?:\.(?P<fraction>[0-9]{1,19}))? ?(?P<unit>[A-Za-z]*)")


def parse_size(text: str) -> int:
    """Return the bytes that ``text`` stands for.

    :raises ValueError: saying what was expected, when it is no size, no whole number of bytes, or does not fit
        63 bits.
    """
    size = _SIZE.fullmatch(text)
    if size is None or size["unit"] not in _BYTES:
        raise _refusal(text)
    unit = _BYTES[size["unit"]]
    fraction = size["fraction"] or ""
    denominator: int = 10 ** len(fraction)
    part, remainder = divmod(int(fraction or "0") * unit, denominator)
    if remainder:
        raise _refusal(text, "not a whole number of bytes")
    number = int(size["whole"]) * unit + part
    if number > _LARGEST:
        raise _refusal(text, "too large")
    return number


def format_size(size: int) -> str:
    """Return ``size`` bytes in the largest binary unit that divides it, such as ``256KiB``.

    :raises ValueError: when there are less than none.
    """
    if size < 0:
        raise ValueError(f"a size cannot be negative: {size}")
    for unit in ("TiB", "GiB", "MiB", "KiB"):
        if size and size % _BYTES[unit] == 0:
            return f"{size // _BYTES[unit]}{unit}"
    return f"{size}B"


def _refusal(text: str, reason: str = "") -> ValueError:
    shown = json.dumps(text if len(text) <= 40 else text[:39] + "…", ensure_ascii=False)
    expected = f'expected a size such as "64KiB" or "1MiB", got {shown}'
    return ValueError(f"{expected} ({reason})" if reason else expected)
