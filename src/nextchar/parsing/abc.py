"""Tunes in ABC: heads that are complete, bars that add up to the metre, and what abc2midi accepts and plays."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise

from nextchar.parsing.domain import Domain, Pieces, Program, Ratio, Tally, run, share

ABC2MIDI = Program("abc2midi", "abcmidi", "playing tunes")
TIMIDITY = Program("timidity", "timidity fluid-soundfont-gm", "hearing tunes")

START = re.compile(r"^X:", re.MULTILINE)
FIELD = re.compile(r"([A-Za-z]):(.*)")
KEY = re.compile(
    r"\s*(?:[A-G](?:#|b)?\s*(?:m|maj|min|major|minor|ion|dor|phr|lyd|mix|aeo|loc)?[a-z]*\b.*|H[Pp]|none)\s*",
    re.IGNORECASE,
)
METRE = re.compile(r"\s*(?:(\d+(?:\+\d+)*)/(\d+)|C\|?|none)\s*")
LENGTH = re.compile(r"\s*1/(\d+)\s*")
TOKEN = re.compile(
    r"""
    (?P<bar>:*\|[|\]]?:*|\[\||::+)(?:\s*\[?(?P<ending>\d[\d,.-]*))?
  | \[(?P<inline>[A-Z]:[^\]\n]*)\] | \[\d[\d,.-]*
  | (?P<tuplet>\(\d(?::\d?){0,2})
  | (?P<note>\[(?:[_=^]*[A-Ga-g][,']*[\d/]*-?)+\] | [_=^]*[A-Ga-g][,']* | [zx])(?P<length>\d*/*\d*)-?
  | (?P<broken>[<>]+)
  | (?P<quiet>"[^"\n]*" | ![^!\s]{1,20}! | \+[^+\s]{1,20}\+ | \{[^}\n]*\} | [~.HTuvJLMOPRSkK] | [()\s\\!`*$;-])
  | (?P<wrong>.)
    """,
    re.VERBOSE,
)
# What abc2midi calls an error and is none of notation: words for a player, chord names, what a hornpipe should be.
QUIBBLE = re.compile(r"I: key|[Gg]uitar chord|chord name|Hornpipe")
TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}


def tunes(text: str) -> Pieces:
    """Find the tunes: from a line with `X:` to the next empty line or the next tune."""
    starts = [match.start() for match in START.finditer(text)]
    whole, cut = [], 0
    for begin, end in pairwise([*starts, len(text)]):
        tune, gap, _ = text[begin:end].partition("\n\n")
        if gap or end < len(text):
            whole.append(tune.rstrip("\n") + "\n")
        else:
            cut = 1
    return Pieces(whole, cut)


def head_and_body(tune: str) -> tuple[list[tuple[str, str]], str]:
    """Return the fields of a tune up to its key, and what follows."""
    fields = []
    lines = tune.splitlines()
    for number, line in enumerate(lines):
        field = FIELD.match(line)
        if field:
            fields.append((field[1], field[2]))
            if field[1] == "K":
                return fields, "\n".join(lines[number + 1 :])
        elif not line.startswith("%"):
            break
    return fields, ""


def complete(tune: str) -> bool:
    """Tell whether the head has a number first, a title, a metre and at last a key, each with a value that can be."""
    fields, body = head_and_body(tune)
    values = dict(fields)
    return bool(
        body.strip()
        and fields[0][0] == "X"
        and re.fullmatch(r"\s*\d+\s*", values["X"])
        and values.get("T", "").strip()
        and METRE.fullmatch(_bare(values.get("M", "")))
        and KEY.fullmatch(_bare(values.get("K", "")))
    )


def _bare(value: str) -> str:
    """Return a field without its comment."""
    return value.partition("%")[0]


@dataclass(frozen=True, slots=True)
class Bar:
    """What stands between two bar lines.

    Attributes:
        length: Of its notes and rests, in whole notes.
        metre: What it should be; None where there is no metre.
        edge: Whether a part of the tune begins or ends here, so that it may be shorter.
        sound: Whether everything in it could be read.
    """

    length: Fraction = Fraction(0)
    metre: Fraction | None = None
    edge: bool = True
    sound: bool = True


def metre_of(value: str) -> Fraction | None:
    """Read a metre, in whole notes.

    Example:
        >>> metre_of("6/8"), metre_of("C|"), metre_of("none")
        (Fraction(3, 4), Fraction(1, 1), None)
    """
    match = METRE.fullmatch(_bare(value))
    if not match or "none" in value:
        return None
    if not match[1]:
        return Fraction(1)
    return Fraction(sum(map(int, match[1].split("+"))), int(match[2]) or 1)


class _Reader:
    """Reads the music line of a tune note by note."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self.metre: Fraction | None = None
        self.unit: Fraction | None = None
        self.compound = False
        self.bar = Bar()
        self._left, self._factor = 0, Fraction(1)
        self._broken = Fraction(1)
        self._last = Fraction(0)
        for name, value in fields:
            self.field(name, value)
        self.bar = Bar(metre=self.metre)

    def field(self, name: str, value: str) -> None:
        """Take note of a metre or a unit."""
        if name == "M":
            self.metre = metre_of(value)
            self.compound = bool(re.match(r"\s*(?:6|9|12)/", value))
            self.bar = replace(self.bar, metre=self.metre)
        elif name == "L" and (match := LENGTH.fullmatch(_bare(value))):
            self.unit = Fraction(1, int(match[1]) or 1)

    def note(self, length: str) -> None:
        """Add a note or a rest."""
        unit = self.unit or Fraction(1, 16 if self.metre and self.metre < Fraction(3, 4) else 8)
        duration = unit * multiple(length) * self._broken
        self._broken = Fraction(1)
        if self._left:
            self._left -= 1
            duration *= self._factor
        self._last = duration
        self.bar = replace(self.bar, length=self.bar.length + duration)

    def tuplet(self, token: str) -> None:
        """Let the next notes be shorter."""
        count, _, rest = token[1:].partition(":")
        within, _, notes = rest.partition(":")
        many = int(count) or 1
        usual = TUPLETS.get(many, 3 if self.compound else 2)
        self._factor = Fraction(int(within) if within else usual, many)
        self._left = int(notes) if notes else many

    def broken(self, token: str) -> None:
        """Lengthen the note before and shorten the one after, or the other way."""
        short = Fraction(1, 2 ** len(token))
        before, self._broken = (2 - short, short) if token[0] == ">" else (short, 2 - short)
        self.bar = replace(self.bar, length=self.bar.length + self._last * (before - 1))


def multiple(length: str) -> Fraction:
    """Read what stands after a note: how many units it lasts.

    Example:
        >>> [str(multiple(text)) for text in ("", "3", "/", "//", "3/2", "/4")]
        ['1', '3', '1/2', '1/4', '3/2', '1/4']
    """
    above, slash, below = length.partition("/")
    top = int(above) if above else 1
    if not slash:
        return Fraction(top)
    digits = below.lstrip("/")
    return Fraction(top, int(digits) or 1 if digits else 2 ** (1 + len(below)))


def bars(tune: str) -> Iterator[Bar]:
    """Yield the bars of a tune; of several voices, each line is read for itself."""
    fields, body = head_and_body(tune)
    reader = _Reader(fields)
    for line in body.splitlines():
        field = FIELD.match(line)
        if field and field[1] not in "ABCDEFGabcdefg|" + "z":
            reader.field(field[1], field[2])
            continue
        for token in TOKEN.finditer(line.partition("%")[0]):
            kind = token.lastgroup
            if token["bar"]:
                edge = token["bar"] != "|" or bool(token["ending"])
                yield replace(reader.bar, edge=reader.bar.edge or edge)
                reader.bar = Bar(metre=reader.metre, edge=edge)
            elif token["inline"]:
                reader.field(token["inline"][0], token["inline"][2:])
            elif token["note"]:
                reader.note(token["length"])
            elif token["tuplet"]:
                reader.tuplet(token["tuplet"])
            elif token["broken"]:
                reader.broken(token["broken"])
            elif kind == "wrong":
                reader.bar = replace(reader.bar, sound=False)
    yield replace(reader.bar, edge=True)


def inner(tune: str) -> list[Bar]:
    """Return the bars that must be full: neither the first nor the last of a part, under a metre, not empty."""
    return [bar for bar in bars(tune) if bar.metre and bar.length and not bar.edge]


def play(tune: str) -> bytes:
    """Return a tune as a MIDI file, made by abc2midi; nothing where it finds an error in the music."""
    _code, said, midi = run(["abc2midi", "tune.abc", "-o", "tune.mid"], {"tune.abc": tune}, made="tune.mid")
    wrong = [line for line in said.splitlines() if line.startswith("Error") and not QUIBBLE.search(line)]
    return b"" if wrong else midi


def export(tune: str) -> dict[str, bytes]:
    """Return a tune as files by suffix: as it is, as MIDI, and as sound where a synthesiser is installed."""
    files = {".abc": tune.encode()}
    midi = play(tune) if ABC2MIDI.there() else b""
    if midi:
        files[".mid"] = midi
    if midi and TIMIDITY.there():
        words = ["timidity", "tune.mid", "-Ow", "-o", "tune.wav"]
        files[".wav"] = run(words, {"tune.mid": midi}, made="tune.wav")[2]
    return files


def check(sample: str, _learnt: None) -> Tally:
    """Count the sound tunes and bars of a sample."""
    pieces = tunes(sample)
    full = [bar for tune in pieces.whole for bar in inner(tune)]
    tally = {
        "tunes with a complete head": share(pieces.whole, complete),
        "bars that add up to the metre": Ratio(
            sum(bar.sound and bar.length == bar.metre for bar in full), len(full), sound=True
        ),
        "tunes cut off by the end": Ratio(pieces.cut, pieces.cut + len(pieces.whole)),
    }
    if ABC2MIDI.there():
        tally["tunes that abc2midi accepts"] = share(pieces.whole, lambda tune: bool(play(tune)))
    return tally


DOMAIN = Domain(
    "abc", "tunes", "tunes with a complete head", tunes, check, programs=(ABC2MIDI,), export=export
)
