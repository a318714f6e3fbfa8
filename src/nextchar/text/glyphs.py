"""How single characters are shown where each has a cell of its own: in strips, pages and pictures."""

import unicodedata

from nextchar.text.vocabulary import Vocabulary

MARKS = {" ": "·", "\n": "↵", "\t": "→"}


def glyph(code: int, units: str = "characters") -> str:
    r"""Return how a character is displayed: itself, a symbol for white space, or its number if it is invisible.

    Example:
        >>> [glyph(ord(c)) for c in "a \n\x00\u202e"], glyph(255, "bytes")
        (['a', '·', '↵', '\\x00', '\\u202e'], '\\xff')
    """
    character = chr(code)
    if units == "bytes" and code > 126:
        return f"\\x{code:02x}"
    kind = unicodedata.category(character)
    if kind[0] in "CZ" and character not in MARKS:
        return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    return MARKS.get(character, f"◌{character}" if kind[0] == "M" else character)


def glyphs(vocabulary: Vocabulary, *, blanks: bool = False) -> list[str]:
    """Return the glyph of every id, `(V,)`; white space as itself if `blanks`."""
    codes = vocabulary.codes
    return [chr(code) if blanks and chr(code) in MARKS else glyph(code, vocabulary.units) for code in codes]


def visible_blank(shown: str) -> str:
    """Return the symbol of white space, and everything else as it is."""
    return MARKS.get(shown, shown)
