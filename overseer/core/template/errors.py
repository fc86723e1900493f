"""What can go wrong with a template, and where: every error says its line.

A template that cannot be read is the fault of whoever wrote the configuration, one that cannot be
rendered may also be the fault of the parameters; the two classes keep them apart.
"""

_LONGEST_PROBLEM = 200


class TemplateError(ValueError):
    """A template that cannot be read or rendered; ``line`` counts from 1."""

    def __init__(self, line: int, problem: str) -> None:
        # A source may have names and numbers of any length.
        if len(problem) > _LONGEST_PROBLEM:
            problem = problem[:_LONGEST_PROBLEM] + "..."
        super().__init__(f"template line {line}: {problem}")
        self.line = line
        self.problem = problem


class TemplateSyntaxError(TemplateError):
    """The source is not a template."""


class TemplateRuntimeError(TemplateError):
    """The template makes no sense for these parameters, or asks for too much work."""


class Refused(Exception):
    """What a function of the language raises when it cannot take its arguments."""
