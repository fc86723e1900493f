"""How much one rendering may do, and what it has at hand while it runs."""

from overseer.core.template.errors import TemplateRuntimeError
from overseer.core.template.values import Value
from overseer.core.template.variables import Variables

BUDGET = 2**22
"""What one rendering may do: four million characters, or a quarter of a million statements."""
STEP = 16
"""What a statement or a function's call costs, in characters."""


class Run:
    """One rendering: what is written, the variables in scope, and the work left."""

    __slots__ = ("_left", "depth", "line", "variables", "written")

    def __init__(self, root: Value) -> None:
        self.written: list[str] = []
        self.variables = Variables(root)
        self.depth = 0
        self.line = 1
        self._left = BUDGET

    def spend(self, work: int) -> None:
        """Account for ``work`` characters, or what costs as much."""
        self._left -= work
        if self._left < 0:
            raise TemplateRuntimeError(self.line, "too much work for one rendering")

    def write(self, text: str) -> None:
        """Append to the result."""
        self.spend(len(text))
        self.written.append(text)
