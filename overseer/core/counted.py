"""How a number and what it counts are written: ``1 task``, ``2 tasks``."""


def counted(number: int, noun: str) -> str:
    """Return the number with the noun, which takes an s in the plural."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
