"""The characters or bytes a model knows, each with its id, and the way from text to ids and back."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nextchar.errors import ConfigError, ModelFileError, TextError, UnknownCharacterError

Units = Literal["characters", "bytes"]
Unknown = Literal["error", "skip"]
Ids = npt.NDArray[np.unsignedinteger[Any]]

CODE_POINTS = 0x110000
UNKNOWN = np.uint32(0xFFFFFFFF)
BLOCK = 1 << 20  # ids whose bytes are counted at a time


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """V characters, or bytes, in ascending order; the id of one is its position.

    Id V, one past the last, is START: what the network reads instead of a character when its state is empty.
    It is an input only and never predicted.

    Example:
        >>> vocabulary = Vocabulary("characters", tuple(map(ord, "abc")))
        >>> vocabulary.encode("cab").tolist()
        [2, 0, 1]
    """

    units: Units
    codes: tuple[int, ...]
    _table: npt.NDArray[np.uint32] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Build the table from code to id."""
        if self.units not in ("characters", "bytes"):
            raise ModelFileError(f"a vocabulary is of characters or bytes, not of {self.units!r}")
        limit = CODE_POINTS if self.units == "characters" else 256
        if any(not 0 <= code < limit for code in self.codes) or list(self.codes) != sorted(set(self.codes)):
            raise ModelFileError(
                f"a vocabulary of {self.units} must be distinct ascending codes below {limit}"
            )
        table = np.full(max(self.codes, default=-1) + 2, UNKNOWN, np.uint32)
        table[list(self.codes)] = np.arange(len(self.codes), dtype=np.uint32)
        object.__setattr__(self, "_table", table)

    def __len__(self) -> int:
        """Return V."""
        return len(self.codes)

    @property
    def start(self) -> int:
        """The id of START."""
        return len(self.codes)

    @property
    def dtype(self) -> np.dtype[np.unsignedinteger[Any]]:
        """The smallest unsigned type that holds every id."""
        return smallest_dtype(len(self.codes))

    def find(self, codes: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
        """Return the id of each code, UNKNOWN where it has none."""
        # The table ends with one UNKNOWN entry, where every larger code is sent; byte 255 may be the largest of all.
        last = min(len(self._table) - 1, np.iinfo(codes.dtype).max)
        return self._table[np.minimum(codes, last)]

    def encode(self, text: str | bytes, *, unknown: Unknown = "error", where: str = "the text") -> Ids:
        """Turn text into ids.

        Args:
            text: Characters, or bytes. A byte vocabulary reads characters as UTF-8.
            unknown: "error", or "skip" to leave unknown characters out.
            where: What the text is, for the message.

        Raises:
            UnknownCharacterError: Names each unknown character, how often it comes and the remedy.
        """
        codes = self.codes_of(text)
        ids = self.find(codes)
        missing = ids == UNKNOWN
        if missing.any():
            if unknown == "error":
                self.refuse(codes[missing], where)
            ids = ids[~missing]
        return ids.astype(self.dtype)

    def codes_of(self, text: str | bytes) -> npt.NDArray[Any]:
        """Return the code points, or bytes, of a text.

        Raises:
            TextError: It cannot be read as UTF-8.
        """
        try:
            if self.units == "bytes":
                # What of a command line is not UTF-8 comes as surrogates, each of which stands for the byte typed.
                raw = text.encode(errors="surrogateescape") if isinstance(text, str) else text
                return np.frombuffer(raw, np.uint8)
            characters = text if isinstance(text, str) else text.decode()
        except UnicodeError as error:
            raise TextError(f"the text is not UTF-8 ({error}); decode it with its own encoding") from None
        return np.frombuffer(characters.encode("utf-32-le", "surrogatepass"), np.uint32)

    def refuse(self, missing: Iterable[int] | npt.NDArray[Any], where: str) -> None:
        """Raise an error that counts and names characters that are not in the vocabulary."""
        counts = Counter(int(code) for code in missing)
        named = ", ".join(
            f"{describe(code, self.units)} x{count}" if count > 1 else describe(code, self.units)
            for code, count in counts.most_common(5)
        )
        more = f" and {len(counts) - 5} more" if len(counts) > 5 else ""
        noun = self.units[:-1] if len(counts) == 1 else self.units
        raise UnknownCharacterError(
            f"{where} holds {len(counts)} {noun} (in {counts.total()} place{'s' * (counts.total() > 1)}) that this "
            f"model has never seen: {named}{more}; --unknown skip leaves them out"
        )

    def decode(self, ids: Iterable[int] | npt.NDArray[Any]) -> str:
        """Turn ids into text; bytes that are not UTF-8 show as U+FFFD."""
        return self.to_bytes(ids).decode(errors="replace") if self.units == "bytes" else self._characters(ids)

    def to_bytes(self, ids: Iterable[int] | npt.NDArray[Any]) -> bytes:
        """Turn ids into bytes: the bytes themselves, or the characters in UTF-8."""
        if self.units == "bytes":
            return self._codes(ids).astype(np.uint8).tobytes()
        return self._characters(ids).encode(errors="surrogatepass")

    def _characters(self, ids: Iterable[int] | npt.NDArray[Any]) -> str:
        return self._codes(ids).tobytes().decode("utf-32-le", "surrogatepass")

    def _codes(self, ids: Iterable[int] | npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
        places = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), np.intp)
        return np.array(self.codes, np.uint32)[places]

    def union(self, other: "Vocabulary") -> "Vocabulary":
        """Return the vocabulary of everything either one knows."""
        if self.units != other.units:
            raise UnknownCharacterError(
                f"the model predicts {self.units} and the text is read as {other.units}; give --units {self.units}"
            )
        return Vocabulary(self.units, tuple(sorted({*self.codes, *other.codes})))

    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """Return how many UTF-8 bytes each id stands for, `(V,)`."""
        if self.units == "bytes":
            return np.ones(len(self), np.int64)
        return np.array([len(chr(code).encode(errors="surrogatepass")) for code in self.codes], np.int64)

    def size_in_bytes(self, ids: npt.NDArray[Any]) -> int:
        """Return how many UTF-8 bytes ids stand for in all."""
        lengths = self.byte_lengths()
        return sum(int(lengths[ids[begin : begin + BLOCK]].sum()) for begin in range(0, len(ids), BLOCK))

    def as_dict(self) -> dict[str, Any]:
        """Return what JSON keeps."""
        return {"units": self.units, "codes": list(self.codes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Vocabulary":
        """Build from `as_dict`'s values."""
        return cls(values["units"], tuple(int(code) for code in values["codes"]))


def common_vocabulary(vocabularies: Sequence[Vocabulary]) -> Vocabulary:
    """Return the vocabulary that several models share.

    Raises:
        ConfigError: There is no model, or one that reads other units or other characters than the first.
    """
    if not vocabularies:
        raise ConfigError("no model was given; give at least one")
    first = vocabularies[0]
    for number, other in enumerate(vocabularies[1:], 2):
        if other.units != first.units:
            raise ConfigError(
                f"model 1 predicts {first.units} and model {number} {other.units}; an average needs models of one kind"
            )
        differ = sorted({*first.codes} ^ {*other.codes})
        if differ:
            where = f"model {1 if differ[0] in first.codes else number}"
            raise ConfigError(
                f"models 1 and {number} differ in {len(differ)} {first.units}: only {where} knows "
                f"{describe(differ[0], first.units)}; an average needs models trained on texts of the same {first.units}"
            )
    return first


def smallest_dtype(size: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Return the smallest unsigned type for ids below `size`."""
    return np.dtype(np.uint8 if size <= 256 else np.uint16 if size <= 65536 else np.uint32)


def describe(code: int, units: Units = "characters") -> str:
    """Show a character by glyph (where it has one) and code point, or a byte by its value.

    Example:
        >>> describe(233), describe(10), describe(255, "bytes")
        ("'é' (U+00E9)", 'U+000A', '0xFF')
    """
    if units == "bytes":
        return f"0x{code:02X}"
    glyph = chr(code)
    visible = glyph.isprintable() and not unicodedata.category(glyph).startswith(("M", "Z"))
    return f"'{glyph}' (U+{code:04X})" if visible else f"U+{code:04X}"
