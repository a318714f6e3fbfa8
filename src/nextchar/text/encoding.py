"""Long texts become ids in parts, several at the same time; what a process that was killed has done is kept.

A part is a piece of a long file, or some files one after the other. Each is encoded by itself, into a file of ids in the
order of their first appearance and a file that says which characters they are, written last. When all parts are there,
their vocabularies are joined, and one part after the other is copied to its place with the ids of all.
"""

import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nextchar.errors import TextError
from nextchar.text.sources import OPENERS, Buffer, OnBytes, Source, codec_name, read_codes, read_range
from nextchar.text.vocabulary import CODE_POINTS, UNKNOWN, Units, Vocabulary, refuse_surrogates, smallest_dtype

PART = 1 << 26  # bytes of a file that are encoded at a time
WORKERS = 4  # more threads than cores do no harm: some of them wait for the disk
BLOCK = 1 << 22  # ids copied at a time
DIVISIBLE = ("utf-8", "ascii", "iso8859-1")  # encodings whose text can be read from the middle


class Piece(NamedTuple):
    """Some bytes of a file.

    Attributes:
        source: The file.
        start: The first byte.
        stop: The one after the last; None at the end of the file.
        checksum: CRC-32 of the bytes when the file was identified.
    """

    source: Source
    start: int
    stop: int | None
    checksum: int


class Checksums:
    """CRC-32 of every piece of a file, from all its bytes in order."""

    def __init__(self, size: int) -> None:
        self.sums, self._size, self._left = [0], size, size

    def __call__(self, data: Buffer) -> None:
        """Add bytes."""
        view = memoryview(data)
        while view:
            if not self._left:
                self.sums.append(0)
                self._left = self._size
            self.sums[-1] = zlib.crc32(view[: self._left], self.sums[-1])
            taken = min(len(view), self._left)
            view, self._left = view[taken:], self._left - taken


def counting(count: OnBytes) -> OnBytes:
    """Return a callback that several threads may call."""
    lock = Lock()

    def locked(data: Buffer) -> None:
        with lock:
            count(data)

    return locked


def identify(
    sources: Sequence[Source], units: Units, encoding: str, count: OnBytes
) -> tuple[list[dict[str, Any]], list[list[Piece]]]:
    """Read files in parallel; return the name, size and SHA-256 of each, and the parts in which to encode them."""
    count = counting(count)

    def one(source: Source) -> tuple[dict[str, Any], list[Piece]]:
        packed = source.path.suffix in OPENERS
        whole = packed or (units == "characters" and codec_name(encoding) not in DIVISIBLE)
        sums = Checksums(source.size + 1 if whole else PART)

        def on_bytes(data: Buffer) -> None:
            sums(data)
            count(data)

        entry = source.identify(on_bytes)
        last = len(sums.sums) - 1
        cuts = [(number * PART, None if number == last else (number + 1) * PART) for number in range(last + 1)]
        return entry, [Piece(source, *cut, checksum) for cut, checksum in zip(cuts, sums.sums, strict=True)]

    parts: list[list[Piece]] = []
    room = 0
    entries = []
    for entry, pieces in in_threads(one, sources):
        entries.append(entry)
        for piece in pieces:
            size = (piece.stop or entry["bytes"]) - piece.start
            if size > room:
                parts.append([])
                room = PART
            parts[-1].append(piece)
            room -= size
    return entries, parts


def in_threads(work: Callable[[Any], Any], items: Sequence[Any]) -> list[Any]:
    """Return the results for all items, in order; the first error ends the others that have not begun."""
    pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="nextchar-text")
    try:
        return list(pool.map(work, items))
    finally:
        pool.shutdown(cancel_futures=True)


def encode(
    parts: Sequence[Sequence[Piece]], folder: Path, units: Units, encoding: str, count: OnBytes
) -> tuple[int, Vocabulary]:
    """Encode parts into the file `ids.bin` of a folder, where some of the work may be done already; return its length.

    Raises:
        TextError: A file has changed since it was identified, or is in another encoding.
    """
    count = counting(count)

    def one(number: int) -> dict[str, Any]:
        with suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
            done: dict[str, Any] = json.loads((folder / f"{number}.json").read_text(encoding="utf-8"))
            Vocabulary.from_dict({"units": units, "codes": sorted(done["codes"])})
            kind, own = smallest_dtype(len(done["codes"])), folder / f"{number}.ids"
            if done["dtype"] != kind.name or (own.exists() and own.stat().st_size != done["count"] * kind.itemsize):
                raise ValueError(f"{own} is not what its description says")
            for piece in parts[number]:
                count(bytes(min(piece.stop or piece.source.size, piece.source.size) - piece.start))
            return done
        return _encode_part(parts[number], folder / str(number), units, encoding, count)

    known = in_threads(one, range(len(parts)))
    vocabulary = Vocabulary(units, tuple(sorted({code for each in known for code in each["codes"]})))
    _place(folder, known, vocabulary)
    return sum(part["count"] for part in known), vocabulary


def _encode_part(pieces: Sequence[Piece], place: Path, units: Units, encoding: str, count: OnBytes) -> dict[str, Any]:
    """Encode one part; return its characters in the order of its ids, their type and number."""
    encoder = Encoder(place.with_suffix(".ids"), units)
    for piece in pieces:
        encoder.add(_codes_of(piece, units, encoding, count))
    done = {"codes": encoder.codes, "dtype": encoder.dtype.name, "count": encoder.count}
    temporary = place.with_suffix(".new")
    temporary.write_text(json.dumps(done), encoding="utf-8")
    for path in (place.with_suffix(".ids"), temporary):  # or a power cut could leave zeros of the right length
        with path.open("r+b") as file:
            os.fsync(file.fileno())
    temporary.replace(place.with_suffix(".json"))
    return done


def _codes_of(piece: Piece, units: Units, encoding: str, count: OnBytes) -> Iterator[npt.NDArray[Any]]:
    """Yield the codes of a piece; refuse one that is no longer what was identified."""
    source, start, stop, expected = piece
    whole = Checksums(1 << 62)
    if start or stop is not None:
        yield from read_range(source, units, encoding, (start, stop), whole, count)
    else:
        yield from read_codes(source, units, encoding, whole, count)
    if whole.sums != [expected]:
        raise TextError(f"{source.path} changed while it was read; try again when nothing writes to it")


def _place(folder: Path, known: Sequence[dict[str, Any]], vocabulary: Vocabulary) -> None:
    """Copy the ids of each part to their place among all; a part is removed when it is there."""
    kind, offset = vocabulary.dtype, 0
    path = folder / "ids.bin"
    path.touch()
    for number, part in enumerate(known):
        own = folder / f"{number}.ids"
        if own.exists():
            table = vocabulary.find(np.array(part["codes"], np.uint32)).astype(kind)
            with own.open("rb") as file, path.open("r+b") as target:
                target.seek(offset)
                while len(block := np.fromfile(file, part["dtype"], BLOCK)):
                    target.write(substituted(block, table).data)
                target.flush()
                os.fsync(target.fileno())
            own.unlink()
        offset += part["count"] * kind.itemsize
    for number in range(len(known)):
        (folder / f"{number}.json").unlink()


def substituted(ids: npt.NDArray[Any], table: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return `table[ids]`; bytes are looked up several times as fast as numpy does it."""
    if ids.dtype != np.uint8 or table.dtype != np.uint8:
        return table[ids]
    return np.frombuffer(ids.tobytes().translate(table.tobytes().ljust(256, b"\0")), np.uint8)


class Encoder:
    """Writes ids in order of first appearance, in one pass; `finish` renumbers them in the order of their codes.

    Attributes:
        codes: Of the ids so far.
        dtype: Of the ids in the file.
        count: How many there are.
    """

    def __init__(self, path: Path, units: Units) -> None:
        self._path = path
        self._units: Units = units
        self._table = np.full(CODE_POINTS if units == "characters" else 256, UNKNOWN, np.uint32)
        self.codes: list[int] = []
        self.dtype: np.dtype[Any] = np.dtype(np.uint8)
        self.count = 0
        self._small = b"\xff" * 256
        path.write_bytes(b"")

    def add(self, blocks: Iterable[npt.NDArray[Any]]) -> None:
        """Append the ids of blocks of codes."""
        for codes in blocks:
            ids = self._ids(codes)
            wider = smallest_dtype(len(self.codes))
            if wider != self.dtype:
                self._rewrite(wider)
            with self._path.open("ab") as file:
                file.write(ids.astype(wider, copy=False).data)
            self.count += len(ids)

    def finish(self) -> Vocabulary:
        """Renumber the ids; return the vocabulary."""
        order = np.argsort(self.codes).astype(np.uint32)
        if self.count and (np.diff(order.astype(np.int64)) != 1).any():
            rank = np.empty_like(order)
            rank[order] = np.arange(len(order), dtype=np.uint32)
            self._rewrite(self.dtype, rank)
        return Vocabulary(self._units, tuple(sorted(self.codes)))

    def _ids(self, codes: npt.NDArray[Any]) -> npt.NDArray[Any]:
        if codes.dtype == np.uint8 and len(self.codes) < 255:  # several times as fast as numpy does it
            small = codes.tobytes().translate(self._small)
            if b"\xff" not in small:
                return np.frombuffer(small, np.uint8)
        ids = self._table[codes]
        if ids.max() == UNKNOWN:
            new = np.unique(codes[ids == UNKNOWN])
            refuse_surrogates(new)
            self._table[new] = np.arange(len(self.codes), len(self.codes) + len(new), dtype=np.uint32)
            self.codes += new.tolist()
            ids = self._table[codes]
            if len(self.codes) < 255:
                self._small = np.minimum(self._table[:256], 255).astype(np.uint8).tobytes()
        return ids

    def _rewrite(self, dtype: np.dtype[Any], table: npt.NDArray[np.uint32] | None = None) -> None:
        """Copy the file block by block into another type, or with other ids."""
        other = self._path.with_suffix(".new")
        with self._path.open("rb") as file, other.open("wb") as target:
            while len(block := np.fromfile(file, self.dtype, BLOCK)):
                target.write((block if table is None else table[block]).astype(dtype).data)
        other.replace(self._path)
        self.dtype = dtype
