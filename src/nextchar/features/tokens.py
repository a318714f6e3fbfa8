"""Tokens of C, Python and LaTeX by their Pygments lexers: spans of comments, strings and formulas, and the code without them."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from itertools import pairwise
from typing import Any

import numpy as np

from nextchar.features.feature import Bools, Spans, depth_of

LEXERS = {"c": "c", "python": "python", "latex": "tex"}
QUOTES = {
    "c": {'"': "string", "'": "char"},
    "python": {'"': "string", "'": "single_string", '"""': "docstring", "'''": "docstring"},
    "latex": {"$": "math", "$$": "display_math"},
}
"""By language, the marks that begin and end a string or formula, and its name."""
KINDS = {
    "keyword": ("Keyword", "Operator.Word"),
    "lexer_number": ("Number",),
    "lexer_operator": ("Operator",),
    "lexer_name.function": ("Name.Function",),
}
"""Features of the kind of a token, and Pygments' kinds that belong to them."""

Token = tuple[int, Any, str]
"""Offset, Pygments' kind, text."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a lexer finds in a text of T characters.

    Attributes:
        spans: By name: comments, strings, formulas.
        kinds: By name of `KINDS`: which characters are in such a token, `(T,)`.
        code: The text with blanks in place of comments and strings.
    """

    spans: dict[str, Spans]
    kinds: dict[str, Bools]
    code: str

    def of(self, name: str) -> Spans:
        """Return the spans of a name; none if there are none."""
        return self.spans.get(name, Spans([], []))


def tokenize(language: str, text: str) -> Tokens:
    """Find the tokens of a text; a string, formula or comment that is open at the end of the text is given up."""
    kind_of = import_module("pygments.token").string_to_tokentype
    wanted = {name: [kind_of(kind) for kind in kinds] for name, kinds in KINDS.items()}
    kinds = {name: np.zeros(len(text), np.bool_) for name in KINDS}
    spans: dict[str, Spans] = {}
    for piece in _lex(language, text):
        for at, kind, value in piece:
            for name in (name for name, several in wanted.items() if any(kind in each for each in several)):
                kinds[name][at : at + len(value)] = True
        for name, begin, end, closed in (*_comments(piece, language, len(text)), *_strings(piece, language, len(text))):
            found = spans.setdefault(name, Spans([], []))
            (found.closed if closed else found.given_up).append((begin, end))
    every = [span for found in spans.values() for span in found.closed + found.given_up]
    hidden = depth_of(len(text), every) > 0
    return Tokens(spans, kinds, "".join(" " if h else c for c, h in zip(text, hidden.tolist(), strict=True)))


def _lex(language: str, text: str) -> Iterator[list[Token]]:
    """Yield the tokens of each part of a text: the whole, or the paragraphs of LaTeX, because a formula ends with its paragraph."""
    lexer = import_module("pygments.lexers").get_lexer_by_name(LEXERS[language], stripnl=False, ensurenl=False)
    if language == "c":
        text = text.replace("#", " ")  # in a directive, the lexer finds no strings, and no keywords
    blank_lines = re.finditer(r"\n[ \t]*\n", text) if language == "latex" else ()
    for first, last in pairwise([0, *(match.end() for match in blank_lines), len(text)]):
        # Not get_tokens, which normalises the text, so that offsets would differ.
        found = lexer.get_tokens_unprocessed(text[first:last] + "\n" * (last == len(text)))
        yield [(first + at, kind, value) for at, kind, value in found]


def _comments(piece: list[Token], language: str, length: int) -> Iterator[tuple[str, int, int, bool]]:
    """Yield name, begin and end of each comment, and whether it is closed; the end of a line is outside of its comment."""
    comment = import_module("pygments.token").Comment
    for at, kind, value in piece:
        if kind in comment.Multiline:
            closed = len(value) > len("/**") and value.endswith("*/")
            yield "comment", at + 1, min(at + len(value) - closed, length), closed
        elif kind in comment:
            end = at + len(value.rstrip("\n"))
            name = "line_comment" if language == "c" else "comment"
            yield name, at + (language == "c"), end, end < length


def _strings(piece: list[Token], language: str, length: int) -> Iterator[tuple[str, int, int, bool]]:
    """Yield the same of strings and formulas; one that is not closed where it must be is none."""
    string, marks = import_module("pygments.token").String, QUOTES[language]
    opening = re.compile("|".join(map(re.escape, sorted(marks, reverse=True))))
    mark, begin = "", 0
    for at, kind, value in piece:
        end = at + len(value) - 1
        if mark:
            if kind in string and value == mark:
                yield marks[mark], begin, end, True
                mark = ""
            elif len(mark) == 1 and language != "latex" and at < length and "\n" in value and kind not in string:
                mark = ""
        elif kind in string and (match := opening.match(value)):
            mark, begin = match.group(), at + match.end() - 1
            if len(value) >= 2 * len(mark) and value.endswith(mark):
                yield marks[mark], begin, end, True
                mark = ""
    if mark and piece[-1][0] + len(piece[-1][2]) >= length:
        yield marks[mark], begin, length, False
