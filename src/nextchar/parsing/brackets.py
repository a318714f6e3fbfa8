"""Nesting: whether brackets, or named begins and ends, match; comments and string literals can be blanked out first."""

import re
from collections.abc import Iterable

PAIRS = {")": "(", "]": "[", "}": "{"}
C_LITERALS = re.compile(r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.VERBOSE | re.DOTALL)
PYTHON_LITERALS = re.compile(
    r'''""".*?""" | \'\'\'.*?\'\'\' | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | \#[^\n]*''', re.VERBOSE | re.DOTALL
)


def blank_literals(text: str, literals: re.Pattern[str]) -> str:
    """Return a text with comments and string literals replaced by spaces; line ends stay.

    The first character of a string literal becomes an underscore, so that an expression stays an expression.

    Example:
        >>> blank_literals('f("(") # (', PYTHON_LITERALS)
        'f(_  )    '
    """

    def blank(match: re.Match[str]) -> str:
        spaces = re.sub(r"[^\n]", " ", match[0])
        return "_" + spaces[1:] if match[0][0] in "\"'" else spaces

    return literals.sub(blank, text)


def nested(edges: Iterable[tuple[bool, str]]) -> bool:
    """Return whether every begin (True, name) is closed by an end (False, name), the innermost first."""
    open_names: list[str] = []
    for begins, name in edges:
        if begins:
            open_names.append(name)
        elif not open_names or open_names.pop() != name:
            return False
    return not open_names


def balanced(text: str, literals: re.Pattern[str] | None = None) -> bool:
    """Return whether round, square and curly brackets match, with comments and strings blanked out if given.

    Example:
        >>> balanced("f(a[0]) { }"), balanced("f(a[0)])"), balanced("(")
        (True, False, False)
    """
    if literals:
        text = blank_literals(text, literals)
    return nested((each not in PAIRS, PAIRS.get(each, each)) for each in re.findall(r"[()\[\]{}]", text))
