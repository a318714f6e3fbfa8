"""How texts and durations are shown on a terminal."""

import unicodedata


def duration(seconds: float) -> str:
    """Format seconds as [hours:]minutes:seconds.

    Example:
        >>> duration(75), duration(4000)
        ('1:15', '1:06:40')
    """
    whole = max(0, round(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, seconds = divmod(rest, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"


def visible(text: str) -> str:
    r"""Escape what could control a terminal or cannot be printed; every other character stays as it is.

    Escaped are control characters except line ends and tabs, bidirectional controls, and surrogates.

    Example:
        >>> visible("a\x1b[2J\u202eé\u3000\n")
        'a\\x1b[2J\\u202eé\u3000\n'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(c) if _is_control(c) else c for c in text)


def _is_control(c: str) -> bool:
    bidirectional = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
    return c not in "\n\t" and (unicodedata.category(c) in ("Cc", "Cs") or c in bidirectional)


def _escaped(c: str) -> str:
    return f"\\x{ord(c):02x}" if ord(c) < 256 else f"\\u{ord(c):04x}"
