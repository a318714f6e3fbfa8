"""Features on texts labelled by hand: the alignment, recovery, and what users may bring."""

import io
import tokenize
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from nextchar.discovery.feature_sets import labeller
from nextchar.errors import ConfigError
from nextchar.features.feature import Feature, SpanRule, binary, keep, scan
from nextchar.features.profiles import RULES, general, guess, ruled


def labels(features: object, name: str) -> str:
    """Return a binary feature as 0 and 1, and ? where it is unknown."""
    feature = next(each for each in features if each.name == name)  # type: ignore[attr-defined]
    return "".join(str(int(v)) if known else "?" for v, known in zip(feature.values, feature.known, strict=True))


def of(profile: str, text: str) -> list[Feature]:
    """Return all features of a kind of text."""
    return list(labeller(profile, text)[1](text))


@pytest.mark.parametrize(
    ("profile", "name", "text", "expected"),
    [
        ("general", "quotes", 'a "bc" d', "00111000"),
        ("general", "single_quotes", "it's 'so' x", "00000111000"),
        ("general", "parentheses", "a(b(c)d)e", "011111100"),
        ("general", "column_start", "", ""),
        ("general", "url", "x http://a.b y", "00000000111100"),
        ("general", "quotes", '"a\n\nb', "??????"[:2] + "?00"),
        ("wiki", "wiki_link", "a [[b]] c", "000111000"),
        ("wiki", "template", "{{a}}b", "011100"),
        ("latex", "math", "a $x$ b", "0011000"),
        ("latex", "math", "$$x$$ y", "0111000"),
        ("latex", "display_math", "$$x$$ y", "0111000"),
        ("latex", "math", "$a$$b$c", "1101100"),
        ("latex", "math", r"\$5 $x$", "0000110"),
        ("latex", "math", "a $x", "00??"),
        ("latex", "math", "a $x\n\n$y$", "00000" + "0" + "110"),
        ("latex", "environment", r"\begin{a}x\end{a}y", "000000001111111100"),
        ("c", "c_comment", "a/*b*/c", "0011100"),
        ("c", "c_string", 'f("a\\"b")', "0011111" + "00"),
        ("c", "c_comment", "a/*b", "00??"),
        ("c", "c_string", '"a', "??"),
        ("c", "if_condition", "if (a(b)) c", "00011111000"),
        ("c", "preprocessor", "#define a\nb", "11111111100"),
        ("python", "python_comment", "x # y\nz", "0011100"),
        ("python", "python_docstring", '"""a', "00??"),
        ("python", "if_condition", "if a:\n", "001100"),
        ("python", "if_condition", "if a: b\n", "00110000"),
        ("python", "if_condition", "if (a\n  or b[1:]):\n", "00" + "1" * 15 + "00"),
        ("python", "if_condition", "if a", "00??"),
        ("general", "indenting", "  a\nb", "11000"),
        ("general", "capitalised_word", "To be", "11000"),
        ("general", "spells_www", "wwww", "0011"),
    ],
)
def test_labels_are_those_of_a_reader(profile: str, name: str, text: str, expected: str) -> None:
    """What opens counts as inside, what closes as outside; an unclosed span is unknown."""
    if text:
        assert labels(of(profile, text), name) == expected


def test_a_span_says_when_it_began_and_ends() -> None:
    """Depth, characters since the opening one, and whether the next one closes follow from the same scan."""
    found = {
        each.name: each.values.tolist() for each in ruled({"parentheses": RULES["general"]["parentheses"]}, "a(b(c)d)e")
    }
    assert found["parentheses.since"] == [0, 1, 2, 3, 4, 5, 6, 0, 0]
    assert found["parentheses.next_close"] == [0, 0, 0, 0, 1, 0, 1, 0, 0]


def test_the_scanner_recovers() -> None:
    """A mark that is never closed is given up at a blank line or after the limit, and the next ones are right."""
    quotes = SpanRule("quotes", '"', '"', limit=10)
    assert scan('"open\n\n"shut"', quotes).closed == [(7, 12)]
    assert scan('"' + "x" * 20 + '"a"', quotes).closed == [(21, 23)]


def test_counters_count() -> None:
    """Column, word position and indentation are what counting gives."""
    found = {each.name: each.values.tolist() for each in general("ab c\n\tde\n")}
    assert found["column"] == [1, 2, 3, 4, 0, 1, 2, 3, 0]
    assert found["word_position"] == [1, 2, 0, 1, 0, 0, 1, 2, 0]
    assert found["indentation"][6] == 8


def test_every_feature_is_as_long_as_the_text(text: str) -> None:
    """There are sixty and more, each with one label a character, and names are not used twice."""
    for profile in ("python", "c", "wiki", "latex", "prose"):
        found = of(profile, text)
        assert {len(each.values) for each in found} == {len(text)}
        assert len({each.name for each in found}) == len(found)
    assert len(of("python", text)) >= 60
    assert guess(text) == "python"


def test_what_is_rare_is_named() -> None:
    """A feature that comes too rarely is left out with its counts."""
    kept, dropped = keep(list(general("plain words only " * 100)))
    assert "quotes" in dropped
    assert dropped["quotes"] == "0 characters in 0 stretches"
    assert {"space", "word_position"} <= {each.name for each in kept}


def test_features_of_ones_own(tmp_path: Path) -> None:
    """TOML brings expressions and spans, Python functions; both come beside what is looked for anyway."""
    toml, python = tmp_path / "mine.toml", tmp_path / "mine.py"
    toml.write_text("todo = 'TODO'\n[poem]\nopens = '<p>'\ncloses = '</p>'\n", encoding="utf-8")
    python.write_text(
        "import numpy as np\n\n\ndef first(text):\n    return np.arange(len(text)) == 0\n", encoding="utf-8"
    )
    text = "a TODO <p>x</p>"
    found = of(str(toml), text)
    assert labels(found, "todo") == "001111000000000"
    assert labels(found, "poem") == "000000000111110"[:15]
    assert labels(of(str(python), text), "first") == "1" + "0" * 14
    assert any(each.name == "quotes" for each in found)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nonsense", "", "there are no features 'nonsense'"),
        ("none.toml", None, "there is no file"),
        ("bad.toml", "a = ", "not valid TOML"),
        ("bad.toml", "a = 3", "a in .* must be a regular expression"),
        ("bad.toml", "a = '('", "is no regular expression"),
        ("bad.toml", "[a]\nopens = 'x'\ncloses = 'y'\nresets = '('", "a in .* is no regular expression"),
        ("bad.toml", "[a]\nopens = 'x'\ncloses = 3", "closes of a in .* is 3, but must be of type str"),
        ("bad.toml", "[a]\nopens = 'x'\ncloses = 'y'\nlimit = 'z'", "limit of a in .* must be of type int"),
        ("bad.py", "def f(text:", "raised SyntaxError"),
        ("bad.py", "def f(text):\n    return text[99]\n", "raised IndexError"),
        ("bad.py", "x = 1", "defines no function"),
        ("bad.py", "def f(text):\n    return [1]\n", "returned .* for 3 characters"),
    ],
)
def test_what_cannot_be_is_one_sentence(tmp_path: Path, name: str, content: str | None, said: str) -> None:
    """A profile or file that is not what it should be is refused by name."""
    given = name if "." not in name else str(tmp_path / name)
    if content and "." in name:
        (tmp_path / name).write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match=said):
        list(labeller(given, "abc")[1]("abc"))


def test_a_feature_of_ones_own_takes_the_place_of_ours(tmp_path: Path) -> None:
    """Two features of one name could not be told apart."""
    path = tmp_path / "mine.toml"
    path.write_text("quotes = 'x+'\n", encoding="utf-8")
    found = [each for each in of(str(path), '"a" xx') if each.name == "quotes"]
    assert [each.values.tolist() for each in found] == [[0, 0, 0, 0, 1, 1]]


def test_what_stands_in_one_half_is_named() -> None:
    """A feature that one half has nothing of cannot be chosen there, or scored."""
    feature = binary("late", np.arange(8000) % 40 < 20 * (np.arange(8000) >= 4000))
    halves = np.arange(4000), np.arange(4000, 8000)
    assert keep([feature])[0] == [feature]
    assert keep([feature], halves=halves)[1] == {"late": "2,000 characters, nearly all of them in one half of the text"}


def test_tokens_end_where_they_close() -> None:
    """The closing quote is outside of a string, the end of the line outside of a comment."""
    found = of("python", "x = 'ab' # c\n")
    assert labels(found, "python_single_string") == "0000111" + "0" * 6
    assert labels(found, "python_comment") == "0" * 9 + "1110"


def test_conditions_of_python_end_at_their_colon() -> None:
    """They need no closing bracket, and elif has one as if has."""
    found = of("python", "if abc:\n  x\nelif (d):\n  y\n")
    assert labels(found, "if_condition") == "001111" + "0" * 10 + "1111" + "0" * 6


@pytest.mark.parametrize(
    ("profile", "name", "text", "expected"),
    [
        # After a comment at the end of a line, the next line still begins a statement.
        ("python", "if_condition", "x # y\nif a:\n", "00000000" + "11" + "00"),
        # Parentheses within parameters are not their end.
        ("python", "parameters", "def f(a=(), b=1):\n", "00000" + "1" * 10 + "000"),
        # Keywords are neither comments nor strings nor parts of names.
        ("python", "keyword", "in # in\n'in' inn", "11" + "0" * 14),
        ("c", "keyword", "if /* if */", "11" + "0" * 9),
        # What a directive defines is code.
        ("c", "c_string", '#define A "b"\n', "0000000000" + "1100"),
        ("c", "c_comment", "#define A /* b */\n", "0" * 11 + "11111" + "00"),
        # Behind a double backslash a comment begins.
        ("latex", "latex_comment", "a\\\\% b\n", "000" + "1110"),
    ],
)
def test_labels_that_need_a_lexer(profile: str, name: str, text: str, expected: str) -> None:
    """Edge cases in which a lexer is right and one regular expression is not."""
    assert labels(of(profile, text), name) == expected


def test_bodies_of_classes_and_structs() -> None:
    """They begin after the line, or at the bracket, and end with the last line, or before the closing bracket."""
    assert labels(of("python", "class A:\n  x = 1\n\n  y\nz\n"), "class_body").rstrip("0") == "1" * 22
    assert labels(of("c", "struct a { int b; } c;"), "struct") == "0" * 9 + "1" * 9 + "0" * 4


def test_strings_are_those_of_the_standard_library(text: str) -> None:
    """Strings of Python are the same characters as by `tokenize`, up to where the marks count."""
    found = {each.name: each.values != 0 for each in of("python", text)}
    kinds = ("python_string", "python_single_string", "python_docstring")
    ours = np.any([found[name] for name in kinds if name in found], axis=0)
    theirs = np.zeros(len(text), np.bool_)
    starts = np.cumsum([0, *(len(line) for line in text.splitlines(keepends=True))])
    with suppress(tokenize.TokenError):  # the text ends in the middle of a statement
        for token in tokenize.generate_tokens(io.StringIO(text).readline):
            if token.type == tokenize.STRING:
                (first, column), (last, end) = token.start, token.end
                theirs[starts[first - 1] + column : starts[last - 1] + end] = True
    assert theirs.any()
    assert (ours & ~theirs).mean() < 0.01
    assert np.corrcoef(ours, theirs)[0, 1] > 0.95


C_TEXT = """\
static int f(struct s *a, int b)
{
\tif (a && g(b, 'x')) { /* é (no */
\t\treturn h("if (" , b);
\t}
\tstruct t { int x; };
\treturn 0;
}
"""


def test_conditions_of_c_are_those_of_a_parser() -> None:
    """Conditions are those of tree-sitter's syntax tree, though strings and comments hold keywords and brackets."""
    grammar = pytest.importorskip("tree_sitter_c", reason="tree-sitter is an extra")
    library = pytest.importorskip("tree_sitter", reason="tree-sitter is an extra")
    tree = library.Parser(library.Language(grammar.language())).parse(C_TEXT.encode("utf-16-le"), encoding="utf16le")
    expected, nodes = np.zeros(len(C_TEXT)), [tree.root_node]
    while nodes:
        node = nodes.pop()
        nodes += node.children
        if node.type == "if_statement":
            condition = node.child_by_field_name("condition")
            expected[condition.start_byte // 2 : condition.end_byte // 2 - 1] = 1
    found = {each.name: each.values for each in of("c", C_TEXT)}
    assert expected.any()
    np.testing.assert_array_equal(expected, found["if_condition"])
    assert found["struct"][C_TEXT.index("int x")] == 1
    assert found["parameters"][C_TEXT.index("int b")] == 1
    assert found["call_arguments"][C_TEXT.index('"if')] == 1
    assert found["c_comment"][C_TEXT.index("é")] == 1
