"""A text as ids on disk: encoded once, streaming, into a memory-mapped cache whose key is the content itself."""

import hashlib
import json
import math
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.errors import TextError
from nextchar.text.catalogue import cache_folder
from nextchar.text.sources import (
    Progress,
    Source,
    digest,
    find_sources,
    no_progress,
    read_codes,
    remove_spooled,
)
from nextchar.text.vocabulary import CODE_POINTS, UNKNOWN, Ids, Units, Unknown, Vocabulary, smallest_dtype

CACHE_FORMAT = 1
LONG = 1 << 24  # bytes; below it nothing takes long enough to be shown
BLOCK = 1 << 22  # ids handled at a time


@dataclass(frozen=True, slots=True)
class Corpus:
    """A text as ids.

    Attributes:
        ids: The whole text, `(characters,)`, usually a read-only memory map.
        vocabulary: What the ids stand for.
        key: SHA-256 over the content and the options that made the ids; the name of its place in the cache.
        names: The files, with `bytes` and `sha256` of each.
        lookup: Where given, what each id is in the model's vocabulary, `(V,)`.
        skipped: Binary files left out of folders.
    """

    ids: Ids
    vocabulary: Vocabulary
    key: str = ""
    names: tuple[dict[str, Any], ...] = ()
    lookup: npt.NDArray[np.uint32] | None = field(default=None, repr=False)
    skipped: int = 0

    def __len__(self) -> int:
        """Return the number of characters (or bytes)."""
        return len(self.ids)

    def take(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Return ids [start, stop) in the model's vocabulary."""
        block = self.ids[start:stop]
        return (block if self.lookup is None else self.lookup[block]).astype(np.int64)

    def in_vocabulary(self, vocabulary: Vocabulary) -> "Corpus":
        """Return the same text with the ids of another vocabulary, which must know every character."""
        codes = np.array(self.vocabulary.codes, np.uint32)[... if self.lookup is None else self.lookup]
        lookup = vocabulary.find(codes)
        if (lookup == UNKNOWN).any():
            vocabulary.refuse(codes[lookup == UNKNOWN], "the text")
        return Corpus(self.ids, vocabulary, self.key, self.names, lookup, self.skipped)

    def part(self, name: str, valid: float, test: float) -> "Corpus":
        """Return the train, valid or test part: contiguous, in this order, cut at whole fractions of the text.

        Raises:
            TextError: The part would be empty; says how many characters there are.
        """
        total = len(self.ids)
        # Not int(): 0.9 of 100 is 90, whatever binary fractions make of it.
        cuts = [0, *(math.floor(total * share + 1e-6) for share in (1 - valid - test, 1 - test)), total]
        index = ("train", "valid", "test").index(name)
        start, stop = cuts[index], cuts[index + 1]
        share = (1 - valid - test, valid, test)[index]
        if stop - start < 2:
            none = f"the run kept none; name a TEXT, or train with --{name} above 0"
            remedy = "give more text, or a larger share" if share else none
            raise TextError(
                f"the {name} part is {share:g} of {total:,} {self.vocabulary.units}, which is {stop - start}; {remedy}"
            )
        return Corpus(self.ids[start:stop], self.vocabulary, self.key, self.names, self.lookup)

    def split(self, valid: float, test: float) -> "tuple[Corpus, Corpus | None, Corpus | None]":
        """Return all three parts, None for one that was given no share."""
        return (
            self.part("train", valid, test),
            self.part("valid", valid, test) if valid else None,
            self.part("test", valid, test) if test else None,
        )

    @classmethod
    def from_text(cls, text: str | bytes, units: Units = "characters") -> "Corpus":
        """Make a corpus of a text in memory."""
        codes = Vocabulary(units, ()).codes_of(text)
        vocabulary = Vocabulary(units, tuple(np.unique(codes).tolist()))
        return cls(
            vocabulary.find(codes).astype(vocabulary.dtype),
            vocabulary,
            hashlib.sha256(codes.tobytes()).hexdigest(),
        )


def open_corpus(
    texts: Sequence[str],
    *,
    units: Units = "characters",
    encoding: str = "utf-8",
    suffixes: Sequence[str] = (),
    progress: Progress = no_progress,
) -> Corpus:
    """Open texts as one corpus, encoding them into the cache if they are not there yet.

    The key of the cache is made of the SHA-256 of every file and of the options, so a stale entry is impossible:
    other content is another key.

    Args:
        texts: See `find_sources`. Several files are read one after the other, with nothing between them.
        units: Characters, or raw bytes.
        encoding: The codec of the characters.
        suffixes: In folders, read only files that end so.
        progress: Told how far a long reading is.

    Raises:
        TextError: A text that is missing, empty or in another encoding.
    """
    sources, skipped = find_sources(texts, suffixes=suffixes, units=units)
    try:
        total = sum(source.size for source in sources)
        show = progress if total >= LONG else no_progress
        step = _telling(show, "reading", total)
        names = [{"name": each.name, "bytes": each.size, "sha256": digest(each, step)} for each in sources]
        key = _key(names, units, encoding)
        if not (cached := _read_cache(key)):
            _write_cache(key, sources, names, units, encoding, show)
            cached = _read_cache(key)
        if cached is None:
            raise TextError(f"the cache in {cache_folder()} cannot be read back; empty it")
        ids, vocabulary = cached
        return Corpus(ids, vocabulary, key, tuple(names), None, skipped)
    finally:
        remove_spooled(sources)


def cached_corpus(key: str) -> Corpus | None:
    """Return a corpus that was encoded before, by its key; its files need not be there any more."""
    cached = _read_cache(key)
    return Corpus(*cached, key) if cached else None


def read_ids(
    texts: Sequence[str], vocabulary: Vocabulary, *, encoding: str = "utf-8", unknown: Unknown = "error"
) -> tuple[Ids, int]:
    """Read texts as the ids of a given vocabulary.

    Returns:
        The ids, and how many unknown characters were left out.

    Raises:
        UnknownCharacterError: Counts and names characters the vocabulary lacks, unless they are skipped.
    """
    sources, _ = find_sources(texts, units=vocabulary.units)
    blocks: list[npt.NDArray[Any]] = []
    missing: list[npt.NDArray[Any]] = []
    try:
        for source in sources:
            for codes in read_codes(source, vocabulary.units, encoding, lambda _bytes: None):
                found = vocabulary.find(codes)
                known = found != UNKNOWN
                blocks.append(found[known].astype(vocabulary.dtype))
                missing.append(codes[~known])
    finally:
        remove_spooled(sources)
    left_out = sum(map(len, missing))
    if left_out and unknown == "error":
        vocabulary.refuse(np.concatenate(missing), "the text")
    ids = np.concatenate(blocks) if blocks else np.zeros(0, vocabulary.dtype)
    if not len(ids):
        raise TextError(f"{', '.join(source.name for source in sources)}: there is nothing in it to read")
    return ids, left_out


def _telling(show: Progress, what: str, total: int) -> Callable[[int], None]:
    """Return what is told how many bytes more were read, and shows how many of the total that makes."""
    done = 0

    def step(count: int) -> None:
        nonlocal done
        done += count
        show(what, done, total)

    return step


def _key(names: Sequence[dict[str, Any]], units: Units, encoding: str) -> str:
    # The suffix of a name says whether a file is unpacked, so it belongs to the key; the rest of the name does not.
    parts = [[entry["sha256"], Path(entry["name"]).suffix in (".gz", ".bz2", ".xz")] for entry in names]
    recipe = [CACHE_FORMAT, units, encoding if units == "characters" else "", parts]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()


def _entry(key: str) -> Path:
    return cache_folder() / "texts" / key[:32]


def _read_cache(key: str) -> tuple[Ids, Vocabulary] | None:
    folder = _entry(key)
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        ids = np.memmap(folder / "ids.bin", dtype=meta["dtype"], mode="r")
        if meta["key"] != key or len(ids) != meta["count"]:
            return None
        return ids, Vocabulary.from_dict(meta["vocabulary"])
    except (FileNotFoundError, ValueError, KeyError, TypeError, OverflowError):
        return None


def _write_cache(
    key: str,
    sources: Sequence[Source],
    names: Sequence[dict[str, Any]],
    units: Units,
    encoding: str,
    show: Progress,
) -> None:
    """Encode into a folder beside the place, and move it there when it is whole."""
    place = _entry(key)
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=place.parent))
    try:
        vocabulary, count = _Encoder(partial / "ids.bin", units).run(sources, encoding, show)
        if not count:
            raise TextError(
                f"{', '.join(entry['name'] for entry in names[:3])}: the text is empty; there is nothing to learn"
            )
        meta = {
            "key": key,
            "count": count,
            "dtype": vocabulary.dtype.name,
            "vocabulary": vocabulary.as_dict(),
            "texts": list(names),
        }
        (partial / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
        shutil.rmtree(place, ignore_errors=True)
        try:
            partial.rename(place)
        except OSError:
            # Another process put the same content there first.
            if _read_cache(key) is None:
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def encode(texts: Sequence[str], path: Path, units: Units = "characters") -> tuple[Vocabulary, int]:
    """Encode texts as UTF-8 into a file of ids, past the cache; return the vocabulary and the number of ids."""
    sources, _ = find_sources(texts, suffixes=(), units=units)
    return _Encoder(path, units).run(sources, "utf-8", no_progress)


class _Encoder:
    """Writes ids in order of first appearance, in one pass, and sorts them in place at the end."""

    def __init__(self, path: Path, units: Units) -> None:
        self._path = path
        self._units: Units = units
        self._table = np.full(CODE_POINTS if units == "characters" else 256, UNKNOWN, np.uint32)
        self._codes: list[int] = []

    def run(self, sources: Sequence[Source], encoding: str, show: Progress) -> tuple[Vocabulary, int]:
        """Encode all sources into one file; return the vocabulary and the number of ids."""
        step, count = _telling(show, "encoding", sum(source.size for source in sources)), 0
        dtype = np.dtype(np.uint8)
        file = self._path.open("wb")
        try:
            for source in sources:
                for codes in read_codes(source, self._units, encoding, step):
                    ids = self._ids(codes)
                    wider = smallest_dtype(len(self._codes))
                    if wider != dtype:
                        file.close()
                        self._rewrite(dtype, wider)
                        dtype = wider
                        file = self._path.open("ab")
                    file.write(ids.astype(dtype).data)
                    count += len(ids)
        finally:
            file.close()
        order = np.argsort(self._codes).astype(np.uint32)
        if count and (np.diff(order.astype(np.int64)) != 1).any():
            rank = np.empty_like(order)
            rank[order] = np.arange(len(order), dtype=np.uint32)
            self._rewrite(dtype, dtype, rank)
        return Vocabulary(self._units, tuple(sorted(self._codes))), count

    def _ids(self, codes: npt.NDArray[Any]) -> npt.NDArray[np.uint32]:
        ids = self._table[codes]
        if ids.max() == UNKNOWN:
            new = np.unique(codes[ids == UNKNOWN])
            self._table[new] = np.arange(len(self._codes), len(self._codes) + len(new), dtype=np.uint32)
            self._codes += new.tolist()
            ids = self._table[codes]
        return ids

    def _rewrite(
        self, old: np.dtype[Any], new: np.dtype[Any], table: npt.NDArray[np.uint32] | None = None
    ) -> None:
        """Copy the file block by block into another type or another order."""
        other = self._path.with_suffix(".new")
        with self._path.open("rb") as file, other.open("wb") as target:
            while len(block := np.fromfile(file, old, BLOCK)):
                target.write((block if table is None else table[block]).astype(new).data)
        other.replace(self._path)
