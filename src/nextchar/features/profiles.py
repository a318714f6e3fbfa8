"""Profiles: the features of any text (characters, lines, words, spans), and those of each kind of text."""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.features.feature import (
    Bools,
    Feature,
    SpanRule,
    Spans,
    binary,
    cyclic,
    features_of,
    matches,
    ordinal,
    since,
    span_features,
)
from nextchar.features.tokens import Tokens, tokenize

TAB = 8
Rule = str | dict[str, Any]
CLASSES: dict[str, Callable[[str], bool]] = {
    "upper": str.isupper,
    "digit": str.isdigit,
    "letter": str.isalpha,
    "vowel": lambda c: c in "aeiouAEIOU",
    "space": str.isspace,
    "punctuation": lambda c: not (c.isalnum() or c.isspace()),
}
RULES: dict[str, dict[str, Rule]] = tomllib.loads(
    (files("nextchar.features") / "assets" / "rules.toml").read_text(encoding="utf-8")
)
"""By kind of text and name, the features that are an expression, on in its matches, or the fields of a `SpanRule`."""
MARKS = {
    "c_comment": ("/*", "*/"),
    "c_string": ('"', '"'),
    "python_string": ('"', '"'),
    "python_docstring": ('"""', '"""'),
    "python_comment": ("#", "\n"),
}
"""By feature, the texts that begin and end it, where there is one of each."""


def characters(text: str) -> Iterator[Feature]:
    """Yield the class of a character, and what the last few characters spell."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    alphabet, places = np.unique(codes, return_inverse=True)
    for name, test in CLASSES.items():
        yield binary(name, np.array([bool(test(chr(code))) for code in alphabet])[places])
    yield binary("repeated", np.concatenate([[False], codes[1:] == codes[:-1]]))
    for spelled in ("the", "www", "http", "ing"):
        yield binary(f"spells_{spelled}", _ends(text, spelled))
    yield ordinal("w_count", run_length(codes == ord("w")), counts=True)
    digits = run_length(np.array([chr(code).isdigit() for code in alphabet])[places])
    yield ordinal("digit_count", digits, counts=True)


def _ends(text: str, spelled: str) -> Bools:
    """Return where the last characters are `spelled`, `(T,)`."""
    result = np.zeros(len(text), np.bool_)
    # A look-ahead matches no characters, so matches overlap: "wwww" ends in "www" twice.
    result[[m.start() + len(spelled) - 1 for m in re.finditer(f"(?={re.escape(spelled)})", text)]] = True
    return result


def run_length(inside: Bools) -> npt.NDArray[np.int64]:
    """Return the length of the run of true values that ends at each character, `(T,)`."""
    return since(~inside)


def lines(text: str) -> Iterator[Feature]:
    """Yield the position of a character in its line and paragraph, and the indentation."""
    newline = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32) == ord("\n")
    column = since(newline)
    ends = np.append(np.flatnonzero(newline), len(text))
    left = ends[np.searchsorted(ends, np.arange(len(text)))] - np.arange(len(text))
    indenting = matches(text, r"^[ \t]+")
    margin = np.array([len(line) - len(line.lstrip(" \t")) + (TAB - 1) * _tabs(line) for line in text.split("\n")])
    number = np.cumsum(newline)
    settled = ~indenting & ~newline
    blank = matches(text, r"^[ \t\r]*\n")
    yield ordinal("column", column, counts=True)
    yield cyclic("column_mod_8", column, TAB)
    yield binary("late_in_line", column >= 60)
    yield binary("line_start", column == 1)
    yield ordinal("line_left", left)
    yield binary("indenting", indenting)
    yield ordinal("indentation", margin[number], settled)
    yield binary("indented", margin[number] > 0, settled)
    yield binary("blank_line", blank)
    yield ordinal("paragraph_lines", number - np.maximum.accumulate(np.where(blank, number, 0)))
    yield binary("next_newline", np.append(newline[1:], np.False_))


def _tabs(line: str) -> int:
    return line[: len(line) - len(line.lstrip(" \t"))].count("\t")


def words(text: str) -> Iterator[Feature]:
    """Yield the position of a character in its word and sentence, and the kind of word."""
    word = matches(text, r"\w+")
    sentence_end = matches(text, r"[.!?](?=[\s\"'”)])|\n[ \t\r]*\n")
    yield ordinal("word_position", run_length(word), counts=True)
    yield binary("word_first", word & ~np.concatenate([[False], word[:-1]]))
    yield binary("next_word_end", word & ~np.append(word[1:], np.True_))
    yield ordinal("sentence_position", since(sentence_end), counts=True)


def general(text: str) -> Iterator[Feature]:
    """Yield the features of any text."""
    yield from characters(text)
    yield from lines(text)
    yield from words(text)
    yield from ruled(RULES["general"], text)


def ruled(rules: Mapping[str, Rule], text: str) -> Iterator[Feature]:
    """Yield the features of some rules."""
    for name, rule in rules.items():
        if isinstance(rule, str):
            yield binary(name, matches(text, rule))
        else:
            yield from span_features(text, SpanRule(name, **rule))


def _token_features(language: str, text: str, found: Tokens) -> Iterator[Feature]:
    """Yield the features of comments, strings and kinds of tokens."""
    for name, spans in found.spans.items():
        label = f"{language}_{name}"
        opener, closer = MARKS.get(label, ("", ""))
        yield from features_of(label, len(text), spans, opener=opener, closer=closer)
    for name, values in found.kinds.items():
        yield binary(name, values)


def c(text: str) -> Iterator[Feature]:
    """Yield features of C: comments, strings, the preprocessor, conditions, arguments."""
    found = tokenize("c", text)
    yield from _token_features("c", text, found)
    for name, before in (
        ("if_condition", r"\b(?:if|while)\s*\("),
        ("call_arguments", r"\b(?!if|while|for|switch|return)\w+\("),
        ("parameters", r"^[A-Za-z_][\w \t*]*\("),
    ):
        yield from features_of(name, len(text), bracketed(found.code, before), closer=")")
    bodies = bracketed(found.code, r"\b(?:struct|union)\s*\w*\s*\{", "{}")
    yield from features_of("struct", len(text), bodies)


def bracketed(code: str, before: str, brackets: str = "()") -> Spans:
    """Find brackets that end a match of `before`, up to their own closing bracket; parentheses are given up at a blank line."""
    starts = {match.end() - 1 for match in re.finditer(before, code, re.MULTILINE)}
    found, stack = Spans([], []), []
    for match in re.finditer(rf"[{brackets}]" + r"|\n\n" * (brackets == "()"), code):
        place = match.start()
        if match.group() == brackets[0]:
            stack.append(place)
        elif match.group() == brackets[1]:
            if stack and (begin := stack.pop()) in starts:
                found.closed.append((begin, place))
        else:
            found.given_up.extend((begin, place) for begin in stack if begin in starts)
            stack.clear()
    return found


def conditions(code: str) -> Spans:
    """Find the conditions of Python's if and elif: to the first colon outside of brackets, also on a later line."""
    found, marks = Spans([], []), re.compile(r"[(\[{]|[)\]}]|:(?!=)|\n[ \t]*\n")
    for match in re.finditer(r"^[ \t]*(?:el)?if\b", code, re.MULTILINE):
        depth = 0
        for mark in marks.finditer(code, match.end()):
            depth += (mark.group() in "([{") - (mark.group() in ")]}")
            if mark.group() == ":" and depth <= 0:
                found.closed.append((match.end(), mark.start()))
                break
            if mark.group()[0] == "\n":
                found.given_up.append((match.end(), mark.start()))
                break
        else:
            found.given_up.append((match.end(), len(code)))
    return found


def python(text: str) -> Iterator[Feature]:
    """Yield features of Python: comments, strings, conditions, definitions."""
    found = tokenize("python", text)
    yield from _token_features("python", text, found)
    yield from features_of("if_condition", len(text), conditions(found.code), opener="if ", closer=":")
    parameters = bracketed(found.code, r"^[ \t]*(?:async )?def \w+\(")
    yield from features_of("parameters", len(text), parameters, opener="(", closer=")")
    body = r"^(?P<margin>[ \t]*)class\b[^\n]*\n(?:[ \t]*\n|(?P=margin)[ \t]+\S[^\n]*\n)+"
    yield binary("class_body", matches(found.code, body))


def latex(text: str) -> Iterator[Feature]:
    """Yield features of LaTeX: formulas, environments, references, commands."""
    found = tokenize("latex", text)
    inline, display = found.of("math"), found.of("display_math")
    both = Spans(display.closed + inline.closed, display.given_up + inline.given_up)
    yield from features_of("math", len(text), both, opener="$", closer="$")
    yield from features_of("display_math", len(text), display, opener="$$", closer="$$")
    yield from features_of("latex_comment", len(text), found.of("comment"))


PROFILES: dict[str, tuple[Callable[[str], Iterator[Feature]], ...]] = {
    "general": (general,),
    "prose": (general, partial(ruled, RULES["prose"])),
    "c": (general, c, partial(ruled, RULES["c"])),
    "python": (general, python, partial(ruled, RULES["python"])),
    "latex": (general, latex, partial(ruled, RULES["latex"])),
    "wiki": (general, partial(ruled, RULES["wiki"])),
}
"""By kind of text, the functions that yield its features."""
TELLTALES = {
    "c": r"^#include|^static |;\n\t|->",
    "python": r"^ *def \w+\(|^import |self\.",
    "latex": r"\\begin\{|\\ref\{|\\label\{",
    "wiki": r"\[\[|</\w+>|&quot;",
}


def guess(text: str) -> str:
    """Return the profile whose marks are most frequent in a text; prose, if that is less than once in 500 characters."""
    counts = {name: len(re.findall(pattern, text, re.MULTILINE)) for name, pattern in TELLTALES.items()}
    best = max(counts, key=lambda name: counts[name])
    return best if counts[best] * 500 >= len(text) else "prose"
