"""Python: functions that its own parser accepts."""

import ast
import re
import textwrap
import warnings

from nextchar.parsing.brackets import PYTHON_QUIET, balanced, blanked
from nextchar.parsing.domain import Domain, Pieces, Ratio, Tally, share, together

HEAD = re.compile(r"(?:async )?def ")
TRIPLE = re.compile(r'"""|\'\'\'')


def functions(text: str) -> Pieces:
    """Find the outermost functions and methods: from `def` to the next line that is not deeper.

    A bracket that closes a head of several lines goes on with it, and so does the inside of a triple-quoted string.
    """
    whole: list[str] = []
    lines: list[str] = []
    depth, quote = 0, ""
    for line in text.splitlines(keepends=True):
        stripped = line.lstrip(" ")
        indent = len(line) - len(stripped)
        ends = not quote and stripped.strip() and indent <= depth and stripped[0] not in ")]}#"
        if lines and ends:
            whole.append("".join(lines))
            lines = []
        if not lines and HEAD.match(stripped):
            depth, quote = indent, ""
            lines = [line]
        elif lines:
            lines.append(line)
        if lines:
            quote = _quote_after(line, quote)
    return Pieces(whole, 1 if lines else 0)


def _quote_after(line: str, quote: str) -> str:
    """Return the triple quote that is open after a line, if any."""
    for mark in TRIPLE.findall(line):
        quote = "" if quote == mark else quote or mark
    return quote


def parses(function: str) -> bool:
    """Tell whether Python's parser accepts a function, as it would stand alone."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(textwrap.dedent(function))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def brackets(function: str) -> bool:
    """Tell whether the brackets outside of strings and comments are balanced."""
    return balanced(blanked(function, PYTHON_QUIET))


def indentation(function: str) -> Ratio:
    """Count the lines whose indentation follows from the line before.

    After a colon a line must be deeper, else on one of the levels that are open. Lines within brackets may be anywhere.
    """
    good = lines = open_brackets = 0
    levels: list[int] = []
    opened = False
    for line in blanked(textwrap.dedent(function), PYTHON_QUIET).splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip() and open_brackets <= 0:
            lines += 1
            good += not levels or (indent > levels[-1] if opened else indent in levels)
            levels = [level for level in levels if level < indent] + [indent]
        open_brackets += sum(line.count(each) for each in "([{") - sum(line.count(each) for each in ")]}")
        if line.strip():
            opened = line.rstrip().endswith(":")
    return Ratio(good, lines)


def check(sample: str, _learnt: None) -> Tally:
    """Count the sound functions of a sample."""
    pieces = functions(sample)
    return {
        "functions that parse": share(pieces.whole, parses),
        "functions with balanced brackets": share(pieces.whole, brackets),
        "lines indented as they must be": together([indentation(piece) for piece in pieces.whole]),
        "functions cut off by the end": Ratio(pieces.cut, pieces.cut + len(pieces.whole)),
    }


DOMAIN = Domain("python", "functions", "functions that parse", functions, check)
