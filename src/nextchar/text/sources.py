"""What the user calls a text: files, folders, globs, standard input, named corpora; plain or compressed."""

import bz2
import codecs
import glob
import gzip
import hashlib
import lzma
import shutil
import sys
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from nextchar.errors import TextError
from nextchar.text.catalogue import CATALOGUE, fetch
from nextchar.text.paths import STDIN, expand
from nextchar.text.vocabulary import Units

CHUNK = 1 << 20
OPENERS: dict[str, Callable[[Any], Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}


Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done and how much there is, both in bytes."""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file to read: where it lies and what it is called in messages and provenance."""

    path: Path
    name: str
    spooled: bool = False

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return self.path.stat().st_size


def find_sources(
    texts: Sequence[str], *, suffixes: Sequence[str] = (), units: Units = "characters"
) -> tuple[list[Source], int]:
    """Resolve what the user named into files, in the order given; folders in the order of their paths.

    Args:
        texts: Files, folders, globs, "-" for standard input, or names of the catalogue.
        suffixes: In folders, take only files that end so. Without it, files that look binary are left out,
            unless `units` is bytes.
        units: What the text will be read as.

    Returns:
        The files, and how many binary ones were left out.

    Raises:
        TextError: A text that is not there, or a folder without any.
    """
    if not texts:
        raise TextError(
            "no text was given; name a file, a folder, - for standard input, or one of `nextchar corpora`"
        )
    sources: list[Source] = []
    skipped = 0
    try:
        for text in texts:
            path = expand(text)
            if text in STDIN:
                sources.append(spool(sys.stdin.buffer, "-"))
            elif path.is_dir():
                found, binary = in_folder(path, suffixes, units)
                sources += found
                skipped += binary
            elif path.is_file():
                sources.append(Source(path, path.name))
            elif path.exists():  # a pipe can be read only once, as standard input can
                with path.open("rb") as pipe:
                    sources.append(spool(pipe, path.name))
            elif text in CATALOGUE:
                sources += [Source(file, name) for file, name in fetch(text)]
            else:
                sources += matching(text)
    except BaseException:
        remove_spooled(sources)
        raise
    return sources, skipped


def matching(pattern: str) -> list[Source]:
    """Find the files of a glob."""
    paths = glob.glob(str(expand(pattern)), recursive=True)  # noqa: PTH207  it may be absolute
    matches = sorted(match for match in paths if Path(match).is_file())
    if not matches:
        raise TextError(
            f"there is no file, folder or corpus named '{pattern}'; `nextchar corpora` lists the corpora"
        )
    return [Source(Path(match), Path(match).name) for match in matches]


def in_folder(folder: Path, suffixes: Sequence[str], units: Units) -> tuple[list[Source], int]:
    """Find the texts below a folder, hidden files and folders left out."""
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
    """Tell whether the first 8 KiB hold a zero byte, as git does."""
    if path.suffix in OPENERS:
        return False
    with path.open("rb") as file:
        return b"\0" in file.read(8192)


def spool(stream: BinaryIO, name: str) -> Source:
    """Copy what can be read only once to a temporary file, since a corpus is read more than once."""
    folder = Path(tempfile.mkdtemp(prefix="nextchar-"))
    path = folder / "stdin"
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(stream, file, CHUNK)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Source(path, name, spooled=True)


def remove_spooled(sources: Sequence[Source]) -> None:
    """Remove what `spool` left."""
    for source in sources:
        if source.spooled:
            shutil.rmtree(source.path.parent, ignore_errors=True)


def digest(source: Source, step: Callable[[int], None]) -> str:
    """Return the SHA-256 of a file as it lies on disk, telling `step` how many bytes were read."""
    sha = hashlib.sha256()
    with source.path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK):
            sha.update(chunk)
            step(len(chunk))
    return sha.hexdigest()


def read_codes(
    source: Source, units: Units, encoding: str, step: Callable[[int], None]
) -> Iterator[npt.NDArray[Any]]:
    """Read a file as a stream of code points or bytes, decompressed and decoded.

    Args:
        source: The file.
        units: Characters, or raw bytes.
        encoding: The codec of the characters. Line ends and byte order marks are kept as they are.
        step: Told how many bytes of the file were read.

    Yields:
        Arrays of codes, uint8 where that is enough, else uint32.

    Raises:
        TextError: Bytes that are not in the encoding, with their offset; a damaged compressed file.
    """
    decode = to_bytes if units == "bytes" else Decoder(source, encoding)
    opener = OPENERS.get(source.path.suffix)
    try:
        with source.path.open("rb") as raw, opener(raw) if opener else raw as file:
            read = 0
            while chunk := file.read(CHUNK):
                codes = decode(chunk, False)
                if len(codes):
                    yield codes
                step(raw.tell() - read)
                read = raw.tell()
            codes = decode(b"", True)
            if len(codes):
                yield codes
    except (EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        # gzip and bz2 say with an OSError without a number that the content is not theirs.
        raise TextError(f"{source.path} is not a sound {source.path.suffix} file: {error}") from None


def to_bytes(chunk: bytes, _final: bool) -> npt.NDArray[np.uint8]:
    """See bytes as codes."""
    return np.frombuffer(chunk, np.uint8)


class Decoder:
    """Decodes chunk after chunk and knows at which byte of the file an error is."""

    def __init__(self, source: Source, encoding: str) -> None:
        info = _text_codec(encoding)
        self._source = source
        self._encoding = info.name
        self._decoder = info.incrementaldecoder()
        self._fed = 0

    def __call__(self, chunk: bytes, final: bool) -> npt.NDArray[Any]:
        """Decode a chunk; the last call has `final` true."""
        if self._encoding == "utf-8" and chunk.isascii() and not self._decoder.getstate()[0]:
            self._fed += len(chunk)
            return np.frombuffer(chunk, np.uint8)
        try:
            text = self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            # What the decoder saw ends where the chunk ends.
            offset = self._fed + len(chunk) - len(error.object) + error.start
            raise TextError(
                self._explain(f"byte 0x{error.object[error.start]:02X} at offset {offset} ({error.reason})")
            ) from None
        except UnicodeError as error:
            raise TextError(self._explain(str(error))) from None
        self._fed += len(chunk)
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)

    def _explain(self, reason: str) -> str:
        return (
            f"{self._source.path} is not {self._encoding}: {reason}; "
            f"name its encoding (--encoding latin-1, cp1252, utf-16 …) or read it as bytes (--units bytes)"
        )


def _text_codec(encoding: str) -> codecs.CodecInfo:
    try:
        info = codecs.lookup(encoding)
    except LookupError:
        info = None
    if info is None or not getattr(info, "_is_text_encoding", True):
        raise TextError(f"there is no text encoding named '{encoding}'; try utf-8, latin-1, cp1252 or utf-16")
    return info
