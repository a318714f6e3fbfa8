"""The named corpora: where each comes from, and its checksum; nothing is fetched that is at hand."""

import os
import sysconfig
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from platformdirs import user_cache_path

from nextchar.errors import TextError

CHAR_RNN = "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e"
MAKEMORE = "https://raw.githubusercontent.com/karpathy/makemore/988aa59e4d8fefa526d06f3b453ad116258398d4"
CS231N = "https://cs.stanford.edu/people/karpathy/char-rnn"
LARGE_TEXT = "https://mattmahoney.net/dc"


@dataclass(frozen=True, slots=True)
class Named:
    """A corpus with a name.

    Attributes:
        about: What it is, in a few words.
        url: Where it is fetched from; empty for what every machine has.
        sha256: Of the file fetched.
        local: Paths below `NEXTCHAR_DATA` where a copy may lie.
        local_sha256: Of such a copy, where it is not the file fetched (an unpacked archive).
        member: The file inside a zip archive.
    """

    about: str
    url: str = ""
    sha256: str = ""
    local: tuple[str, ...] = ()
    local_sha256: str = ""
    member: str = ""


CATALOGUE: dict[str, Named] = {
    "stdlib": Named("the Python standard library of this machine: no network needed"),
    "tiny-shakespeare": Named(
        "40,000 lines of Shakespeare, 1.1 MB",
        f"{CHAR_RNN}/data/tinyshakespeare/input.txt",
        "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        ("shakespeare/tiny.txt", "tiny-shakespeare.txt"),
    ),
    "shakespeare": Named(
        "all the plays, 4.6 MB",
        f"{CS231N}/shakespeare_input.txt",
        "59a0ad62833b2e15ec811c548618876359e902717431236e52699a0e2bc253ca",
        ("shakespeare/shakespeare_input.txt", "shakespeare_input.txt"),
    ),
    "war-and-peace": Named(
        "Tolstoy's novel in English, 3.3 MB",
        f"{CS231N}/warpeace_input.txt",
        "fb66ba999dafe24017cdd59e04c56d385a9c8466993d374fd4c6f08b2142985e",
        ("warpeace/warpeace_input.txt", "warpeace_input.txt"),
    ),
    "names": Named(
        "32,033 given names, one a line, 228 KB",
        f"{MAKEMORE}/names.txt",
        "0a30b5557f192f32ab962680889aac5f6fda0f4cecf40a6d0b5694f58ea8cc4d",
        ("names/names.txt", "names.txt"),
    ),
    "enwik8": Named(
        "the first 100 MB of an English Wikipedia dump of 2006",
        f"{LARGE_TEXT}/enwik8.zip",
        "547994d9980ebed1288380d652999f38a14fe291a6247c157c3d33d4932534bc",
        ("enwik8", "wikipedia/enwik8"),
        "2b49720ec4d78c3c9fabaee6e4179a5e997302b3a70029f30f2d582218c024a8",
        "enwik8",
    ),
    "text8": Named(
        "enwik8 cleaned to 26 letters and the blank, 100 MB",
        f"{LARGE_TEXT}/text8.zip",
        "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
        ("text8.zip", "wikipedia/text8.zip"),
        "",
        "text8",
    ),
}

Place = Literal["built in", "local", "cached", "to be fetched"]


def cache_folder() -> Path:
    """Return where encoded texts and fetched corpora are kept: `NEXTCHAR_CACHE`, or the user's cache."""
    given = os.environ.get("NEXTCHAR_CACHE")
    return Path(given) if given else user_cache_path("nextchar", appauthor=False)


def fetch(name: str) -> list[tuple[Path, str]]:
    """Return the files of a named corpus, each with its name; fetch it if it is not at hand.

    Raises:
        TextError: It is neither here nor to be had; a file with another checksum.
    """
    named = CATALOGUE[name]
    if not named.url:
        return standard_library()
    local = local_copy(named)
    path = local or download(name, named)
    if named.member and path.suffix == ".zip":
        path = unpack(path, named.member)
    return [(path, name)]


def place(name: str) -> Place:
    """Tell where a named corpus would come from."""
    named = CATALOGUE[name]
    if not named.url:
        return "built in"
    if local_candidate(named):
        return "local"
    return (
        "cached" if (cache_folder() / "corpora" / named.url.rpartition("/")[2]).exists() else "to be fetched"
    )


def standard_library() -> list[tuple[Path, str]]:
    """List the modules of the standard library that are plain ASCII, tests and installed packages left out."""
    root = Path(sysconfig.get_path("stdlib"))
    aside = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "__pycache__"}
    found = []
    for path in sorted(root.rglob("*.py")):
        inside = path.relative_to(root)
        if not aside.intersection(inside.parts) and path.read_bytes().isascii():
            found.append((path, inside.as_posix()))
    if not found:
        raise TextError(f"this Python keeps no source files in {root}; train on a text of your own")
    return found


def local_candidate(named: Named) -> Path | None:
    """Return the file below `NEXTCHAR_DATA` that goes by the name of a corpus, if there is one."""
    folder = os.environ.get("NEXTCHAR_DATA")
    if not folder:
        return None
    candidates = [Path(folder) / relative for relative in (*named.local, named.url.rpartition("/")[2])]
    return next((path for path in candidates if path.is_file()), None)


def local_copy(named: Named) -> Path | None:
    """Return the copy below `NEXTCHAR_DATA`, its checksum compared."""
    import pooch  # noqa: PLC0415  pooch takes long to import and most texts are files

    path = local_candidate(named)
    if path is None:
        return None
    expected = named.local_sha256 if named.local_sha256 and path.suffix != ".zip" else named.sha256
    found = pooch.file_hash(str(path))
    if found != expected:
        raise TextError(
            f"{path} is another text than expected: its SHA-256 is {found}, not {expected}; replace or rename it"
        )
    return path


def download(name: str, named: Named) -> Path:
    """Fetch a corpus into the cache, or find it there, its checksum compared."""
    import pooch  # noqa: PLC0415  as above

    pooch.get_logger().setLevel("WARNING")
    try:
        path = pooch.retrieve(
            named.url,
            known_hash=f"sha256:{named.sha256}",
            fname=named.url.rpartition("/")[2],
            path=cache_folder() / "corpora",
        )
    except Exception as error:  # requests, urllib3 and the operating system each have their own
        reason = (
            "what came has another checksum" if "hash" in str(error).lower() else "it could not be fetched"
        )
        raise TextError(
            f"the corpus {name} is not on this machine and {reason}; fetch {named.url} by other means into a folder, "
            f"and name that folder in the environment variable NEXTCHAR_DATA"
        ) from error
    return Path(path)


def unpack(archive: Path, member: str) -> Path:
    """Extract one file of a zip archive beside the other corpora, once."""
    target = cache_folder() / "corpora" / member
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_suffix(".part")
        with zipfile.ZipFile(archive) as zipped, zipped.open(member) as packed, partial.open("wb") as file:
            while chunk := packed.read(1 << 20):
                file.write(chunk)
        partial.replace(target)
    return target
