"""Sources of text: files, folders, globs, standard input and named corpora, plain or compressed, decoded in chunks."""

import bz2
import codecs
import glob
import gzip
import hashlib
import io
import lzma
import shutil
import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from nextchar.errors import TextError, did_you_mean
from nextchar.text.catalogue import CATALOGUE, fetch
from nextchar.text.hub import fetch_texts, is_hub
from nextchar.text.paths import STDIN, Text, as_list, expand
from nextchar.text.vocabulary import Units, code_points

CHUNK = 1 << 20
OPENERS: dict[str, Callable[[Any], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}

Progress = Callable[[str, int, int], None]
"""Called with the name of the work, how many bytes are done, and how many there are."""

Buffer = bytes | memoryview
OnBytes = Callable[[Buffer], object]
"""Called with each piece of a file, in order."""


def no_bytes(_data: Buffer) -> None:
    """Ignore pieces of a file."""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True)
class Source:
    """A file to read.

    Attributes:
        path: Where it is.
        name: What it is called in messages and provenance.
    """

    path: Path
    name: str

    @property
    def size(self) -> int:
        """The size in bytes."""
        return self.path.stat().st_size

    def identify(self, on_bytes: OnBytes) -> dict[str, Any]:
        """Return the name, and the size and the SHA-256 of the content, every byte of which is passed to a callback."""
        with self.path.open("rb", buffering=0) as file:
            sha = hashlib.file_digest(Observed(file, [on_bytes]), "sha256")
            return {"name": self.name, "bytes": file.tell(), "sha256": sha.hexdigest()}


@contextmanager
def find_sources(
    texts: Text | Sequence[Text], *, suffixes: str | Sequence[str] = (), units: Units = "characters"
) -> Iterator[tuple[list[Source], int]]:
    """Find the files that texts name, in the order given; those of a folder in the order of their paths.

    Standard input and pipes are copied to temporary files, which are removed at the end of the `with` block.

    Args:
        texts: One or several files, folders, globs, "-" for standard input, names of corpora, or addresses on the Hub:
            hf://datasets/USER/NAME for all its .txt files, or with /FILE for one.
        suffixes: In folders, take only files that end with one of these. Without it, binary files are left out, unless
            `units` is bytes.
        units: What the text will be read as.

    Yields:
        The files, and how many binary files were left out.

    Raises:
        TextError: A text does not exist, or a folder has no text.
        HubError: A text cannot be fetched from the Hub.
    """
    if not (names := as_list(texts)):
        raise TextError("no text was given; name a file, a folder, - for standard input, or one of `nextchar corpora`")
    sources: list[Source] = []
    skipped = 0
    with ExitStack() as copies:
        for name in names:
            path = expand(name)
            if is_hub(name):
                sources += [Source(file, title) for file, title in fetch_texts(name)[1]]
            elif name in STDIN:
                sources.append(spool(sys.stdin.buffer, "-", copies))
            elif path.is_dir():
                found, binary = find_in_folder(path, as_list(suffixes), units)
                sources += found
                skipped += binary
            elif path.is_file():
                sources.append(Source(path, path.name))
            elif path.exists():  # a pipe can be read only once, like standard input
                with path.open("rb") as pipe:
                    sources.append(spool(pipe, path.name, copies))
            elif name in CATALOGUE:
                sources += [Source(file, title) for file, title in fetch(name)]
            else:
                sources += find_matches(name)
        yield sources, skipped


def find_matches(pattern: str) -> list[Source]:
    """Find the files that match a glob."""
    paths = glob.glob(str(expand(pattern)), recursive=True)  # noqa: PTH207  it may be absolute
    matches = sorted(match for match in paths if Path(match).is_file())
    if not matches:
        near = did_you_mean(pattern, [*CATALOGUE, *map(str, expand(pattern).parent.glob("*"))])
        raise TextError(
            f"there is no file, folder or corpus named '{pattern}'{near or '; `nextchar corpora` lists the corpora'}"
        )
    return [Source(Path(match), Path(match).name) for match in matches]


def find_in_folder(folder: Path, suffixes: Sequence[str], units: Units) -> tuple[list[Source], int]:
    """Find the texts in a folder and its subfolders, without hidden ones."""
    files = [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    ]
    if suffixes:
        files = [path for path in files if path.name.endswith(tuple(suffixes))]
    texts = files if suffixes or units == "bytes" else [path for path in files if not looks_binary(path)]
    if not texts:
        wanted = f" that ends with {' or '.join(suffixes)}" if suffixes else ""
        raise TextError(f"the folder {folder} holds no text{wanted}")
    return [Source(path, path.relative_to(folder).as_posix()) for path in texts], len(files) - len(texts)


def looks_binary(path: Path) -> bool:
    """Return whether the first 8 KiB of a file have a zero byte, which is git's rule."""
    if path.suffix in OPENERS:
        return False
    with path.open("rb") as file:
        return b"\0" in file.read(8192)


def spool(stream: BinaryIO, name: str, copies: ExitStack) -> Source:
    """Copy a stream to a temporary file; a corpus is read twice, and a pipe can be read only once."""
    path = Path(copies.enter_context(TemporaryDirectory(prefix="nextchar-", ignore_cleanup_errors=True)), "stdin")
    with path.open("wb") as file:
        shutil.copyfileobj(stream, file, CHUNK)
    return Source(path, name)


class Observed(io.RawIOBase):
    """A file that passes every piece that is read from it to callbacks."""

    def __init__(self, file: io.FileIO, on_bytes: Sequence[OnBytes]) -> None:
        self._file, self._on_bytes = file, on_bytes

    def readable(self) -> bool:
        """Return that it can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer; return how many bytes were read."""
        count = self._file.readinto(buffer)
        for callback in self._on_bytes:
            callback(memoryview(buffer)[:count])
        return count


def read_codes(source: Source, units: Units, encoding: str, *on_bytes: OnBytes) -> Iterator[npt.NDArray[Any]]:
    """Read a file as a stream of code points or bytes, decompressed and decoded.

    Args:
        source: The file.
        units: Characters, or raw bytes.
        encoding: The encoding of the characters. Line ends and byte order marks are kept.
        *on_bytes: Called with every byte of the file as it is on disk, up to its end.

    Yields:
        Arrays of codes, `(n,)`, uint8 where that is enough, else uint32.

    Raises:
        TextError: Bytes are not in the encoding, with their offset, or a compressed file is damaged.
    """
    decode = to_bytes if units == "bytes" else Decoder(source, encoding)
    opener = OPENERS.get(source.path.suffix)
    try:
        with source.path.open("rb", buffering=0) as file:
            raw = io.BufferedReader(Observed(file, on_bytes), CHUNK)
            with opener(raw) if opener else raw as stream:
                while chunk := stream.read(CHUNK):
                    if len(codes := decode(chunk, False)):
                        yield codes
                if len(codes := decode(b"", True)):
                    yield codes
                while raw.read(CHUNK):  # what follows the end of the compressed data
                    pass
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        # gzip and bz2 report wrong content with an OSError without a number.
        raise TextError(f"{source.path} is not a valid {source.path.suffix} file: {error}") from None


def read_range(
    source: Source, units: Units, encoding: str, place: tuple[int, int | None], *on_bytes: OnBytes
) -> Iterator[npt.NDArray[Any]]:
    """Read a stretch of a file that is not compressed, as `read_codes` reads it whole.

    Args:
        source: The file.
        units: Characters, or raw bytes.
        encoding: UTF-8, or one with a byte for each character. A character of several bytes belongs to the stretch of its
            first byte.
        place: The first byte, and the one after the last, or None for the end of the file.
        *on_bytes: Called with every byte of the stretch.
    """
    start, stop = place
    left = sys.maxsize if stop is None else stop - start
    divided = units == "characters" and codec_name(encoding) == "utf-8"
    with source.path.open("rb", buffering=0) as file:
        file.seek(start)
        skipped = _continued(file.read(3)) if divided and start else 0
        file.seek(start)
        decode = to_bytes if units == "bytes" else Decoder(source, encoding, start + skipped)
        while chunk := file.read(min(CHUNK, left)):
            for callback in on_bytes:
                callback(chunk)
            left -= len(chunk)
            if len(codes := decode(chunk[skipped:], False)):
                yield codes
            skipped = 0
        rest = file.read(3) if divided else b""
        if len(codes := decode(rest[: _continued(rest)], True)):
            yield codes


def _continued(data: bytes) -> int:
    """Return how many bytes at the beginning continue a character of UTF-8."""
    return next((place for place, byte in enumerate(data) if byte & 0xC0 != 0x80), len(data))


def to_bytes(chunk: bytes, _final: bool) -> npt.NDArray[np.uint8]:
    """Return bytes as codes."""
    return np.frombuffer(chunk, np.uint8)


class Decoder:
    """Decodes a file chunk by chunk; an error names the offset in the file."""

    def __init__(self, source: Source, encoding: str, start: int = 0) -> None:
        info = _text_codec(encoding)
        self._source = source
        self._encoding = info.name
        self._decoder = info.incrementaldecoder()
        self._decoded = start  # bytes

    def __call__(self, chunk: bytes, final: bool) -> npt.NDArray[Any]:
        """Decode a chunk; `final` is true in the last call."""
        if self._encoding == "utf-8" and chunk.isascii() and not self._decoder.getstate()[0]:
            self._decoded += len(chunk)
            return np.frombuffer(chunk, np.uint8)
        try:
            text = self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            # The decoder's input ends where the chunk ends, and may begin with bytes of the chunk before.
            offset = self._decoded + len(chunk) - len(error.object) + error.start
            raise TextError(
                self._explain(f"byte 0x{error.object[error.start]:02X} at offset {offset} ({error.reason})")
            ) from None
        except UnicodeError as error:
            raise TextError(self._explain(str(error))) from None
        self._decoded += len(chunk)
        return code_points(text)

    def _explain(self, reason: str) -> str:
        return (
            f"{self._source.path} is not {self._encoding}: {reason}; "
            f"name its encoding (--encoding latin-1, cp1252, utf-16 …) or read it as bytes (--units bytes)"
        )


def codec_name(encoding: str) -> str:
    """Return the name of an encoding that Python uses for all its names.

    Raises:
        TextError: There is no such encoding.
    """
    return _text_codec(encoding).name


def _text_codec(encoding: str) -> codecs.CodecInfo:
    try:
        info = codecs.lookup(encoding)
    except (LookupError, TypeError, ValueError):
        info = None
    if info is None or not getattr(info, "_is_text_encoding", True):
        raise TextError(f"there is no text encoding named '{encoding}'; try utf-8, latin-1, cp1252 or utf-16")
    return info
