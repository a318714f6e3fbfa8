"""Python: functions that Python's own parser accepts."""

import ast
import re
import textwrap
import warnings

from nextchar.parsing.brackets import PYTHON_LITERALS, balanced, blank_literals
from nextchar.parsing.domain import Domain, Pieces, Ratio, Tally, pooled, share

HEAD = re.compile(r"(?:async )?def ")
TRIPLE = re.compile(r'"""|\'\'\'')


def functions(text: str) -> Pieces:
    """Find the outermost functions and methods: from `def` to the next line that is not indented deeper.

    Closing brackets at the margin and the inside of triple-quoted strings belong to the function.
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
            for mark in TRIPLE.findall(line):
                quote = "" if quote == mark else quote or mark
    return Pieces(whole, int(bool(lines)))


def parses(function: str) -> bool:
    """Return whether Python's parser accepts a function on its own."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ast.parse(textwrap.dedent(function))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def indentation(function: str) -> Ratio:
    """Return the share of lines whose indentation is possible after the line before.

    After a colon a line must be indented deeper, else as one of the enclosing blocks. Lines within brackets are left out.
    """
    good = lines = open_brackets = 0
    levels: list[int] = []
    after_colon = False
    for line in blank_literals(textwrap.dedent(function), PYTHON_LITERALS).splitlines():
        indent = len(line) - len(line.lstrip())
        if line.strip() and open_brackets <= 0:
            lines += 1
            good += not levels or (indent > levels[-1] if after_colon else indent in levels)
            levels = [level for level in levels if level < indent] + [indent]
        open_brackets += len(re.findall(r"[(\[{]", line)) - len(re.findall(r"[)\]}]", line))
        if line.strip():
            after_colon = line.rstrip().endswith(":")
    return Ratio(good, lines)


def check(sample: str, _learned: None) -> Tally:
    """Count the valid functions of a sample."""
    pieces = functions(sample)
    return {
        "functions that parse": share(pieces.whole, parses),
        "functions with balanced brackets": share(pieces.whole, lambda piece: balanced(piece, PYTHON_LITERALS)),
        "lines indented as they must be": pooled([indentation(piece) for piece in pieces.whole]),
        "functions cut off by the end": pieces.cut_share(),
    }


DOMAIN = Domain("functions", functions, check)
