"""The named corpora, with their addresses and checksums; one is downloaded only if there is no local copy."""

import os
import shutil
import sysconfig
import tomllib
import warnings
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, Literal

from platformdirs import user_cache_path

from nextchar.errors import ConfigError, TextError


@dataclass(frozen=True, slots=True)
class Named:
    """A named corpus.

    Attributes:
        about: A short description.
        url: The address it is downloaded from; empty if every machine has it.
        sha256: The digest of the downloaded file.
        local: Paths of possible copies, relative to `NEXTCHAR_DATA`.
        local_sha256: The digest of such a copy if it is an unpacked archive.
        member: The name of the text inside a zip archive.
    """

    about: str
    url: str = ""
    sha256: str = ""
    local: Sequence[str] = ()
    local_sha256: str = ""
    member: str = ""


_ENTRIES = tomllib.loads((Path(__file__).parent / "assets" / "corpora.toml").read_text(encoding="utf-8"))
CATALOGUE = {name: Named(**values) for name, values in _ENTRIES.items()}

Place = Literal["built in", "local", "cached", "to be fetched"]
CORPORA = "corpora"  # the cache's folder of downloaded corpora


def cache_folder() -> Path:
    """Return the folder of encoded texts and downloaded corpora: `NEXTCHAR_CACHE`, or the user's cache folder.

    Raises:
        ConfigError: There is neither.
    """
    if given := os.environ.get("NEXTCHAR_CACHE"):
        return Path(given)
    try:
        folder = user_cache_path("nextchar", appauthor=False)
    except RuntimeError:  # a user of a container who is in no list of users has no home
        folder = Path("~")
    if not folder.is_absolute():  # older versions of platformdirs return such a folder
        raise ConfigError(
            "there is no home folder for the cache; name a folder in the environment variable NEXTCHAR_CACHE"
        )
    return folder


def make_cache_folder(name: str) -> Path:
    """Make a folder in the cache folder, if it does not exist, and check that it can be written.

    Raises:
        ConfigError: It cannot; names the environment variable that moves the cache.
    """
    folder = cache_folder() / name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise ConfigError(
            f"the cache folder {folder} cannot be written ({error.strerror}); "
            f"name another folder in the environment variable NEXTCHAR_CACHE"
        ) from None


def import_quietly(name: str) -> Any:
    """Import a module of which a part warns that a notebook lacks a progress bar that is not used here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return import_module(name)


def fetch(name: str) -> list[tuple[Path, str]]:
    """Return the files of a named corpus, each with its name; download it if there is no local copy.

    Raises:
        ConfigError: The cache folder cannot be written.
        TextError: It cannot be downloaded, or a file has another checksum.
    """
    named = CATALOGUE[name]
    if not named.url:
        return standard_library()
    path = local_copy(named) or download(name, named)
    if named.member and path.suffix == ".zip":
        path = unpack(path, named.member)
    return [(path, name)]


def place(name: str) -> Place:
    """Return where a named corpus would come from."""
    named = CATALOGUE[name]
    if not named.url:
        return "built in"
    if local_candidate(named):
        return "local"
    cached = cache_folder() / CORPORA / named.url.rpartition("/")[2]
    return "cached" if cached.exists() else "to be fetched"


def standard_library() -> list[tuple[Path, str]]:
    """List the modules of the standard library that are ASCII, without tests and installed packages."""
    root = Path(sysconfig.get_path("stdlib"))
    excluded = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "__pycache__"}
    found = []
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if not excluded.intersection(inside.parts) and path.read_bytes().isascii():
            found.append((path, inside.as_posix()))
    if not found:
        raise TextError(f"this Python has no source files in {root}; train on a text of your own")
    return found


def local_candidate(named: Named) -> Path | None:
    """Return the file in `NEXTCHAR_DATA` that has the name of a corpus, if there is one."""
    folder = os.environ.get("NEXTCHAR_DATA")
    if not folder:
        return None
    candidates = [Path(folder) / relative for relative in (*named.local, named.url.rpartition("/")[2])]
    return next((path for path in candidates if path.is_file()), None)


def local_copy(named: Named) -> Path | None:
    """Return the copy in `NEXTCHAR_DATA`, if there is one, after comparing its checksum."""
    pooch = import_quietly("pooch")  # which takes long, and most texts are files
    path = local_candidate(named)
    if path is None:
        return None
    expected = named.local_sha256 if named.local_sha256 and path.suffix != ".zip" else named.sha256
    found = pooch.file_hash(str(path))
    if found != expected:
        raise TextError(
            f"{path} has an unexpected content: its SHA-256 is {found}, not {expected}; replace or rename it"
        )
    return path


def download(name: str, named: Named) -> Path:
    """Download a corpus into the cache, if it is not there, and compare its checksum."""
    pooch = import_quietly("pooch")
    folder = make_cache_folder(CORPORA)
    pooch.get_logger().setLevel("WARNING")
    try:
        path = pooch.retrieve(
            named.url, known_hash=f"sha256:{named.sha256}", fname=named.url.rpartition("/")[2], path=folder
        )
    except Exception as error:  # requests, urllib3 and the operating system raise errors of their own
        reason = "the download has another checksum" if "hash" in str(error).lower() else "it cannot be downloaded"
        raise TextError(
            f"the corpus {name} is not on this machine and {reason}; download {named.url} by other means into a folder, "
            f"and name that folder in the environment variable NEXTCHAR_DATA"
        ) from error
    return Path(path)


def unpack(archive: Path, member: str) -> Path:
    """Extract one file of a zip archive into the cache, if it is not there."""
    target = cache_folder() / CORPORA / member
    if not target.exists():
        partial = make_cache_folder(CORPORA) / f"{member}.{os.getpid()}.part"
        with zipfile.ZipFile(archive) as zipped, zipped.open(member) as packed, partial.open("wb") as file:
            shutil.copyfileobj(packed, file)
        partial.replace(target)
    return target
