"""Which value a variable name stands for: the latest declaration still in scope.

The parser asks it which names exist, the evaluator for what they hold; both in constant time,
however many variables a template declares.
"""

from overseer.core.template.values import Value

ROOT = "$"


class Variables:
    """Declarations in order; a scope ends by going back to a :meth:`mark`."""

    def __init__(self, root: Value = None) -> None:
        self._order = [ROOT]
        self._values: dict[str, list[Value]] = {ROOT: [root]}

    def __contains__(self, name: str) -> bool:
        return bool(self._values.get(name))

    def declare(self, name: str, value: Value = None) -> None:
        """Begin a new variable, which hides an earlier one of the same name."""
        self._order.append(name)
        self._values.setdefault(name, []).append(value)

    def assign(self, name: str, value: Value) -> None:
        """Change the variable that ``name`` stands for; ``LookupError`` without one."""
        self._values[name][-1] = value

    def value(self, name: str) -> Value:
        """The value of the variable; ``LookupError`` without one."""
        return self._values[name][-1]

    def mark(self) -> int:
        """The point to :meth:`release` to."""
        return len(self._order)

    def release(self, mark: int) -> None:
        """Forget everything declared since ``mark``."""
        while len(self._order) > mark:
            self._values[self._order.pop()].pop()
