import inspect
import json
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from typing import get_args

import numpy as np
import pytest

from nextchar.parsing import abc, c, drama, latex, python, wikitext
from nextchar.parsing.brackets import C_LITERALS, PYTHON_LITERALS, balanced, blank_literals
from nextchar.parsing.domain import Program
from nextchar.parsing.report import DomainName, get_domain
from parsing.texts import TEXTS

VALID: dict[str, Callable[[str], bool]] = {
    "abc": lambda tune: abc.complete(tune) and all(bar.valid for bar in abc.inner_bars(tune)),
    "c": lambda code: not c.errors(code),
    "drama": drama.valid,
    "latex": lambda text: latex.environments(text) and latex.braces(text) and latex.dollars(text),
    "python": python.parses,
    "wikitext": wikitext.valid,
}
COUNTS = {"abc": 1, "c": 2, "drama": 4, "latex": 3, "python": 3, "wikitext": 6}


def needs(program: Program) -> pytest.MarkDecorator:
    """Skip the test if the program is not installed."""
    return pytest.mark.skipif(not program.is_installed(), reason=program.missing())


def shuffled(text: str, seed: int = 0) -> str:
    """Return the characters of a text in random order."""
    order = np.random.default_rng(seed).permutation(len(text))
    return "".join(text[place] for place in order)


@pytest.mark.parametrize("name", get_args(DomainName))
def test_real_pieces_are_found_and_valid(name: str) -> None:
    """Every piece of a real text is found and is valid."""
    pieces = get_domain(name).pieces(TEXTS[name]).whole
    assert len(pieces) == COUNTS[name]
    assert [piece for piece in pieces if not VALID[name](piece)] == []


@pytest.mark.parametrize("name", get_args(DomainName))
def test_shuffled_pieces_are_invalid(name: str) -> None:
    """At most 5 % of pieces are valid after their characters are shuffled."""
    pieces = [piece for piece in get_domain(name).pieces(TEXTS[name]).whole if len(piece) > 40]
    again = [shuffled(piece, seed) for piece in pieces for seed in range(10)]
    assert sum(map(VALID[name], again)) <= 0.05 * len(again)


@pytest.mark.parametrize("name", get_args(DomainName))
def test_any_text_can_be_checked(name: str) -> None:
    """No text makes a check fail: neither noise nor text of another domain."""
    noise = "".join(np.random.default_rng(1).choice(list("{}[]()<>$\\%&|:\"'\n ab/=X"), 3000))
    domain = get_domain(name)
    for text in ("", "\n\n\n", "\x00\ud800", noise, *TEXTS.values()):
        for part, whole, *_ in domain.check(text, None).values():
            assert part >= 0
            assert whole >= 0


def test_the_standard_library_parses() -> None:
    """Of real functions 98 % parse, and nearly all have balanced brackets."""
    tally = python.check(inspect.getsource(json.decoder) + inspect.getsource(inspect), None)
    part, whole, *_ = tally["functions that parse"]
    assert whole > 100
    assert part / whole >= 0.98
    assert tally["lines indented as they must be"].part >= 0.98 * tally["lines indented as they must be"].whole


@pytest.mark.parametrize(
    ("broken", "check"),
    [
        ("def f(:\n    pass\n", python.parses),
        ("def f():\nreturn 1\n", python.parses),
        ("def f():\n    return [1)\n", partial(balanced, literals=PYTHON_LITERALS)),
        ("def f(x):\n    return 08\n", python.parses),
        ("int f(void)\n{\n\treturn (1;\n}\n", c.brackets),
        ("int f(void)\n{\n\tif x\n\t\treturn 1;\n}\n", lambda code: not c.errors(code)),
        ("\\begin{proof}\n\\begin{enumerate}\n\\end{proof}", latex.environments),
        ("\\begin{proof}\n{\\it x\n\\end{proof}", latex.braces),
        ("\\begin{proof}\n$x\n\\end{proof}", latex.dollars),
        ("\\begin{proof}\n$x\n\ny$\n\\end{proof}", latex.dollars),
        ("\\begin{proof}\n$$x$\n\\end{proof}", latex.dollars),
        ("a [[link of one bracket] more", wikitext.markup),
        ("{{cite book | title=x }", wikitext.markup),
        ("one &lt;ref&gt; two", wikitext.markup),
        ("AT&T", wikitext.entities),
        ("a < b", wikitext.entities),
        ("<page><title>x</page><text>", wikitext.head),
        ("2015-02-30T00:00:00Z", wikitext.timestamp),
        ("1915-02-03T00:00:00Z", wikitext.timestamp),
        ("X:1\nT:No key\nM:4/4\nabc|\n", abc.complete),
        ("X:1\nT:No metre\nK:D\nabc|\n", abc.complete),
        ("X:1\nT:A key of X\nM:4/4\nK:X\nabc|\n", abc.complete),
        ("he said\nnothing at all", drama.valid),
        ("ROMEO:\nHa\nJULIET:\nHo", drama.valid),
        ("ROMEO:", drama.valid),
    ],
)
def test_broken_pieces_are_invalid(broken: str, check: Callable[[str], bool]) -> None:
    """A piece with one error is invalid."""
    assert not check(broken)


def test_a_piece_ends_at_its_error() -> None:
    """A fragment closed by the wrong end, and a function in which another begins, are invalid pieces."""
    assert latex.fragments("\\begin{lemma}a\\end{proof} \\begin{proof}b\\begin{proof}c\\end{proof}").whole == [
        "\\begin{lemma}a\\end{proof}",
        "\\begin{proof}b",
        "\\begin{proof}c\\end{proof}",
    ]
    # An end after the error that closes nothing is not a second error.
    twice = "\\begin{proof}\\begin{enumerate}a\\end{proof}\\end{enumerate} b\\end{proof} \\begin{lemma}c\\end{lemma}"
    assert latex.fragments(twice).whole == [
        "\\begin{proof}\\begin{enumerate}a\\end{proof}",
        "\\begin{lemma}c\\end{lemma}",
    ]
    whole, cut = c.functions("int f(void)\n{\n\ta();\n\nint g(void)\n{\n\tb();\n}\nint h(void)\n{\n\tc();\n")
    assert [piece.splitlines()[0] for piece in whole] == ["int f(void)", "int g(void)"]
    assert cut == 1
    assert c.errors(whole[0]) > 0


def test_brackets_in_comments_and_strings_do_not_count() -> None:
    """Literals are replaced by blanks, line ends stay, and a string stays an expression."""
    code = "f(\"(\", '{'); /* [\n[ */ g();"
    assert blank_literals(code, C_LITERALS) == "f(_  , _  );     \n     g();"
    assert balanced(blank_literals(code, C_LITERALS))


def test_comments_are_closed() -> None:
    """A comment in which another begins is not closed; the last one may be cut and is left out."""
    assert c.comments("/* a */ /* b /* c */ /* d").part == 2
    assert c.comments("/* a */ /* b /* c */ /* d").whole == 3


def test_indentation_in_c() -> None:
    """The tabs before a statement must equal the number of open curly brackets."""
    good, lines, *_ = c.indentation("int f(void)\n{\n\tint a;\n\n\tif (a) {\n\t\tb(a,\n\t\t  c);\n\t}\n  d();\n}\n")
    assert (good, lines) == (5, 6)


def test_bars_add_up() -> None:
    """Lengths, tuplets, broken rhythm, chords and grace notes add up as ABC 2.1 defines."""
    head = "X:1\nT:t\nM:4/4\nL:1/8\nK:C\n|"
    lengths = {
        "C2D2 E4": 1,
        "C>D E<F G3 z": 1,
        "(3CDE (3:2:2F2G [CE]4": 1,
        '"Am"{cd}C8': 1,
        "C//D//E/ F2 G4-": Fraction(7, 8),
        "~C4 .D4 !trill!E": Fraction(9, 8),
        "C>>D": Fraction(1, 4),
    }
    for music, length in lengths.items():
        bar = list(abc.bars(head + " z8 | " + music + "| z8 |]"))[2]
        assert (bar.length, bar.valid) == (length, True), music


def test_upbeats_and_endings_may_be_short() -> None:
    """Only bars within a part must be full; a change of metre applies from the next bar."""
    full = abc.inner_bars("X:1\nT:t\nM:3/4\nL:1/4\nK:C\nG|ABc|d2|e3:|f2|]\n")
    assert [bar.length for bar in full] == [Fraction(3, 4), Fraction(1, 2)]
    assert [bar.length == bar.metre for bar in full] == [True, False]


def test_known_speakers_are_counted() -> None:
    """Only speakers of the training text are known."""
    known = drama.known_speakers("\n\nROMEO:\nHa\n\nJULIET:\nHo\n\nAll:\nHe\n\n")
    tally = drama.check("x\n\nROMEO:\nHa\n\nROSALDO:\nHo\n\ny", known)
    assert tally["speakers known from training"][:2] == (1, 2)


@needs(c.GCC)
def test_gcc_accepts_valid_functions() -> None:
    """Undeclared names are not syntax errors; a missing semicolon is."""
    valid = "static long f(struct a *b, u64 c)\n{\n\treturn g(b->d.e, c) + H;\n}\n"
    assert c.compiles(valid)
    assert not c.compiles(valid.replace(";", ""))
    assert not c.compiles("int f(void)\n{\n\tbreak;\n}\n")


@needs(abc.ABC2MIDI)
def test_a_valid_tune_becomes_midi() -> None:
    """abc2midi converts a tune and rejects noise."""
    tune = abc.tunes(TEXTS["abc"]).whole[0]
    assert abc.play(tune)[:4] == b"MThd"
    assert abc.export(tune)[".abc"].decode() == tune
    assert not abc.play("X:1\nT:t\nM:4/4\nK:C\n|:[[[ ?? |: ) ((((\n")


@needs(latex.PDFLATEX)
def test_tex_typesets_valid_fragments() -> None:
    """Commands that the training text uses are not errors of a fragment; unknown ones are."""
    known = latex.usage(TEXTS["latex"])
    lemma = latex.fragments(TEXTS["latex"]).whole[0]
    kind, pdf = latex.typeset(lemma, known)
    assert (kind, pdf[:4]) == ("", b"%PDF")
    assert latex.typeset(lemma.replace("\\kappa", "\\kapppa"), known)[0] == "unknown command"
    assert latex.typeset(lemma.replace("$X$", "$X"), known)[0] == "maths"
