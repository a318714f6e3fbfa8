"""What `nextchar evaluate` scores and how: options that are checked when they are made. Imports nothing that is slow."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nextchar.errors import ConfigError, check_fields
from nextchar.text.corpus import Split
from nextchar.text.vocabulary import Unknown

ProtocolName = Literal["stream", "windows"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """What to score, and how; the attributes are the flags of the command, with their help.

    Attributes:
        split: Which part of the training text to score instead.
        protocol: stream reads in order and carries the state; windows starts each window from the empty state.
        window: Characters of a window.
        unknown: What to do with characters that are not in the vocabulary: skip scores the rest and reports their number.
        encoding: Encoding of the texts.
        ngram: Also score with an n-gram table of this order (1 to 20), counted on the training part.
        per_char: Write the surprisal of every character to a CSV file.
        dynamic: Also score by dynamic evaluation: the model learns from every few characters after they are scored.
        errors: Also classify errors, and show the probability of closing brackets by distance.
        device: Where to compute; auto is cuda if there is one, else cpu.
    """

    split: Split | None = None
    protocol: ProtocolName = "stream"
    window: int = 256
    unknown: Unknown = "error"
    encoding: str = "utf-8"
    ngram: int | None = None
    per_char: Path | None = None
    dynamic: bool = False
    errors: bool = False
    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu"

    def __post_init__(self) -> None:
        """Refuse values of another type, and options that exclude each other."""
        check_fields(self)
        if self.per_char and self.errors:
            raise ConfigError("both --per-char and --errors were given; give one of them")
        if self.dynamic and self.protocol != "stream":
            raise ConfigError(f"--dynamic reads the text in order, not in {self.protocol}; leave out --protocol")
