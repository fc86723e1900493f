"""A place in a configuration that knows its value, its path and its line, and the list of what is wrong.

A driver gets its own part of the configuration as a Section, so its errors look like all others.
"""

import attrs

from overseer.core.yaml_source import Document, Path, Problem, describe


class ConfigError(ValueError):
    """A configuration cannot be used; ``problems`` holds everything that is wrong with it.

    ``warnings`` is what the operator should know besides.
    """

    def __init__(self, problems: tuple[Problem, ...], warnings: tuple[Problem, ...] = ()) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems
        self.warnings = warnings


@attrs.frozen(eq=False)
class Section:
    """One place in a document, whether anything is written there or not.

    Two sections are equal when the same is written at the same path, on whatever line.
    """

    document: Document = attrs.field(repr=False)
    path: Path = ()

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Section):
            return NotImplemented
        same_path = self.path == other.path
        return same_path and self.document.node(self.path) == other.document.node(other.path)

    @property
    def value(self) -> object:
        """The plain value; ``None`` where there is none, as ``null`` counts as absent."""
        return self.document.value(self.path)

    @property
    def text(self) -> str | None:
        """The scalar as it was written: ``0660``, ``yes``; ``None`` where there is no scalar."""
        return None if self.value is None else self.document.text(self.path)

    @property
    def names(self) -> tuple[str, ...]:
        """The keys of a mapping, in the order of the file."""
        value = self.value
        return tuple(value) if isinstance(value, dict) else ()

    @property
    def parent(self) -> "Section":
        """The place that this one is a part of."""
        return Section(self.document, self.path[:-1])

    def at(self, *steps: str | int) -> "Section":
        """Return the place below this one at the given keys and indexes."""
        return Section(self.document, (*self.path, *steps))

    def with_text(self, text: str) -> "Section":
        """Return this place as if ``text`` alone were written here: one item of several in a text."""
        return Section(self.document.with_text(self.path, text), self.path)

    def problem(self, suffix: Path, text: str) -> Problem:
        """Return a problem with what is at ``suffix`` below this place."""
        return self.document.problem((*self.path, *suffix), text)


@attrs.define
class Report:
    """What was found while reading a configuration, in the order of the file.

    With ``conceals`` no value is shown: one that stands at the wrong key may be a secret all the same.
    """

    problems: list[Problem] = attrs.field(factory=list)
    warnings: list[Problem] = attrs.field(factory=list)
    conceals: bool = False

    def concealing(self) -> "Report":
        """Return this report for what is secret."""
        return Report(self.problems, self.warnings, conceals=True)

    def refuse(self, section: Section, text: str) -> None:
        """Note that ``section`` cannot be used."""
        self.problems.append(section.problem((), text))

    def refuse_kind(self, section: Section, expected: str) -> None:
        """Note that ``section`` holds something else than ``expected``."""
        got = "" if self.conceals else f", got {describe(section.value)}"
        self.refuse(section, f"expected {expected}{got}")

    def warn(self, section: Section, text: str) -> None:
        """Note something about ``section`` that prevents nothing."""
        self.warnings.append(section.problem((), text))

    def check(self) -> None:
        """Raise ConfigError if anything cannot be used."""
        if self.problems:
            raise ConfigError(tuple(self.problems), tuple(self.warnings))
