"""Brackets: whether they are balanced once comments and strings are out of the way."""

import re

PAIRS = {")": "(", "]": "[", "}": "{"}
C_QUIET = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.VERBOSE | re.DOTALL
)
PYTHON_QUIET = re.compile(
    r'''""".*?""" | \'\'\'.*?\'\'\' | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*' | \#[^\n]*''',
    re.VERBOSE | re.DOTALL,
)


def blanked(text: str, quiet: re.Pattern[str]) -> str:
    """Return a text with its comments and strings as blanks; line ends stay.

    A string becomes one underscore and blanks, so that an expression stays one.

    Example:
        >>> blanked('f("(") # (', PYTHON_QUIET)
        'f(_  )    '
    """

    def blank(match: re.Match[str]) -> str:
        spaces = re.sub(r"[^\n]", " ", match[0])
        return "_" + spaces[1:] if match[0][0] in "\"'" else spaces

    return quiet.sub(blank, text)


def balanced(text: str) -> bool:
    """Tell whether every round, square and curly bracket meets its own kind.

    Example:
        >>> balanced("f(a[0]) { }"), balanced("f(a[0)])"), balanced("(")
        (True, False, False)
    """
    waiting: list[str] = []
    for character in text:
        if character in "([{":
            waiting.append(character)
        elif character in PAIRS and (not waiting or waiting.pop() != PAIRS[character]):
            return False
    return not waiting
