"""YAML comes as YAML 1.2 says, with lines, and hostile YAML comes to a plain error."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.core.yaml_source import (
    LARGEST_EXPANSION,
    Document,
    YamlError,
    format_path,
    load_yaml,
)


def problems(text):
    with pytest.raises(YamlError) as error:
        load_yaml(text, "config.yaml")
    return [str(problem) for problem in error.value.problems]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("no", "no"),
        ("y", "y"),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("1_000", "1_000"),
        ("0b11", "0b11"),
        ("=", "="),
        ("", None),
        ("~", None),
        ("null", None),
        ("NULL", None),
        ("true", True),
        ("False", False),
        ("tRUE", "tRUE"),
        ("0777", 777),
        ("0o777", 0o777),
        ("0x1F", 31),
        ("-0x1F", "-0x1F"),
        ("+5", 5),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("5.", 5.0),
        (".inf", math.inf),
        ("-.INF", -math.inf),
        ("inf", "inf"),
        ("'5'", "5"),
        ('"true"', "true"),
        ("''", ""),
        ('"\\ud83d\\ude00"', "\N{GRINNING FACE}"),
        ("9" * 5000, "9" * 5000),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text, value):
    read = load_yaml(f"key: {text}\n", "config.yaml").value(("key",))
    assert (read, type(read)) == (value, type(value))


def test_not_a_number_is_a_float():
    assert math.isnan(load_yaml("[.nan]", "config.yaml").value((0,)))


def test_the_written_text_stays_known():
    document = load_yaml("a: 0660\nb: 'x'\nc: yes\nd: [1.50]\n", "config.yaml")
    assert [document.text((name,)) for name in "abc"] == ["0660", "x", "yes"]
    assert document.text(("d", 0)) == "1.50"
    assert document.text(("d",)) is None
    assert document.text(("nowhere",)) is None


def test_lines_are_those_of_the_keys():
    document = load_yaml(
        "# a comment\na:\n  b: |\n    text\n    text\n  c:\n    - 1\n    - {d: 2,\n       e: 3}\n",
        "config.yaml",
    )
    assert document.line(("a",)) == 2
    assert document.line(("a", "b")) == 3
    assert document.line(("a", "c")) == 6
    assert document.line(("a", "c", 0)) == 7
    assert document.line(("a", "c", 1, "e")) == 9


def test_the_line_of_what_is_missing_is_that_of_what_is_around_it():
    document = load_yaml("\na:\n  b: 1\n", "config.yaml")
    assert document.line(("a", "x", "y")) == 2
    assert str(document.problem(("a", "x"), "is required")) == "config.yaml:2: a.x: is required"


def test_a_variable_is_a_document_without_lines():
    document = Document.of_variable("OVERSEER_PORT", "x")
    assert str(document.problem((), "expected a port")) == "OVERSEER_PORT: expected a port"


@pytest.mark.parametrize("text", ["", "\n\n", "# nothing\n", "---\n", "~"])
def test_nothing_is_null(text):
    assert load_yaml(text, "config.yaml").value() is None


def test_a_byte_order_mark_is_skipped():
    assert load_yaml("\ufeffa: 1", "config.yaml").value() == {"a": 1}


def test_aliases_and_merge_keys():
    document = load_yaml(
        "a: &a {x: 1, y: 2}\nb: &b {y: 3, z: 4}\n"
        "c:\n  x: 9\n  <<: [*a, *b]\nd: *a\ne: {'<<': 5}\nf:\n  <<: *a\n  x: 8\n",
        "config.yaml",
    )
    assert document.value(("c",)) == {"x": 9, "y": 2, "z": 4}
    assert document.value(("d",)) == {"x": 1, "y": 2}
    assert document.value(("e",)) == {"<<": 5}
    assert document.value(("f",)) == {"x": 8, "y": 2}
    assert document.line(("d",)) == 6
    assert document.line(("c", "z")) == 2


def test_all_problems_come_at_once():
    assert problems(
        "a: 1\na: 2\n8080: x\n? [x]\n: y\nb: !!str 5\nc: !thing [1]\nd: {e: 1, e: 2}\n"
        "true: x\n~: x\n<<: 5\nf: *nothing\n"
    ) == [
        "config.yaml:2: a: duplicate key, first on line 1",
        "config.yaml:3: expected text as a key, got 8080 (put it in quotes)",
        "config.yaml:4: expected text as a key, got a list",
        'config.yaml:6: b: tags are not allowed, got "!!str"',
        'config.yaml:7: c: tags are not allowed, got "!thing"',
        "config.yaml:8: d.e: duplicate key, first on line 8",
        "config.yaml:9: expected text as a key, got true (put it in quotes)",
        "config.yaml:10: expected text as a key, got null (put it in quotes)",
        "config.yaml:11: <<: expected a mapping or a list of mappings, got 5",
        "config.yaml:12: f: *nothing names nothing that is complete above it",
    ]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a:\n\t- b",
            "2: invalid YAML: found character '\\t' that cannot start any token"
            " (indent with spaces)",
        ),
        ("a: b: c", "1: invalid YAML: mapping values are not allowed here"),
        ("a: 1\nb: {c", "2: invalid YAML: expected ',' or '}', but got '<stream end>'"),
        ("a\n\n\0b", "3: invalid YAML: the character \\x00 is not allowed"),
        ('a: "\\UFFFFFFFF"', "1: invalid YAML: an escape stands for no character"),
        ('a: "\\ud83d"', "1: a: half of a surrogate pair is no character"),
        ("a: 1\n---\nb: 2", "2: expected one YAML document, got a second one"),
        ("a: &a [*a]", "1: a[0]: *a names nothing that is complete above it"),
        ("!!python/object:os.system x", '1: tags are not allowed, got "!!python/object:os.system"'),
    ],
)
def test_one_problem(text, problem):
    assert problems(text) == [f"config.yaml:{problem}"]


@pytest.mark.parametrize("text", ["[" * 100_000, "{" * 1000, "- " * 5000, "{a: " * 1000])
def test_deep_nesting_is_refused_at_once(text):
    (problem,) = problems(text)
    assert problem.endswith("nested more than 64 levels deep")


def test_deep_nesting_by_aliases_is_refused():
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 100))
    assert problems(text) == ["config.yaml:64: a63[0]: nested more than 64 levels deep"]


def test_aliases_that_multiply_are_refused():
    text = "a0: &a0 [x]\n" + "".join(
        f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 30)
    )
    (problem,) = problems(text)
    assert problem.endswith(f"aliases stand for more than {LARGEST_EXPANSION} values")


def test_paths_are_written_as_people_do():
    path = ("actions", "a.b", "config", "command", 2)
    assert format_path(path) == 'actions."a.b".config.command[2]'


def outcome(text):
    try:
        load_yaml(text, "config.yaml")
    except YamlError as error:
        return [str(problem) for problem in error.problems]
    return ["config.yaml:"]


@given(st.text(max_size=40))
def test_any_text_is_a_document_or_a_problem(text):
    assert outcome(text)


@given(st.text(alphabet="a:-[]{}&*!|>'\"#%@`,?\n \t\\0x~<u", max_size=30))
def test_any_yaml_is_a_document_or_a_problem(text):
    found = outcome(text)
    assert found
    assert all(problem.startswith("config.yaml:") for problem in found)
