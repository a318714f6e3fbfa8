"""Profiles: the features of any text (characters, lines, words, spans), and those of each kind of text."""

import re
from collections.abc import Callable, Iterator

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
NEVER = r"(?!)"  # matches nothing
CLASSES: dict[str, Callable[[str], bool]] = {
    "upper": str.isupper,
    "digit": str.isdigit,
    "letter": str.isalpha,
    "vowel": lambda c: c in "aeiouAEIOU",
    "space": str.isspace,
    "punctuation": lambda c: not (c.isalnum() or c.isspace()),
}
SPANS = (
    SpanRule("quotes", '"', '"', opener='"', closer='"'),
    # An apostrophe is between letters; a quote opens after another character, and closes before one.
    SpanRule("single_quotes", r"(?<!\w)'(?=\w)", r"'(?!\w)", opener="'", closer="'"),
    SpanRule("curly_quotes", "“", "”", opener="“", closer="”"),
    SpanRule("parentheses", r"\(", r"\)", nests=True, opener="(", closer=")"),
    SpanRule("brackets", r"\[", r"\]", nests=True, opener="[", closer="]"),
    SpanRule("braces", r"\{", r"\}", nests=True, resets=NEVER, opener="{", closer="}", limit=20_000),
    SpanRule("url", r"https?://|www\.", r"[\s<>\])}|\"',;]|&quot;|&lt;", opener="http://", closer=" "),
)
DIRECTIVE = SpanRule("preprocessor", "^#", r"(?<!\\)\n", resets=NEVER, opener="#", closer="\n")
LATEX_ENVIRONMENTS = (
    "proof", "lemma", "theorem", "proposition", "definition", "equation", "enumerate", "remark", "example", "align",
)  # fmt: skip
WIKI_SPANS = (
    SpanRule("wiki_link", r"\[\[", r"\]\]", nests=True, opener="[[", closer="]]"),
    SpanRule("external_link", r"(?<!\[)\[(?=https?:)", r"\]", opener="[", closer="]"),
    SpanRule("template", r"\{\{", r"\}\}", nests=True, resets=r"</text>", opener="{{", closer="}}"),
    SpanRule("table", r"^\{\|", r"^\|\}", resets=r"</text>", opener="{|", closer="|}", limit=20_000),
    SpanRule("bold", r"'''", r"'''", resets=r"\n", opener="'''", closer="'''"),
    SpanRule("italic", r"(?<!')''(?!')", r"(?<!')''(?!')", resets=r"\n", opener="''", closer="''"),
    SpanRule("quot", "&quot;", "&quot;", resets=r"\n", opener="&quot;", closer="&quot;"),
    SpanRule("tag", r"<(?=[A-Za-z/!?])", ">", resets=r"\n", opener="<", closer=">"),
    SpanRule("escaped_tag", "&lt;", "&gt;", resets=r"\n\n", opener="&lt;", closer="&gt;"),
    SpanRule("heading", "^==", r"\n", opener="==", closer="==\n"),
    SpanRule("article", r"<text[^>]*>", r"</text>", resets=NEVER, limit=10**9),
)
LATEX_SPANS = (
    SpanRule("reference", r"\\(?:ref|cite|label|eqref)\{", r"\}", opener="\\ref{", closer="}"),
    SpanRule("environment", r"\\begin\{\w+\*?\}", r"\\end\{\w+\*?\}", nests=True, resets=NEVER, limit=20_000),
    *(
        SpanRule(f"environment_{name}", rf"\\begin\{{{name}\}}", rf"\\end\{{{name}\}}", resets=NEVER, limit=20_000)
        for name in LATEX_ENVIRONMENTS
    ),
)
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
    yield binary("capitalised_word", matches(text, r"\b[A-Z]\w*"))
    yield binary("capitals_word", matches(text, r"(?<=\b[A-Z])[A-Z]+\b"))
    yield binary("number", matches(text, r"\b\d[\d.,]*"))
    yield ordinal("sentence_position", since(sentence_end), counts=True)
    yield binary("sentence_first_word", matches(text, r"(?<=[.!?]\s)\w+|(?<=[.!?]\s\s)\w+"))


def general(text: str) -> Iterator[Feature]:
    """Yield the features of any text."""
    yield from characters(text)
    yield from lines(text)
    yield from words(text)
    for span in SPANS:
        yield from span_features(text, span)


def prose(text: str) -> Iterator[Feature]:
    """Yield features of books and plays."""
    yield binary("speaker_line", matches(text, r"^[A-Z][A-Za-z ]{1,30}[:.]\n"))
    yield binary("heading_line", matches(text, r"^(?:CHAPTER|BOOK|ACT|SCENE|PART)\b[^\n]*"))
    yield binary("verse", matches(text, r"(?:^[A-Z][^\n]{20,60}\n){3,}"))


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
    yield from span_features(text, DIRECTIVE)
    yield binary("capitals_identifier", matches(text, r"\b[A-Z][A-Z0-9_]{2,}\b"))
    yield binary("assignment_right", matches(text, r"(?<=[^=!<>]=)(?!=)[^;\n]+"))


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
    yield binary("decorator", matches(text, r"^[ \t]*@[^\n]*"))
    yield binary("import_line", matches(text, r"^(?:import|from) [^\n]*"))


def latex(text: str) -> Iterator[Feature]:
    """Yield features of LaTeX: formulas, environments, references, commands."""
    for span in LATEX_SPANS:
        yield from span_features(text, span)
    found = tokenize("latex", text)
    inline, display = found.of("math"), found.of("display_math")
    both = Spans(display.closed + inline.closed, display.given_up + inline.given_up)
    yield from features_of("math", len(text), both, opener="$", closer="$")
    yield from features_of("display_math", len(text), display, opener="$$", closer="$$")
    yield from features_of("latex_comment", len(text), found.of("comment"))
    yield binary("command", matches(text, r"\\[A-Za-z]+"))


def wiki(text: str) -> Iterator[Feature]:
    """Yield features of a dump of Wikipedia: links, templates, tags, headings, lists."""
    for span in WIKI_SPANS:
        yield from span_features(text, span)
    yield binary("entity", matches(text, r"&\w+;"))
    yield binary("list_line", matches(text, r"^[*#:;][^\n]*"))
    yield binary("link_label", matches(text, r"(?<=\|)[^\[\]|\n]+(?=\]\])"))
    yield binary("link_prefix", matches(text, r"(?<=\[\[)[a-z-]{2,12}:[^\]\n]*"))


PROFILES: dict[str, tuple[Callable[[str], Iterator[Feature]], ...]] = {
    "general": (general,),
    "prose": (general, prose),
    "c": (general, c),
    "python": (general, python),
    "latex": (general, latex),
    "wiki": (general, wiki),
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
