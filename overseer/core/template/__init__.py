"""What text a template of the configuration becomes for a task's parameters.

The language is Go's ``text/template`` between ``[[`` and ``]]``, over a map of texts in which a
missing name is the empty text.
"""

from collections.abc import Mapping

from overseer.core.template.errors import (
    TemplateError,
    TemplateRuntimeError,
    TemplateSyntaxError,
)
from overseer.core.template.evaluate import evaluator
from overseer.core.template.nodes import Action, Command, Field, Pipeline, Statement, Text
from overseer.core.template.parser import Parser
from overseer.core.template.references import references

__all__ = [
    "Template",
    "TemplateError",
    "TemplateRuntimeError",
    "TemplateSyntaxError",
    "compile_template",
]


class Template:
    """A template that has been read; it renders any number of times."""

    __slots__ = ("_plain", "_render", "is_constant", "names", "source", "uses_whole_map")

    source: str
    is_constant: bool
    """Whether it renders the same whatever the parameters are."""
    names: frozenset[str]
    """The parameters it calls by name."""
    uses_whole_map: bool
    """Whether it may look at parameters that are not in ``names``."""

    def __init__(self, source: str) -> None:
        tree = Parser(source).parse()
        found = references(tree)
        self.source = source
        self.names = frozenset(found.names)
        self.uses_whole_map = found.whole_map
        self.is_constant = not found.names and not found.whole_map
        self._plain = _plain_pieces(tree.body)
        self._render = evaluator(tree)

    def __repr__(self) -> str:
        return f"Template({self.source!r})"

    def render(self, params: Mapping[str, str]) -> str:
        """Return the text for ``params``.

        :raises TemplateRuntimeError: when it makes no sense for these.
        """
        if self._plain is None:
            return self._render(dict(params))
        return "".join(
            [text if name is None else params.get(name, "") for text, name in self._plain]
        )


def compile_template(source: str) -> Template:
    """Return the template in ``source``.

    :raises TemplateSyntaxError: when it is none.
    """
    return Template(source)


def _plain_pieces(body: tuple[Statement, ...]) -> tuple[tuple[str, str | None], ...] | None:
    """Texts and names of parameters, for the many templates that consist of nothing else."""
    pieces: list[tuple[str, str | None]] = []
    for statement in body:
        match statement:
            case Text(text):
                pieces.append((text, None))
            case Action(Pipeline(variables=(), commands=(Command(words=(Field((name,)),)),))):
                pieces.append(("", name))
            case _:
                return None
    return tuple(pieces)
