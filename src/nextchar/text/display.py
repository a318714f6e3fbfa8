"""How texts and durations are shown on a terminal."""

import re

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


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
    return _CONTROLS.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
