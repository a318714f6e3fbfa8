"""The vocabulary of a model: its characters or bytes with their ids; encoding and decoding."""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from nextchar.errors import ConfigError, ModelFileError, TextError, UnknownCharacterError, check_choice

Units = Literal["characters", "bytes"]
Unknown = Literal["error", "skip"]
Ids = npt.NDArray[np.unsignedinteger[Any]]

CODE_POINTS = 0x110000
UNKNOWN = np.uint32(0xFFFFFFFF)
BLOCK = 1 << 20  # ids processed at a time


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """V characters, or bytes, in ascending order; the position of each is its id.

    Id V, one past the last, is START: the input of the network when its state is empty. It is never predicted.

    Example:
        >>> vocabulary = Vocabulary("characters", tuple(map(ord, "abc")))
        >>> vocabulary.encode("cab").tolist()
        [2, 0, 1]
    """

    units: Units
    codes: tuple[int, ...]
    _table: npt.NDArray[np.uint32] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Check the codes, and build the table from codes to ids."""
        if self.units not in ("characters", "bytes"):
            raise ModelFileError(f"a vocabulary has characters or bytes, not {self.units!r}")
        limit = CODE_POINTS if self.units == "characters" else 256
        if any(not 0 <= code < limit for code in self.codes) or list(self.codes) != sorted(set(self.codes)):
            raise ModelFileError(f"a vocabulary of {self.units} must be distinct ascending codes below {limit}")
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
        """The smallest unsigned type that can hold every id."""
        return smallest_dtype(len(self.codes))

    def find(self, codes: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
        """Return the id of each code, UNKNOWN if it has none; `(n,)`."""
        # The last entry of the table is UNKNOWN, for all larger codes. A narrow type cannot hold its index.
        last = min(len(self._table) - 1, np.iinfo(codes.dtype).max)
        return self._table[np.minimum(codes, last)]

    def encode(self, text: str | bytes, *, unknown: Unknown = "error", where: str = "the text") -> Ids:
        """Encode a text as ids, `(n,)`.

        Args:
            text: Characters, or bytes. A byte vocabulary encodes characters as UTF-8.
            unknown: "error", or "skip" to leave out unknown characters.
            where: What the text is called in the error message.

        Raises:
            ConfigError: `unknown` is neither "error" nor "skip".
            UnknownCharacterError: The text has characters that are not in the vocabulary.
        """
        check_choice("unknown", unknown, Unknown)
        codes = self.codes_of(text)
        ids = self.find(codes)
        missing = ids == UNKNOWN
        if missing.any():
            if unknown == "error":
                self.refuse(codes[missing], where)
            ids = ids[~missing]
        return ids.astype(self.dtype)

    def codes_of(self, text: str | bytes) -> npt.NDArray[Any]:
        """Return the code points, or bytes, of a text, `(n,)`.

        Raises:
            TextError: The text is not UTF-8, or neither a str nor bytes.
        """
        if not isinstance(text, str | bytes | bytearray | memoryview):
            raise TextError(f"a text is a str or bytes, but {type(text).__name__} was given")
        try:
            if self.units == "bytes":
                # Python passes bytes of a command line that are not UTF-8 as surrogates.
                raw = text.encode(errors="surrogateescape") if isinstance(text, str) else text
                return np.frombuffer(raw, np.uint8)
            characters = text if isinstance(text, str) else text.decode()
        except UnicodeError as error:
            raise TextError(f"the text is not UTF-8 ({error}); decode it with its own encoding") from None
        return code_points(characters)

    def refuse(self, missing: Iterable[int] | npt.NDArray[Any], where: str) -> None:
        """Raise UnknownCharacterError with the number and the most frequent of some unknown characters."""
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
        """Decode ids to text; bytes that are not UTF-8 become U+FFFD."""
        return self.to_bytes(ids).decode(errors="replace") if self.units == "bytes" else self._characters(ids)

    def to_bytes(self, ids: Iterable[int] | npt.NDArray[Any]) -> bytes:
        """Decode ids to bytes: the bytes themselves, or the characters in UTF-8."""
        if self.units == "bytes":
            return self._codes(ids).astype(np.uint8).tobytes()
        return self._characters(ids).encode(errors="surrogatepass")

    def _characters(self, ids: Iterable[int] | npt.NDArray[Any]) -> str:
        return self._codes(ids).tobytes().decode("utf-32-le", "surrogatepass")

    def _codes(self, ids: Iterable[int] | npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
        places = np.asarray(ids if isinstance(ids, np.ndarray) else list(ids), np.intp)
        return np.array(self.codes, np.uint32)[places]

    def union(self, other: "Vocabulary") -> "Vocabulary":
        """Return the vocabulary of the characters of both."""
        if self.units != other.units:
            raise UnknownCharacterError(
                f"the model predicts {self.units} and the text is read as {other.units}; give --units {self.units}"
            )
        return Vocabulary(self.units, tuple(sorted({*self.codes, *other.codes})))

    def byte_lengths(self) -> npt.NDArray[np.int64]:
        """Return the length of each id in UTF-8 bytes, `(V,)`."""
        if self.units == "bytes":
            return np.ones(len(self), np.int64)
        return np.array([len(chr(code).encode(errors="surrogatepass")) for code in self.codes], np.int64)

    def size_in_bytes(self, ids: npt.NDArray[Any]) -> int:
        """Return the length of a sequence of ids in UTF-8 bytes."""
        lengths = self.byte_lengths()
        return sum(int(lengths[ids[begin : begin + BLOCK]].sum()) for begin in range(0, len(ids), BLOCK))

    def as_dict(self) -> dict[str, Any]:
        """Return the units and codes, for JSON."""
        return {"units": self.units, "codes": list(self.codes)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Vocabulary":
        """Build from the values of `as_dict`."""
        if not all(type(code) is int for code in values["codes"]):
            raise ModelFileError("the codes of a vocabulary must be whole numbers")
        return cls(values["units"], tuple(values["codes"]))


def code_points(text: str) -> npt.NDArray[np.uint32]:
    """Return the code points of a text, `(T,)`."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def common_vocabulary(vocabularies: Sequence[Vocabulary]) -> Vocabulary:
    """Return the vocabulary of several models, which must be the same.

    Raises:
        ConfigError: There is no model, or one has other units or characters than the first.
    """
    if not vocabularies:
        raise ConfigError("no model was given; give at least one")
    first = vocabularies[0]
    for number, other in enumerate(vocabularies[1:], 2):
        if other.units != first.units:
            raise ConfigError(
                f"model 1 predicts {first.units} and model {number} {other.units}; an ensemble needs models of the same units"
            )
        differ = sorted({*first.codes} ^ {*other.codes})
        if differ:
            where = f"model {1 if differ[0] in first.codes else number}"
            raise ConfigError(
                f"models 1 and {number} differ in {len(differ)} {first.units}: only {where} has "
                f"{describe(differ[0], first.units)}; an ensemble needs models with the same {first.units}"
            )
    return first


def refuse_surrogates(codes: npt.NDArray[Any]) -> None:
    """Refuse a text with lone surrogates: they are halves of UTF-16 pairs and cannot be written in UTF-8.

    Raises:
        TextError: There is one.
    """
    surrogates = codes[(codes >= 0xD800) & (codes < 0xE000)]
    if len(surrogates):
        raise TextError(
            f"the text has the lone surrogate U+{surrogates[0]:04X}, which is half of a character; "
            f"remove it, or decode the text with its own encoding"
        )


def smallest_dtype(size: int) -> np.dtype[np.unsignedinteger[Any]]:
    """Return the smallest unsigned type that can hold ids below `size`."""
    return np.dtype(np.uint8 if size <= 256 else np.uint16 if size <= 65536 else np.uint32)


def describe(code: int, units: Units = "characters") -> str:
    """Return a character as its glyph (if it has one) and code point, or a byte as its value.

    Example:
        >>> describe(233), describe(10), describe(255, "bytes")
        ("'é' (U+00E9)", 'U+000A', '0xFF')
    """
    if units == "bytes":
        return f"0x{code:02X}"
    glyph = chr(code)
    visible = glyph.isprintable() and not unicodedata.category(glyph).startswith(("M", "Z"))
    return f"'{glyph}' (U+{code:04X})" if visible else f"U+{code:04X}"
