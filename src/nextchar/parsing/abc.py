"""Tunes in ABC notation: complete heads, bars that add up to the metre, and tunes that abc2midi accepts."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from nextchar.parsing.domain import Domain, Pieces, Program, Ratio, Tally, run_program, share

ABC2MIDI = Program("abc2midi", "abcmidi", "playing tunes")
TIMIDITY = Program("timidity", "timidity fluid-soundfont-gm", "hearing tunes")

START = re.compile(r"^X:", re.MULTILINE)
FIELD = re.compile(r"^([A-Za-z]):(.*)", re.MULTILINE)
HEAD = re.compile(r"(?:(?:[A-JL-Za-z]:|%).*\n)*K:.*\n?")  # fields and comments up to the key
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
  | (?P<silent>"[^"\n]*" | ![^!\s]{1,20}! | \+[^+\s]{1,20}\+ | \{[^}\n]*\} | [~.HTuvJLMOPRSkK] | [()\s\\!`*$;-])
  | (?P<invalid>.)
    """,
    re.VERBOSE,
)
# Messages of abc2midi that are not about notation: instructions to players, chord names, the rhythm of hornpipes.
IGNORED = re.compile(r"I: key|[Gg]uitar chord|chord name|Hornpipe")
# Notes of a tuplet: in the time of how many, where the tune does not say.
TUPLETS = {2: 3, 3: 2, 4: 3, 6: 2, 8: 3}


def tunes(text: str) -> Pieces:
    """Find the tunes: from a line that begins with `X:` to the next empty line or the next tune."""
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
    """Return the fields of a tune up to its key as (letter, value), and the rest; nothing without a key."""
    head = HEAD.match(tune)
    return (FIELD.findall(head[0]), tune[head.end() :]) if head else ([], "")


def complete(tune: str) -> bool:
    """Return whether a head begins with a number, has a title and a metre, ends with a key, and a body follows."""
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
    """Return the value of a field without its comment."""
    return value.partition("%")[0]


@dataclass(slots=True)
class Bar:
    """The music between two bar lines.

    Attributes:
        metre: The required length, in whole notes; None for free metre.
        at_edge: Whether a part of the tune begins or ends here, so that the bar may be shorter.
        length: Sum of its notes and rests, in whole notes.
        valid: Whether every character in it is notation.
    """

    metre: Fraction | None = None
    at_edge: bool = True
    length: Fraction = Fraction(0)
    valid: bool = True


def metre_of(value: str) -> Fraction | None:
    """Return a metre in whole notes.

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


def multiple(length: str) -> Fraction:
    """Return how many units a note lasts, from the characters after it.

    Example:
        >>> [str(multiple(text)) for text in ("", "3", "/", "//", "3/2", "/4")]
        ['1', '3', '1/2', '1/4', '3/2', '1/4']
    """
    above, slash, below = length.partition("/")
    digits = below.lstrip("/")
    divisor = (int(digits) or 1) if digits else 2 ** (len(slash) + len(below))
    return Fraction(int(above) if above else 1, divisor)


class _BarReader:
    """Adds up the notes of a tune, bar by bar, token by token."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        self.bar = Bar()
        self._unit: Fraction | None = None
        self._compound = False
        self._tuplet_notes, self._tuplet_factor = 0, Fraction(1)
        self._next_factor, self._last = Fraction(1), Fraction(0)
        for name, value in fields:
            self.set_field(name, value)

    def set_field(self, name: str, value: str) -> None:
        """Change the metre or the unit length; other fields do not matter."""
        if name == "M":
            self.bar.metre = metre_of(value)
            self._compound = bool(re.match(r"\s*(?:6|9|12)/", value))
        elif name == "L" and (match := LENGTH.fullmatch(_bare(value))):
            self._unit = Fraction(1, int(match[1]) or 1)

    def read(self, token: re.Match[str]) -> None:
        """Take the effect of one token other than a bar line."""
        if token["inline"]:
            self.set_field(token["inline"][0], token["inline"][2:])
        elif token["note"]:
            self._note(token["length"])
        elif token["tuplet"]:
            self._tuplet(token["tuplet"])
        elif token["broken"]:
            self._broken_rhythm(token["broken"])
        elif token["invalid"]:
            self.bar.valid = False

    def _note(self, length: str) -> None:
        metre = self.bar.metre
        unit = self._unit or Fraction(1, 16 if metre and metre < Fraction(3, 4) else 8)
        duration = unit * multiple(length) * self._next_factor
        self._next_factor = Fraction(1)
        if self._tuplet_notes:
            self._tuplet_notes -= 1
            duration *= self._tuplet_factor
        self._last = duration
        self.bar.length += duration

    def _tuplet(self, token: str) -> None:
        """Scale the next notes: (p:q:r is p notes in the time of q, for r notes."""
        count, _, rest = token[1:].partition(":")
        time, _, notes = rest.partition(":")
        several = int(count) or 1
        usual = TUPLETS.get(several, 3 if self._compound else 2)
        self._tuplet_factor = Fraction(int(time) if time else usual, several)
        self._tuplet_notes = int(notes) if notes else several

    def _broken_rhythm(self, token: str) -> None:
        """Lengthen the note before and shorten the one after, or the reverse."""
        short = Fraction(1, 2 ** len(token))
        before, self._next_factor = (2 - short, short) if token[0] == ">" else (short, 2 - short)
        self.bar.length += self._last * (before - 1)


def bars(tune: str) -> Iterator[Bar]:
    """Yield the bars of a tune; the lines of several voices are read one after the other."""
    fields, body = head_and_body(tune)
    reader = _BarReader(fields)
    for line in body.splitlines():
        field = FIELD.match(line)
        if field and field[1] not in "ABCDEFGabcdefgz":
            reader.set_field(field[1], field[2])
            continue
        for token in TOKEN.finditer(line.partition("%")[0]):
            if not token["bar"]:
                reader.read(token)
                continue
            at_edge = token["bar"] != "|" or bool(token["ending"])
            reader.bar.at_edge |= at_edge
            yield reader.bar
            reader.bar = Bar(reader.bar.metre, at_edge)
    reader.bar.at_edge = True
    yield reader.bar


def inner_bars(tune: str) -> list[Bar]:
    """Return the bars that must be full: not empty, in a metre, neither first nor last of a part."""
    return [bar for bar in bars(tune) if bar.metre and bar.length and not bar.at_edge]


def play(tune: str) -> bytes:
    """Return a tune as a MIDI file made by abc2midi; empty if it reports an error in the notation."""
    command = ["abc2midi", "tune.abc", "-o", "tune.mid"]
    _, messages, midi = run_program(command, {"tune.abc": tune}, output="tune.mid")
    errors = [line for line in messages.splitlines() if line.startswith("Error") and not IGNORED.search(line)]
    return b"" if errors else midi


def export(tune: str) -> dict[str, bytes]:
    """Return a tune as files by suffix: ABC, MIDI, and WAV, as far as the programs are installed."""
    files = {".abc": tune.encode()}
    if ABC2MIDI.is_installed() and (midi := play(tune)):
        files[".mid"] = midi
        if TIMIDITY.is_installed():
            command = ["timidity", "tune.mid", "-Ow", "-o", "tune.wav"]
            files[".wav"] = run_program(command, {"tune.mid": midi}, output="tune.wav")[2]
    return files


def check(sample: str, _learned: None) -> Tally:
    """Count the valid tunes and bars of a sample."""
    pieces = tunes(sample)
    inner = [bar for tune in pieces.whole for bar in inner_bars(tune)]
    full = sum(bar.valid and bar.length == bar.metre for bar in inner)
    tally = {
        "tunes with a complete head": share(pieces.whole, complete),
        "bars that add up to the metre": Ratio(full, len(inner), valid=True),
        "tunes cut off by the end": pieces.cut_share(),
    }
    if ABC2MIDI.is_installed():
        tally["tunes that abc2midi accepts"] = share(pieces.whole, lambda tune: bool(play(tune)))
    return tally


DOMAIN = Domain("tunes", tunes, check, programs=(ABC2MIDI,), export=export)
