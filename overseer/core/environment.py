"""Environment files: ``NAME=value`` lines, as docker(1) and systemd.exec(5) read them."""

import re

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def parse_environment_file(text: str) -> dict[str, str]:
    """Return the variables of an environment file.

    Blank lines and lines that start with ``#`` are skipped, ``export`` in front is allowed, and one pair of
    quotes around a value is taken off. Nothing is expanded.

    :raises ValueError: naming the line that is no ``NAME=value``.
    """
    variables = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.removeprefix("export ").partition("=")
        name = name.strip()
        if not equals or not _NAME.fullmatch(name):
            raise ValueError(f"line {number}: expected NAME=value")
        value = value.strip()
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        if "\0" in value:
            raise ValueError(f"line {number}: contains a NUL character")
        variables[name] = value
    return variables
