"""A text as ids: encoded once, in chunks, into a memory-mapped cache file whose key is the digest of the content."""

import hashlib
import json
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from nextchar.errors import TextError, check_choice
from nextchar.text.catalogue import cache_folder, make_cache_folder
from nextchar.text.encoding import Encoder, encode, identify
from nextchar.text.paths import Text, try_lock
from nextchar.text.sources import (
    OPENERS,
    Buffer,
    OnBytes,
    Progress,
    Source,
    find_sources,
    no_bytes,
    no_progress,
    read_codes,
)
from nextchar.text.vocabulary import UNKNOWN, Ids, Units, Unknown, Vocabulary, refuse_surrogates

CACHE_FORMAT = 1
TEXTS = "texts"  # the cache's folder of encoded texts
LONG = 1 << 24  # bytes; reading fewer is too fast to show progress

Split = Literal["train", "valid", "test"]


@dataclass(frozen=True, slots=True)
class Corpus:
    """A text as ids.

    Attributes:
        ids: The whole text, `(characters,)`, usually a read-only memory map.
        vocabulary: The characters or bytes of the ids.
        key: SHA-256 over the content and the options of encoding; it names the cache entry.
        names: The `name` of each file, with its `bytes` and `sha256`.
        lookup: If given, the id in `vocabulary` of each stored id, `(V,)`.
        skipped: How many binary files of folders were left out.
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

    def __repr__(self) -> str:
        named = [str(entry["name"]) for entry in self.names]
        of = f", of {named[0]}" + (f" and {len(named) - 1:,} more" if named[1:] else "") if named else ""
        return f"<Corpus {len(self):,} {self.vocabulary.units}, {len(self.vocabulary):,} different{of}>"

    def take(self, start: int, stop: int) -> npt.NDArray[np.int64]:
        """Return ids [start, stop) in `vocabulary`, `(stop - start,)`."""
        return self.at(slice(start, stop))

    def at(self, places: slice | npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Return the ids at some places in `vocabulary`, in the shape of the places."""
        block = self.ids[places]
        return (block if self.lookup is None else self.lookup[block]).astype(np.int64)

    def in_vocabulary(self, vocabulary: Vocabulary) -> "Corpus":
        """Return the same text with the ids of another vocabulary, which must have every character of the text.

        Raises:
            UnknownCharacterError: It lacks some.
        """
        codes = np.array(self.vocabulary.codes, np.uint32)[... if self.lookup is None else self.lookup]
        lookup = vocabulary.find(codes)
        if (lookup == UNKNOWN).any():
            vocabulary.refuse(codes[lookup == UNKNOWN], "the text")
        return Corpus(self.ids, vocabulary, self.key, self.names, lookup, self.skipped)

    def part(self, name: str, valid: float, test: float) -> "Corpus":
        """Return the train, valid or test part. They are contiguous and follow each other in this order.

        Args:
            name: "train", "valid" or "test".
            valid: The share of the text in the valid part.
            test: The share in the test part.

        Raises:
            TextError: The part would have fewer than two characters.
        """
        check_choice("the part", name, Split)
        total = len(self.ids)
        # Not int(): 0.9 of 100 is 90, although the product of binary fractions is slightly smaller.
        cuts = [0, *(math.floor(total * share + 1e-6) for share in (1 - valid - test, 1 - test)), total]
        index = get_args(Split).index(name)
        start, stop = cuts[index], cuts[index + 1]
        share = (1 - valid - test, valid, test)[index]
        if stop - start < 2:
            none = f"the run has none; name a TEXT, or train with --{name} above 0"
            remedy = "give more text, or a larger share" if share else none
            raise TextError(
                f"the {name} part is {share:g} of {total:,} {self.vocabulary.units}, which is {stop - start}; {remedy}"
            )
        return Corpus(self.ids[start:stop], self.vocabulary, self.key, self.names, self.lookup)

    def split(self, valid: float, test: float) -> "tuple[Corpus, Corpus | None, Corpus | None]":
        """Return the train, valid and test parts; None for one whose share is 0."""
        return (
            self.part("train", valid, test),
            self.part("valid", valid, test) if valid else None,
            self.part("test", valid, test) if test else None,
        )

    @classmethod
    def from_text(cls, text: str | bytes, units: Units = "characters") -> "Corpus":
        """Make a corpus of a text in memory.

        Raises:
            ConfigError: `units` is neither characters nor bytes.
            TextError: The text has lone surrogates, or is not UTF-8.
        """
        check_choice("units", units, Units)
        codes = Vocabulary(units, ()).codes_of(text)
        refuse_surrogates(codes)
        vocabulary = Vocabulary(units, tuple(np.unique(codes).tolist()))
        return cls(
            vocabulary.find(codes).astype(vocabulary.dtype), vocabulary, hashlib.sha256(codes.tobytes()).hexdigest()
        )


def open_corpus(
    texts: Text | Sequence[Text],
    *,
    units: Units = "characters",
    encoding: str = "utf-8",
    suffixes: str | Sequence[str] = (),
    progress: Progress = no_progress,
) -> Corpus:
    """Open one or several texts as one corpus, and encode them into the cache if they are not in it.

    The key of a cache entry is made of the SHA-256 of every file and of the options, so an entry is never outdated. While
    the files are encoded they are hashed again: a file that changes in between is refused.

    Args:
        texts: See `find_sources`. Several files are concatenated, with nothing between them.
        units: Characters, or raw bytes.
        encoding: The encoding of the characters.
        suffixes: In folders, read only files that end with one of these.
        progress: Called during a long reading.

    Raises:
        ConfigError: `units` is neither characters nor bytes, or the cache folder cannot be written.
        TextError: A text is missing, empty, in another encoding, or changes while it is read.
    """
    check_choice("units", units, Units)
    with find_sources(texts, suffixes=suffixes, units=units) as (sources, skipped):
        total = sum(source.size for source in sources)
        if total < LONG:
            names = [source.identify(no_bytes) for source in sources]
        else:
            names, parts = identify(sources, units, encoding, _counter(progress, "reading", total))
        key = _key(names, units, encoding)
        if not (cached := _read_cache(key)):
            if total < LONG:
                codes = _verified_codes(sources, names, units, encoding)
                with TemporaryDirectory(
                    prefix="partial-", dir=make_cache_folder(TEXTS), ignore_cleanup_errors=True
                ) as name:
                    encoder = Encoder(Path(name, "ids.bin"), units)
                    encoder.add(codes)
                    _finish_entry(Path(name), key, names, encoder.finish(), encoder.count)
            else:
                count = _counter(progress, "encoding", total)
                with _partial(key) as partial:
                    size, vocabulary = encode(parts, partial, units, encoding, count)
                    _finish_entry(partial, key, names, vocabulary, size)
            cached = _read_cache(key)
    if cached is None:
        raise TextError(f"the cache in {cache_folder()} cannot be read back; empty it")
    ids, vocabulary = cached
    return Corpus(ids, vocabulary, key, tuple(names), None, skipped)


def _verified_codes(
    sources: Sequence[Source], names: Sequence[dict[str, Any]], units: Units, encoding: str
) -> Iterator[npt.NDArray[Any]]:
    """Yield the codes of files; refuse a file whose content is no longer that of its digest."""
    for source, entry in zip(sources, names, strict=True):
        sha = hashlib.sha256()
        yield from read_codes(source, units, encoding, sha.update)
        if sha.hexdigest() != entry["sha256"]:
            raise TextError(f"{source.path} changed while it was read; try again when nothing writes to it")


def cached_corpus(key: str) -> Corpus | None:
    """Return a corpus from the cache by its key, even if its files no longer exist; None if it is not there."""
    cached = _read_cache(key)
    return Corpus(*cached, key) if cached else None


def drop_cached(key: str) -> None:
    """Remove a text from the cache, if it is there; on Windows, one that is in use stays."""
    shutil.rmtree(_entry(key), ignore_errors=True)


def read_ids(
    texts: Text | Sequence[Text], vocabulary: Vocabulary, *, encoding: str = "utf-8", unknown: Unknown = "error"
) -> tuple[Ids, int]:
    """Read texts as the ids of a given vocabulary.

    Args:
        texts: See `find_sources`.
        vocabulary: The model's vocabulary.
        encoding: The encoding of the characters.
        unknown: "error", or "skip" to leave out characters that are not in the vocabulary.

    Returns:
        The ids, `(characters,)`, and how many unknown characters were left out.

    Raises:
        UnknownCharacterError: The text has unknown characters, and they are not skipped.
    """
    check_choice("unknown", unknown, Unknown)
    blocks: list[npt.NDArray[Any]] = []
    missing: list[npt.NDArray[Any]] = []
    with find_sources(texts, units=vocabulary.units) as (sources, _):
        for source in sources:
            for codes in read_codes(source, vocabulary.units, encoding):
                found = vocabulary.find(codes)
                known = found != UNKNOWN
                blocks.append(found[known].astype(vocabulary.dtype))
                missing.append(codes[~known])
    left_out = sum(map(len, missing))
    if left_out and unknown == "error":
        vocabulary.refuse(np.concatenate(missing), "the text")
    ids = np.concatenate(blocks) if blocks else np.zeros(0, vocabulary.dtype)
    if not len(ids):
        raise TextError(f"{', '.join(source.name for source in sources)}: there is nothing to read")
    return ids, left_out


def _counter(show: Progress, what: str, total: int) -> OnBytes:
    """Return a callback for pieces of files that shows how many bytes of the total are done."""
    done = 0

    def count(piece: Buffer) -> None:
        nonlocal done
        done += len(piece)
        show(what, done, total)

    return count


def _key(names: Sequence[dict[str, Any]], units: Units, encoding: str) -> str:
    # The suffix decides whether a file is decompressed, so it is part of the key; the rest of the name is not.
    parts = [[entry["sha256"], Path(entry["name"]).suffix in OPENERS] for entry in names]
    recipe = [CACHE_FORMAT, units, encoding if units == "characters" else "", parts]
    return hashlib.sha256(json.dumps(recipe).encode()).hexdigest()


def _entry(key: str) -> Path:
    return cache_folder() / TEXTS / key[:32]


def _read_cache(key: str) -> tuple[Ids, Vocabulary] | None:
    folder = _entry(key)
    try:
        meta = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        vocabulary = Vocabulary.from_dict(meta["vocabulary"])
        ids = np.memmap(folder / "ids.bin", vocabulary.dtype, "r")
        # Compiled code reads tables at these ids without a check.
        stored = [meta["key"], meta["dtype"], meta["count"]]
        if stored != [key, ids.dtype.name, len(ids)] or ids.max() >= len(vocabulary):
            return None
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None
    return ids, vocabulary


@contextmanager
def _partial(key: str) -> Iterator[Path]:
    """Yield a folder to encode a text in: the same for the same text, so that what a killed process left is used.

    One process at a time encodes in such a folder; another gets one that is removed.
    """
    texts = make_cache_folder(TEXTS)
    descriptor = os.open(texts.with_name("encoding.lock"), os.O_RDWR | os.O_CREAT)
    try:
        if not try_lock(descriptor):
            with TemporaryDirectory(prefix="partial-", dir=texts, ignore_cleanup_errors=True) as name:
                yield Path(name)
            return
        place = texts / f"partial-{key[:32]}"
        place.mkdir(exist_ok=True)
        try:
            yield place
        except Exception:
            shutil.rmtree(place, ignore_errors=True)
            raise
    finally:
        os.close(descriptor)


def _finish_entry(partial: Path, key: str, names: Sequence[dict[str, Any]], vocabulary: Vocabulary, count: int) -> None:
    """Describe the ids in a temporary folder in the cache, and rename that to the entry."""
    if not count:
        what = ", ".join(entry["name"] for entry in names[:3])
        raise TextError(f"{what}: the text is empty; there is nothing to learn")
    size = {"count": count, "dtype": vocabulary.dtype.name}
    meta = {"key": key, **size, "vocabulary": vocabulary.as_dict(), "texts": list(names)}
    (partial / "meta.json").write_text(json.dumps(meta), encoding="utf-8")
    for name in ("ids.bin", "meta.json"):  # or a power cut could leave zeros of the right length
        with (partial / name).open("r+b") as file:
            os.fsync(file.fileno())
    shutil.rmtree(_entry(key), ignore_errors=True)
    try:
        partial.rename(_entry(key))
    except OSError:
        # Another process may have written the same entry in the meantime.
        if _read_cache(key) is None:
            raise
