"""Plays: speeches that begin with a speaker, verse of the usual length, and speakers known from the training text."""

import re

from nextchar.parsing.domain import Domain, Pieces, Ratio, Tally, share

WORD = r"(?:[A-Z][A-Za-z'.-]*|of|the|to|and|in|a)"
SPEAKER = re.compile(rf"[A-Z][A-Za-z'.-]*(?:,? {WORD})*:")  # a name, a rank, "Ghost of Prince Edward"
VERSE = range(20, 61)  # characters of a line of blank verse; 90 % of real lines


def speeches(text: str) -> Pieces:
    """Find the blocks between empty lines; the first and the last may be cut, and are left out."""
    blocks = re.split(r"\n{2,}", text)
    return Pieces(blocks[1:-1], min(len(blocks), 2))


def valid(speech: str) -> bool:
    """Return whether a block is a speech: one line that names a speaker, then lines that do not."""
    head, _, body = speech.partition("\n")
    lines = body.split("\n")
    return bool(
        SPEAKER.fullmatch(head) and all(line.strip() for line in lines) and not any(map(SPEAKER.fullmatch, lines))
    )


def speakers(blocks: list[str]) -> list[str]:
    """Return the speakers of the blocks that begin with one."""
    heads = (block.partition("\n")[0] for block in blocks)
    return [head[:-1] for head in heads if SPEAKER.fullmatch(head)]


def known_speakers(text: str) -> frozenset[str]:
    """Return every speaker of a text."""
    return frozenset(speakers(speeches(f"\n\n{text}\n\n").whole))


def check(sample: str, known: frozenset[str] | None) -> Tally:
    """Count the valid speeches, lines and speakers of a sample."""
    blocks = speeches(sample).whole
    lines = [line for block in blocks for line in block.split("\n")[1:]]
    tally = {
        "speeches with a speaker": share(blocks, valid),
        "lines that begin with a capital": share(lines, lambda line: line[:1].isupper()),
        "lines of 20 to 60 characters": share(lines, lambda line: len(line) in VERSE),
        "length of a line": Ratio(sum(map(len, lines)), len(lines), "chars"),
    }
    if known is not None:
        names = speakers(blocks)
        tally["speakers known from training"] = Ratio(sum(name in known for name in names), len(names))
    return tally


DOMAIN = Domain("speeches", speeches, check, learn=known_speakers)
