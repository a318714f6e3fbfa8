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
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.errors import TextError
from nextchar.text.catalogue import CATALOGUE, fetch
from nextchar.text.vocabulary import Units

CHUNK = 1 << 20
OPENERS: dict[str, Callable[[Path], Any]] = {
    ".gz": lambda path: gzip.open(path, "rb"),
    ".bz2": lambda path: bz2.open(path, "rb"),
    ".xz": lambda path: lzma.open(path, "rb"),
}

STDIN = ("-", "/dev/stdin")

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done and how much there is, both in bytes."""


def no_progress(_what: str, _done: int, _total: int) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True)
class Source:
    """One file to read: where it lies and what it is called in messages and provenance."""

    path: Path
    name: str

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
    for text in texts:
        path = Path(text).expanduser()
        if text in STDIN:
            sources.append(spool_stdin())
        elif path.is_dir():
            found, binary = in_folder(path, suffixes, units)
            sources += found
            skipped += binary
        elif path.exists():
            sources.append(Source(path, path.name))
        elif text in CATALOGUE:
            sources += [Source(file, name) for file, name in fetch(text)]
        else:
            paths = glob.glob(str(path), recursive=True)  # noqa: PTH207  a pattern may be absolute
            matches = sorted(match for match in paths if Path(match).is_file())
            if not matches:
                raise TextError(
                    f"there is no file, folder or corpus named '{text}'; `nextchar corpora` lists the corpora"
                )
            sources += [Source(Path(match), Path(match).name) for match in matches]
    return sources, skipped


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


def spool_stdin() -> Source:
    """Copy standard input to a temporary file, since a corpus is read more than once."""
    folder = Path(tempfile.mkdtemp(prefix="nextchar-"))
    path = folder / "stdin"
    try:
        with path.open("wb") as file:
            shutil.copyfileobj(sys.stdin.buffer, file, CHUNK)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return Source(path, "-")


def remove_spooled(sources: Sequence[Source]) -> None:
    """Remove what `spool_stdin` left."""
    for source in sources:
        if source.name == "-":
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
        with opener(source.path) if opener else source.path.open("rb") as file:
            while chunk := file.read(CHUNK):
                codes = decode(chunk, False)
                if len(codes):
                    yield codes
                step(len(chunk))
            codes = decode(b"", True)
            if len(codes):
                yield codes
    except (EOFError, gzip.BadGzipFile, lzma.LZMAError, zlib.error) as error:
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
        pending = len(self._decoder.getstate()[0])
        if self._encoding == "utf-8" and not pending and chunk.isascii():
            self._fed += len(chunk)
            return np.frombuffer(chunk, np.uint8)
        try:
            text = self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            raise TextError(self._explain(error, self._fed - pending + error.start)) from None
        self._fed += len(chunk)
        return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)

    def _explain(self, error: UnicodeDecodeError, offset: int) -> str:
        bad = f"byte 0x{error.object[error.start]:02X}" if error.start < len(error.object) else "the end"
        return (
            f"{self._source.path} is not {self._encoding}: {bad} at offset {offset} ({error.reason}); "
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
