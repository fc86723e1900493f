"""Whether a source is a template, and which statements it consists of.

A descent along Go's grammar; names of functions and variables are checked here, so only what
depends on values is left to fail while rendering.
"""

from collections import deque
from collections.abc import Callable
from enum import Enum

from overseer.core.template import numbers, text
from overseer.core.template.errors import TemplateSyntaxError
from overseer.core.template.functions import FUNCTIONS
from overseer.core.template.lexer import Kind, Lexer, Token
from overseer.core.template.nodes import (
    Action,
    Body,
    Branch,
    Call,
    Chain,
    Command,
    Dot,
    Expression,
    Field,
    Function,
    Leave,
    Literal,
    Pipeline,
    Range,
    Statement,
    Text,
    Tree,
    Variable,
)
from overseer.core.template.variables import Variables

# Blocks and parentheses inside each other; each level costs several of Python's stack frames.
MAX_NESTING = 50

_KEYWORDS = {
    "block",
    "break",
    "continue",
    "define",
    "else",
    "end",
    "if",
    "range",
    "template",
    "with",
}


class _Ending(Enum):
    """What ends a body."""

    END = "end"
    ELSE = "else"


class Parser:
    """Parses one source once."""

    def __init__(self, source: str) -> None:
        self._tokens = Lexer(source).tokens()
        self._ahead: deque[Token] = deque()
        self._line = 1
        self._variables = Variables()
        self._nesting = 0
        self._ranges = 0
        self._definitions: dict[str, Body] = {}
        self._statements: dict[str, Callable[[], Statement]] = {
            "block": self._block,
            "break": lambda: self._leave(Leave.BREAK),
            "continue": lambda: self._leave(Leave.CONTINUE),
            "if": lambda: self._branch("if"),
            "range": self._range,
            "template": self._template,
            "with": lambda: self._branch("with"),
        }

    def parse(self) -> Tree:
        """The tree of the whole source."""
        statements: list[Statement] = []
        while self._peek().kind is not Kind.END_OF_SOURCE:
            if self._peek().kind is Kind.OPEN and _is_word(self._peek(1), "define"):
                self._definition()
                continue
            statement = self._text_or_action()
            if isinstance(statement, _Ending):
                raise self._error(f"unexpected {statement.value}: nothing is open")
            statements.append(statement)
        return Tree(tuple(statements), self._definitions)

    # Tokens

    def _peek(self, distance: int = 0) -> Token:
        while len(self._ahead) <= distance:
            last = self._ahead[-1] if self._ahead else None
            if last is not None and last.kind is Kind.END_OF_SOURCE:
                return last
            self._ahead.append(next(self._tokens))
        return self._ahead[distance]

    def _next(self) -> Token:
        token = self._peek()
        self._line = token.line
        if token.kind is not Kind.END_OF_SOURCE:
            self._ahead.popleft()
        return token

    def _close(self, context: str) -> None:
        token = self._next()
        if token.kind is not Kind.CLOSE:
            raise self._unexpected(token, context, "]]")

    def _unexpected(self, token: Token, context: str, expected: str) -> TemplateSyntaxError:
        return TemplateSyntaxError(token.line, f"expected {expected}, found {token} in {context}")

    def _error(self, problem: str) -> TemplateSyntaxError:
        return TemplateSyntaxError(self._line, problem)

    def _deeper(self) -> None:
        self._nesting += 1
        if self._nesting > MAX_NESTING:
            raise self._error(f"more than {MAX_NESTING} blocks and parentheses inside each other")

    # Statements

    def _text_or_action(self) -> Statement | _Ending:
        token = self._next()
        if token.kind is Kind.TEXT:
            return Text(token.text)
        if token.kind is not Kind.OPEN:
            raise self._unexpected(token, "the text", "[[")
        word = self._peek()
        if word.kind is Kind.WORD:
            if word.text in self._statements:
                self._next()
                return self._statements[word.text]()
            if word.text == "end":
                self._next()
                self._close("end")
                return _Ending.END
            if word.text == "else":
                self._next()
                if not (_is_word(self._peek(), "if") or _is_word(self._peek(), "with")):
                    self._close("else")
                return _Ending.ELSE
        return Action(self._pipeline("the action", Kind.CLOSE))

    def _body(self, context: str) -> tuple[Body, _Ending]:
        self._deeper()
        opened = self._line
        statements: list[Statement] = []
        while self._peek().kind is not Kind.END_OF_SOURCE:
            statement = self._text_or_action()
            if isinstance(statement, _Ending):
                self._nesting -= 1
                return tuple(statements), statement
            statements.append(statement)
        raise self._unexpected(self._peek(), context, f"[[end]] for line {opened}")

    def _body_to_end(self, context: str) -> Body:
        body, ending = self._body(context)
        if ending is not _Ending.END:
            raise self._error(f"expected [[end]], found [[else]] in {context}")
        return body

    def _branch(self, keyword: str) -> Branch:
        mark = self._variables.mark()
        clauses: list[tuple[Pipeline, Body]] = []
        otherwise: Body = ()
        while True:
            pipeline = self._pipeline(keyword, Kind.CLOSE)
            body, ending = self._body(keyword)
            clauses.append((pipeline, body))
            if ending is _Ending.END:
                break
            if not _is_word(self._peek(), keyword):
                otherwise = self._body_to_end(keyword)
                break
            self._next()
        self._variables.release(mark)
        return Branch(keyword == "with", tuple(clauses), otherwise)

    def _range(self) -> Range:
        mark = self._variables.mark()
        pipeline = self._pipeline("range", Kind.CLOSE)
        self._ranges += 1
        body, ending = self._body("range")
        self._ranges -= 1
        otherwise = self._body_to_end("range") if ending is _Ending.ELSE else ()
        self._variables.release(mark)
        return Range(pipeline, body, otherwise)

    def _leave(self, leave: Leave) -> Leave:
        self._close(leave.value)
        if not self._ranges:
            raise self._error(f"{leave.value} outside of range")
        return leave

    def _template(self) -> Call:
        line, name = self._line, self._name("template")
        if self._peek().kind is Kind.CLOSE:
            self._next()
            return Call(line, name, None)
        return Call(line, name, self._pipeline("template", Kind.CLOSE))

    def _block(self) -> Call:
        line, name = self._line, self._name("block")
        pipeline = self._pipeline("block", Kind.CLOSE)
        self._define(name, self._body_apart("block"))
        return Call(line, name, pipeline)

    def _definition(self) -> None:
        self._next()
        self._next()
        name = self._name("define")
        self._close("define")
        self._define(name, self._body_apart("define"))

    def _body_apart(self, context: str) -> Body:
        """A body that sees neither the variables nor the ranges around it."""
        outer = self._variables, self._ranges
        self._variables, self._ranges = Variables(), 0
        body = self._body_to_end(context)
        self._variables, self._ranges = outer
        return body

    def _name(self, context: str) -> str:
        token = self._next()
        if token.kind is not Kind.STRING:
            raise self._unexpected(token, context, "a template's name in quotes")
        return self._string(token)

    def _define(self, name: str, body: Body) -> None:
        if _is_empty(self._definitions.get(name, ())):
            self._definitions[name] = body
        elif not _is_empty(body):
            raise self._error(f"template {name!r} is defined twice")

    # Expressions

    def _pipeline(self, context: str, end: Kind) -> Pipeline:
        line = self._peek().line
        variables, assigns = self._declarations(context)
        commands: list[Command] = []
        while (token := self._peek()).kind is not end:
            if token.kind in {Kind.CLOSE, Kind.RIGHT_PARENTHESIS}:
                raise self._unexpected(token, context, end.value)
            commands.append(self._command(context))
        if not commands:
            raise self._unexpected(self._peek(), context, "a value")
        self._next()
        for stage, command in enumerate(commands[1:], start=2):
            if isinstance(command.words[0], Literal | Dot):
                raise self._error(f"stage {stage} of the pipeline is no function in {context}")
        return Pipeline(line, variables, assigns, tuple(commands))

    def _declarations(self, context: str) -> tuple[tuple[str, ...], bool]:
        names: list[str] = []
        while self._peek().kind is Kind.VARIABLE:
            following = self._peek(1)
            if following.kind not in {Kind.DECLARE, Kind.ASSIGN, Kind.COMMA}:
                break
            name = self._next().text
            self._next()
            names.append(name)
            self._variables.declare(name)
            if following.kind is not Kind.COMMA:
                return tuple(names), following.kind is Kind.ASSIGN
            if context != "range" or len(names) > 1:
                raise self._error(f"too many variables are declared in {context}")
            if self._peek().kind is not Kind.VARIABLE:
                raise self._unexpected(self._peek(), context, "a variable")
        return tuple(names), False

    def _command(self, context: str) -> Command:
        line = self._peek().line
        words: list[Expression] = []
        while True:
            word = self._operand()
            if word is not None:
                words.append(word)
            token = self._peek()
            if token.kind in {Kind.CLOSE, Kind.RIGHT_PARENTHESIS}:
                break
            if token.kind is Kind.PIPE and words:
                self._next()
                break
            if word is None or not token.spaced:
                raise self._unexpected(token, context, "a value" if word is None else "a space")
        return Command(line, tuple(words))

    def _operand(self) -> Expression | None:
        term = self._term()
        if term is None:
            return None
        path: list[str] = []
        while self._peek().kind is Kind.FIELD and not self._peek().spaced:
            path.append(self._next().text[1:])
        if not path:
            return term
        if isinstance(term, Literal | Dot):
            raise self._error(f"unexpected .{path[0]} after a constant")
        if isinstance(term, Field):
            return Field((*term.path, *path))
        return Chain(term, tuple(path))

    def _term(self) -> Expression | None:
        token = self._peek()
        parse = _TERMS.get(token.kind)
        if parse is None or (token.kind is Kind.WORD and token.text in _KEYWORDS):
            return None
        self._next()
        return parse(self, token)

    def _word(self, token: Token) -> Expression:
        if token.text in {"true", "false"}:
            return Literal(token.text == "true")
        if token.text == "nil":
            return Literal(None)
        if token.text not in FUNCTIONS:
            raise self._error(f"unknown function {token.text!r}")
        return Function(token.text)

    def _variable(self, token: Token) -> Expression:
        if token.text not in self._variables:
            raise self._error(f"undefined variable {token.text!r}")
        return Variable(token.text)

    def _parenthesis(self, _: Token) -> Expression:
        self._deeper()
        pipeline = self._pipeline("the parentheses", Kind.RIGHT_PARENTHESIS)
        self._nesting -= 1
        return pipeline

    def _number(self, token: Token) -> Expression:
        try:
            return Literal(numbers.number(token.text))
        except ValueError as error:
            raise self._error(str(error)) from None

    def _character(self, token: Token) -> Expression:
        try:
            return Literal(text.unquote_character(token.text))
        except ValueError as error:
            raise self._error(str(error)) from None

    def _string(self, token: Token) -> str:
        try:
            return text.unquote(token.text)
        except ValueError as error:
            raise self._error(str(error)) from None


_TERMS: dict[Kind, Callable[[Parser, Token], Expression]] = {
    Kind.WORD: Parser._word,
    Kind.DOT: lambda _, __: Dot(),
    Kind.FIELD: lambda _, token: Field((token.text[1:],)),
    Kind.VARIABLE: Parser._variable,
    Kind.NUMBER: Parser._number,
    Kind.CHARACTER: Parser._character,
    Kind.STRING: lambda parser, token: Literal(parser._string(token)),
    Kind.LEFT_PARENTHESIS: Parser._parenthesis,
}


def _is_word(token: Token, word: str) -> bool:
    return token.kind is Kind.WORD and token.text == word


def _is_empty(body: Body) -> bool:
    return all(isinstance(each, Text) and not each.text.strip() for each in body)
