"""The template language against real Go's answers, and against hostile sources and parameters."""

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from overseer.core.template import (
    Template,
    TemplateError,
    TemplateRuntimeError,
    TemplateSyntaxError,
    compile_template,
)

GOLDEN = json.loads(
    (Path(__file__).parents[2] / "golden" / "gotemplate-cases.json").read_text("utf-8")
)
PARAMETERS = {"a-b": "dash", "empty": "", "n": "5", "name": "bob", "uni": "hé"}


def rendered(source: str, **params: str) -> str:
    return compile_template(source).render({**PARAMETERS, **params})


def test_golden_set_is_complete() -> None:
    assert len(GOLDEN) == 408


@pytest.mark.parametrize("case", GOLDEN, ids=range(len(GOLDEN)))
def test_as_go_answers(case: dict[str, Any]) -> None:
    answer: dict[str, str]
    try:
        template = compile_template(case["template"])
        answer = {"result": template.render(case["params"])}
    except TemplateSyntaxError:
        answer = {"error": "parse"}
    except TemplateRuntimeError:
        answer = {"error": "execute"}
    assert answer == {key: case[key] for key in ("result", "error") if key in case}


# Expectations from Go's documentation of fmt.
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ('"%+d|% d|%x|%X|%#x|%#o|%O|%b|%#b" 5 5 255 255 255 8 8 5 5', "+5| 5|ff|FF|0xff|010|0o10|101|0b101"),
        ('"%06d|%-6d|%+06d|%.4d|%8.4d|%.0d" -42 42 42 42 42 0', "-00042|42    |+00042|0042|    0042|"),
        ('"%c|%q|%+q|%U|%#U" 233 233 233 233 233', "é|'é'|'\\u00e9'|U+00E9|U+00E9 'é'"),
        ('"%v %g %e %f %.2f %G %8.3f|%-8.1f|%08.2f|%+.1f" 1e6 1e5 1.5 1.5 2.345 1e-7 3.14159 2.5 -2.5 2.5',
         "1e+06 100000 1.500000e+00 1.500000 2.35 1E-07    3.142|2.5     |-0002.50|+2.5"),
        ('"%v %v %v %v" 1e20 123456.0 1234567.0 0.00001', "1e+20 123456 1.234567e+06 1e-05"),
        ('"%.3g %#g %#.3g %x %.2x %b" 1234.5 1.0 1.0 1.5 1.999 1.0',
         "1.23e+03 1.00000 1.00 0x1.8p+00 0x1.00p+01 4503599627370496p-52"),
        ('"%s|%.2s|%5s|%-5s|%05s|%x|% x|%#x|%# X|%q|%#q"'
         ' "héé" "héé" "ab" "ab" "ab" "hé" "hé" "hé" "hé" "a\\"b" "ab"',
         'héé|hé|   ab|ab   |000ab|68c3a9|68 c3 a9|0x68c3a9|0X68 0XC3 0XA9|"a\\"b"|`ab`'),
        ('"%t %5t %v %T %T %T %T %T" true false true 1 1.5 "" . nil',
         "true false true int float64 string map[string]string <nil>"),
        ('"%d %s %t" "x" 1 1', "%!d(string=x) %!s(int=1) %!t(int=1)"),
        ('"%d|%5d" true "x"', "%!d(bool=true)|%!d(string=    x)"),
        ('"%#v %#v %#v" "a" 1 (index "a" 0)', '"a" 1 0x61'),
        ('"%v %v %.1f" 1i (index "a" 0) 1+2i', "(0+1i) 97 (1.0+2.0i)"),
        ('"%[3]d %[1]d|%[2]*d" 1 5 3', "3 1|    3"),
        ('"%[5]d %[x]d %[1d" 1', "%!d(BADINDEX) %!d(BADINDEX) %!d(BADINDEX)"),
        ('"%*d|%-*d|%.*f|%*d" 4 1 4 1 2 1.5 -4 1', "   1|1   |1.50|1   "),
        ('"%*d %.*d" "x" 1 -1 2', "%!(BADWIDTH)1 %!(BADPREC)2"),
        ('"%d %%" 1 2', "1 %%!(EXTRA int=2)"),
        ('"%!" "x"', "%!!(string=x)"),
        ('"%" 1', "%!(NOVERB)%!(EXTRA int=1)"),
        ('"%99999999999d" 1', "%!(NOVERB)%!(EXTRA int=1)"),
        ('"%é" 1', "%!é(int=1)"),
    ],
)  # fmt: skip
def test_printf(arguments: str, expected: str) -> None:
    assert rendered(f"[[ printf {arguments} ]]") == expected


def test_printf_shows_a_map_by_verb() -> None:
    template = compile_template('[[ printf "%q %#v %d" . . . ]]')
    assert template.render({"a": "b"}) == (
        'map["a":"b"] map[string]string{"a":"b"} map[%!d(string=a):%!d(string=b)]'
    )


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("[[ 0x_1F ]] [[ 0b11 ]] [[ 0o17 ]] [[ 017 ]] [[ 1_000 ]] [[ +3 ]]", "31 3 15 15 1000 3"),
        ("[[ 0x1p4 ]] [[ .5 ]] [[ 1. ]] [[ 1_0.5e1 ]] [[ 2i ]]", "16 0.5 1 105 (0+2i)"),
        (r"[['\n']] [['\x41']] [['\u00e9']] [['\'']] [['é']]", "10 65 233 39 233"),
        (r'[["\x41\102\u00e9\U0001F600\a\\"]]', "ABé\U0001f600\a\\"),
        (r'[["\xc3\xa9"]]', "é"),
        ("[[`a\\n\r]]`]]", "a\\n]]"),
    ],
)
def test_literals(source: str, expected: str) -> None:
    assert rendered(source) == expected


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("[[ range 3 ]][[ . ]][[ else ]]none[[ end ]]", "012"),
        ("[[ range 0 ]]x[[ else ]]none[[ end ]]", "none"),
        ("[[ range $i := 2 ]][[ $i ]][[ end ]]", "01"),
        ("[[ range nil ]]x[[ else ]]none[[ end ]]", "error"),
        ("[[ $k := 0 ]][[ range $k, $_ = . ]][[ end ]][[ $k ]]", "error"),
        ('[[ $k := "" ]][[ $v := "" ]][[ range $k, $v = . ]][[ end ]][[ $k ]]=[[ $v ]]', "uni=hé"),
        ('[[ range $k, $v := . ]][[ if eq $k "n" ]][[ break ]][[ end ]][[ $k ]] [[ end ]]', "a-b empty "),
        ('[[ range $k, $v := . ]][[ if ne $k "n" ]][[ continue ]][[ end ]][[ $k ]][[ end ]]', "n"),
        ("[[ with .empty ]]a[[ else with .name ]][[ . ]][[ else ]]c[[ end ]]", "bob"),
        ("[[ with $x := .empty ]]a[[ else ]][[ len $x ]][[ end ]]", "0"),
        ('[[ if .empty ]]a[[ else if eq .n "6" ]]b[[ else if .n ]]c[[ end ]]', "c"),
        ("[[ if .empty ]][[ $y := 1 ]][[ else ]][[ $y ]][[ end ]]", "error"),
        ("[[ $x := $x ]]", "error"),
        ("[[ $x = 1 ]]", "error"),
        ('[[ $ = "z" ]][[ $ ]]', "z"),
        ('[[ define "t" ]]<[[ . ]][[ $ ]]>[[ end ]][[ template "t" ]][[ template "t" .n ]]',
         "<<no value><no value>><55>"),
        ('[[ define "t" ]][[ .x.y ]][[ end ]][[ template "t" ]]', "<no value>"),
        ('[[ block "b" .n ]][[ . ]][[ end ]][[ template "b" .name ]]', "5bob"),
        ('[[ define "t" ]] [[ end ]][[ define "t" ]]x[[ end ]][[ template "t" ]]', "x"),
        ("[[ (index . `name`).x ]]", "error"),
        ("[[ $.name ]][[ ($).n ]]", "bob5"),
        ("[[ slice .uni 1 ]] [[ slice .name 0 2 ]] [[ slice .name ]]", "é bo bob"),
        ("[[ slice .name 2 1 ]]", "error"),
        ("[[ slice .name 0 4 ]]", "error"),
        ("[[ index .name 3 ]]", "error"),
        ("[[ index .name nil ]]", "error"),
        ('[[ index . "name" 0 | printf "%c" ]]', "b"),
        ("[[ eq (index .name 0) 98 ]] [[ lt (index .name 0) 98 ]]", "true false"),
        ("[[ eq 1 1.0 ]]", "error"),
        ("[[ eq . . ]]", "error"),
        ("[[ eq nil nil ]] [[ eq . nil ]] [[ ne .name nil ]]", "true false true"),
        ("[[ lt true false ]]", "error"),
        ("[[ or .empty nil 0 ]] [[ and .name 0 (index .name 9) ]] [[ or 1 (index .name 9) ]]", "0 0 1"),
        ("[[ and nil 1 ]] [[ nil | print ]]", "error"),
        ("[[ print nil ]] [[ html nil ]] [[ print 1 nil true ]]", "<nil> &lt;no value&gt; 1 <nil> true"),
        ("[[ html `a<b>&\"'` ]]", "a&lt;b&gt;&amp;&#34;&#39;"),
        (r"""[[ js "a\n<é=' ]]\"" ]]""", r"""a\u000A\u003Cé\u003D\' ]]\""""),
        ('[[ urlquery "a b/é~" "&" ]]', "a+b%2F%C3%A9~%26"),
        ("[[ 9223372036854775808 ]]", "error"),
        ("[[ printf 5 ]]", "error"),
        ("[[ call nil ]]", "error"),
        ("[[ .name 1 ]]", "error"),
        ("[[ 1 | .name ]]", "error"),
        ("[[ true\n| print\n]]", "true"),
        ("a [[- /* x\n */ -]] b", "ab"),
        ("a \n[[- 1 -]]\t b", "a1b"),
        ("a [[-\n/* x */\n-]] b", "ab"),
        ("[[-1]] [[- -1]]", "-1-1"),
    ],
)  # fmt: skip
def test_language(source: str, expected: str) -> None:
    template = compile_template(source)
    if expected == "error":
        with pytest.raises(TemplateRuntimeError):
            template.render(PARAMETERS)
    else:
        assert template.render(PARAMETERS) == expected


@pytest.mark.parametrize(
    ("source", "line", "problem"),
    [
        ("[[ .name", 1, "expected ]], found end of the template"),
        ("a\nb [[ if .x ]]\nc", 3, "expected [[end]] for line 2, found end of the template in if"),
        ("a\n\n[[ end ]]", 3, "unexpected end: nothing is open"),
        ("[[ else ]]", 1, "unexpected else: nothing is open"),
        ("[[ if .x ]][[ else ]]\n[[ else ]][[ end ]]", 2, "expected [[end]], found [[else]] in if"),
        ("[[ range . ]][[ else if .x ]][[ end ]]", 1, "expected [[, found 'if' in the text"),
        ("\n[[ nope .x ]]", 2, "unknown function 'nope'"),
        ("[[ $x ]]", 1, "undefined variable '$x'"),
        ("[[ if .x ]][[ $y := 1 ]][[ end ]]\n[[ $y ]]", 2, "undefined variable '$y'"),
        ("\n[[ break ]]", 2, "break outside of range"),
        ("[[ range . ]][[ end ]][[ continue ]]", 1, "continue outside of range"),
        ("[[ range . ]][[ block `b` . ]][[ break ]][[ end ]][[ end ]]", 1, "break outside of range"),
        ("[[ .x .y) ]]", 1, "expected ]], found ')' in the action"),
        ("[[ (.x ]]", 1, "expected ), found ]] in the parentheses"),
        ("[[ .x | 5 ]]", 1, "stage 2 of the pipeline is no function in the action"),
        ('[[ "a"\n.x"b" ]]', 2, "bad character in '.x\"b\" ]]'"),
        ('[[ print "a""b" ]]', 1, "expected a space, found '\"b\"' in the action"),
        ("[[ nil.x ]]", 1, "unexpected .x after a constant"),
        ("[[ $a, $b := . ]]", 1, "too many variables are declared in the action"),
        ("[[ range $a, .x ]][[ end ]]", 1, "expected a variable, found '.x' in range"),
        ("[[ template x ]]", 1, "expected a template's name in quotes, found 'x' in template"),
        ("[[ if .x ]][[ define `t` ]][[ end ]][[ end ]]", 1, "expected a value, found 'define' in the action"),
        ("[[ define `t` ]]1[[ end ]]\n[[ define `t` ]]2[[ end ]]", 2, "template 't' is defined twice"),
        ("[[ /* x */ ]]", 1, "unexpected character '/'"),
        ("[[/* x */ x ]]", 1, "expected ]] right after the comment"),
        ("\n[[/* x", 2, "unclosed comment"),
        ("[[ `x ]]", 1, "unterminated quote: '`x ]]'"),
        ("[[ 'ab' ]]", 1, "malformed character constant: 'ab'"),
        (r'[[ "\q" ]]', 1, r"invalid escape in '\\q'"),
        ("[[ 99999999999999999999 ]]", 1, "integer overflow: 99999999999999999999"),
        ("[[ 1e999 ]]", 1, "illegal number syntax: 1e999"),
        ("[[ 08 ]]", 1, "illegal number syntax: 08"),
        ("[[ .x² ]]", 1, "bad character in '.x²'"),
        ("[[ ]]", 1, "expected a value, found ]] in the action"),
    ],
)  # fmt: skip
def test_syntax_errors_say_line_and_cause(source: str, line: int, problem: str) -> None:
    with pytest.raises(TemplateSyntaxError) as caught:
        compile_template(source)
    assert str(caught.value) == f"template line {line}: {problem}"
    assert caught.value.line == line


@pytest.mark.parametrize(
    ("source", "line", "problem"),
    [
        ("\n[[ .name.x ]]", 2, "string has no field .x"),
        ("\n\n[[ if 1 ]]\n[[ index .name 9 ]][[ end ]]", 4, "index: index 9 is out of range"),
        ("[[ print\n1\n| not | len ]]", 3, "len: bool has no length"),
        ("\n[[ template `t` ]]", 2, "template 't' is not defined"),
        ("\n[[ range .name ]][[ end ]]", 2, "range cannot go over string"),
        ("[[ lt .n\n5 ]]", 1, "lt: string and int have no order"),
        ("[[ not ]]", 1, "wrong number of arguments for not: 0"),
    ],
)
def test_runtime_errors_say_line_and_cause(source: str, line: int, problem: str) -> None:
    with pytest.raises(TemplateRuntimeError) as caught:
        rendered(source)
    assert str(caught.value) == f"template line {line}: {problem}"


@pytest.mark.parametrize(
    ("source", "names", "uses_whole_map"),
    [
        ("text", set(), False),
        ('[[ printf "%d" 5 ]]', set(), False),
        ("[[ .a ]][[ $.b ]][[ .c.d ]]", {"a", "b", "c"}, False),
        ('[[ index . "a-b" ]][[ index $ "c" 0 ]]', {"a-b", "c"}, False),
        ("[[ if eq .a (len .b) ]][[ .c ]][[ else ]][[ .d ]][[ end ]]", {"a", "b", "c", "d"}, False),
        ("[[ with .a ]][[ . ]][[ $.b ]][[ else ]][[ .c ]][[ end ]]", {"a", "b", "c"}, False),
        ('[[ define "t" ]][[ . ]][[ end ]][[ template "t" .a ]]', {"a"}, False),
        ("[[ range 3 ]][[ . ]][[ $.a ]][[ end ]]", {"a"}, False),
        ("[[ . ]]", set(), True),
        ("[[ $ ]]", set(), True),
        ("[[ len . ]]", set(), True),
        ("[[ if . ]][[ end ]]", set(), True),
        ("[[ range . ]][[ end ]]", set(), True),
        ("[[ $m := . ]][[ $m.a ]]", set(), True),
        ('[[ (.).a ]]', set(), True),
        ("[[ index . .a ]]", {"a"}, True),
        ('[[ "a" | index . ]]', set(), True),
        ('[[ index . "a" . ]]', {"a"}, True),
        ("[[ with .a ]][[ else ]][[ . ]][[ end ]]", {"a"}, True),
        ('[[ define "t" ]][[ .a ]][[ end ]][[ template "t" . ]]', {"a"}, True),
        ('[[ block "t" $ ]][[ end ]]', set(), True),
    ],
)  # fmt: skip
def test_references(source: str, names: set[str], uses_whole_map: bool) -> None:
    template = compile_template(source)
    assert template.names == names
    assert template.uses_whole_map is uses_whole_map
    assert template.is_constant is (not names and not uses_whole_map)


HOSTILE = {
    "parentheses": "[[ " + "(" * 5000 + "1" + ")" * 5000 + " ]]",
    "blocks": "[[ if 1 ]]" * 5000 + "[[ end ]]" * 5000,
    "open blocks": "[[ if 1 ]]" * 5000,
    "open parentheses": "[[ " + "(" * 100_000,
}


@pytest.mark.parametrize("source", HOSTILE.values(), ids=HOSTILE)
def test_deep_nesting_is_a_syntax_error(source: str) -> None:
    with pytest.raises(TemplateSyntaxError):
        compile_template(source)


WASTEFUL = {
    "recursion": '[[ define "t" ]][[ template "t" ]][[ end ]][[ template "t" ]]',
    "doubling recursion": '[[ define "t" ]][[ template "t" ]][[ template "t" ]][[ end ]][[ template "t" ]]',
    "recursion in blocks": '[[ define "t" ]]' + "[[ if 1 ]]" * 45 + '[[ template "t" ]]' + "[[ end ]]" * 46
    + '[[ template "t" ]]',
    "long range": "[[ range 9000000000000000000 ]][[ end ]]",
    "ranges in each other": "[[ range 100000 ]][[ range 100000 ]][[ end ]][[ end ]]",
    "doubling text": '[[ $x := "x" ]][[ range 100 ]][[ $x = print $x $x ]][[ end ]]',
    "wide format": '[[ printf "' + "%1000000[1]d" * 50 + '" 1 ]]',
    "comparing": '[[ $x := printf "%1000000d" 1 ]][[ range 1000000 ]][[ $_ := eq $x $x ]][[ end ]]',
}  # fmt: skip


@pytest.mark.parametrize("source", WASTEFUL.values(), ids=WASTEFUL)
def test_work_is_limited(source: str) -> None:
    with pytest.raises(TemplateRuntimeError):
        rendered(source)


def test_long_sources_are_no_deep_ones() -> None:
    chain = "[[ if 0 ]]" + "[[ else if 0 ]]" * 3000 + "[[ else ]]x[[ end ]]"
    assert rendered(chain) == "x"
    assert rendered("[[ 1 " + "| print " * 3000 + "]]") == "1"
    assert rendered("[[ $x := 1 ]]" * 3000 + "[[ $x ]]") == "1"


def test_recursion_ends_where_the_data_does() -> None:
    source = (
        '[[ define "t" ]][[ if . ]][[ slice . 0 1 ]]-[[ template "t" (slice . 1) ]][[ end ]][[ end ]]'
        '[[ template "t" .word ]]'
    )
    assert rendered(source, word="abcd" * 20) == "a-b-c-d-" * 20


def test_bytes_that_are_no_text_pass_through() -> None:
    assert rendered("[[ .x ]][[ print .x ]]", x="\udcff") == "\udcff\udcff"
    assert rendered("[[ slice .uni 0 2 ]]") == "h\udcc3"
    assert rendered('[[ len .x ]] [[ printf "%q" .x ]]', x="\udcff") == '1 "\\xff"'
    assert rendered("[[ len .x ]] [[ urlquery .x ]]", x="\ud800\udcff")


WORDS = """[[ ]] [[- -]] . .x $ $y $y:= = , | ( ) "a%5d" `b` 'c' 1 -2.5 3i nil true if else end with range
break continue define template block print printf len index slice eq lt and not html js urlquery text"""
SOURCES = (
    st.text(st.sampled_from("[]-. $|()\"`'\\/*:=,%x1e+\n²é"))
    | st.lists(st.sampled_from(WORDS.split())).map(" ".join)
    | st.text()
)


@given(SOURCES, st.dictionaries(st.text(), st.text()))
def test_any_source_renders_or_is_a_template_error(source: str, params: dict[str, str]) -> None:
    try:
        compile_template(source).render(params)
    except TemplateError as error:
        caught = error
    else:
        return
    assert str(caught).startswith(f"template line {caught.line}: ")
    assert 1 <= caught.line <= source.count("\n") + 1


@given(SOURCES, st.dictionaries(st.text(), st.text()))
def test_any_action_renders_or_is_a_template_error(source: str, params: dict[str, str]) -> None:
    with suppress(TemplateError):
        compile_template(f"[[ {source} ]]").render(params)


@given(st.text(), st.lists(st.text() | st.integers(-(2**63), 2**63 - 1) | st.floats(0, 1e9)))
def test_any_format_is_written(directives: str, arguments: list[str | int | float]) -> None:
    names = [f"p{number}" for number in range(len(arguments))]
    words = [
        f".{name}" if isinstance(argument, str) else repr(argument)
        for name, argument in zip(names, arguments, strict=True)
    ]
    params = dict(zip(names, map(str, arguments), strict=True))
    source = f'[[ printf (print "%" .format) {" ".join(words)} ]]'
    assert isinstance(rendered(source, format=directives, **params), str)


@given(st.text().filter(lambda text: "[[" not in text))
def test_text_without_actions_is_itself(text: str) -> None:
    template = compile_template(text)
    assert template.render({}) == text
    assert template.is_constant


@given(st.text())
def test_a_value_is_unchanged(value: str) -> None:
    params = {"x": value, "a-b": value}
    assert compile_template("[[ .x ]]").render(params) == value
    assert compile_template('<[[ index . "a-b" ]]>').render(params) == f"<{value}>"
    assert compile_template("[[ if .x ]][[ .x ]][[ end ]]").render(params) == value


def test_a_template_is_reusable_and_says_its_source() -> None:
    template = compile_template("--x=[[ .name ]][[ $n := .n ]][[ $n ]]")
    assert isinstance(template, Template)
    assert template.source == "--x=[[ .name ]][[ $n := .n ]][[ $n ]]"
    assert [template.render({"name": each}) for each in "ab"] == ["--x=a", "--x=b"]
    assert repr(template) == f"Template({template.source!r})"
