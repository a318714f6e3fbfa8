"""Plays: speeches with a speaker's line, verse of the usual length, and names that are known or new."""

import re

from nextchar.parsing.domain import Domain, Pieces, Ratio, Tally, share

WORD = r"(?:[A-Z][A-Za-z'.-]*|of|the|to|and|in|a)"
SPEAKER = re.compile(rf"[A-Z][A-Za-z'.-]*(?:,? {WORD})*:")  # a name, a rank, "Ghost of Prince Edward"
VERSE = range(20, 61)  # characters of a line of blank verse: nine in ten real lines


def speeches(text: str) -> Pieces:
    """Find the blocks between empty lines; the first and the last of a sample may be cut, and are left out."""
    blocks = re.split(r"\n{2,}", text)
    return Pieces(blocks[1:-1], min(len(blocks), 2))


def sound(speech: str) -> bool:
    """Tell whether a block is a speech: one line that names a speaker, then lines that do not."""
    head, _, body = speech.partition("\n")
    lines = body.split("\n")
    return bool(
        SPEAKER.fullmatch(head)
        and all(line.strip() for line in lines)
        and not any(map(SPEAKER.fullmatch, lines))
    )


def speaker(speech: str) -> str:
    """Return who speaks, or nothing."""
    head = speech.partition("\n")[0]
    return head[:-1] if SPEAKER.fullmatch(head) else ""


def speakers(text: str) -> frozenset[str]:
    """Return everybody who speaks in a text."""
    return frozenset(filter(None, map(speaker, speeches("\n\n" + text + "\n\n").whole)))


def check(sample: str, known: frozenset[str] | None) -> Tally:
    """Count the speeches, lines and names of a sample."""
    pieces = speeches(sample)
    lines = [line for piece in pieces.whole for line in piece.split("\n")[1:]]
    names = [name for name in map(speaker, pieces.whole) if name]
    tally = {
        "speeches with a speaker": share(pieces.whole, sound),
        "lines that begin with a capital": share(lines, lambda line: line[:1].isupper()),
        "lines of 20 to 60 characters": share(lines, lambda line: len(line) in VERSE),
        "length of a line": Ratio(sum(map(len, lines)), len(lines), "chars"),
    }
    if known is not None:
        tally["speakers known from training"] = share(names, lambda name: name in known)
    return tally


DOMAIN = Domain("drama", "speeches", "speeches with a speaker", speeches, check, learn=speakers)
