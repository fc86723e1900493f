"""What is wrong with an expression, and where in it: always one line, however long the expression."""

_LONGEST_PROBLEM = 200


class ExpressionError(ValueError):
    """An expression cannot be used; ``line`` and ``column`` count characters from 1."""

    def __init__(self, line: int, column: int, problem: str) -> None:
        # A source may have names of any length.
        if len(problem) > _LONGEST_PROBLEM:
            problem = problem[:_LONGEST_PROBLEM] + "..."
        super().__init__(f"{line}:{column}: {problem}")
        self.line = line
        self.column = column
        self.problem = problem


def error_at(source: str, offset: int, problem: str) -> ExpressionError:
    """Return the error of what begins at ``offset`` in ``source``."""
    line_start = source.rfind("\n", 0, offset) + 1
    return ExpressionError(source.count("\n", 0, offset) + 1, offset - line_start + 1, problem)
