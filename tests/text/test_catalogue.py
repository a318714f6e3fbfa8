import hashlib
import zipfile
from pathlib import Path

import pooch
import pytest

from nextchar.errors import ConfigError, TextError
from nextchar.text import catalogue
from nextchar.text.catalogue import CATALOGUE, Named, fetch, place

TEXT = b"to be, or not to be"
URL = "https://example.invalid/made/up.txt"


def sha256(data: bytes) -> str:
    """Return a checksum as the catalogue has it."""
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let every download fail, and return the addresses that were asked for."""
    asked: list[str] = []

    def fail(url: str, **_: object) -> str:
        asked.append(url)
        raise OSError("name resolution failed")

    monkeypatch.setattr(pooch, "retrieve", fail)
    return asked


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder named in NEXTCHAR_DATA, and put a made-up corpus into the catalogue."""
    named = Named("made up", URL, sha256(TEXT), ("deep/made.txt",))
    monkeypatch.setitem(CATALOGUE, "made-up", named)
    monkeypatch.setenv("NEXTCHAR_DATA", str(tmp_path))
    (tmp_path / "deep").mkdir()
    return tmp_path


@pytest.mark.parametrize("relative", ["deep/made.txt", "up.txt"])
def test_a_local_copy_needs_no_network(data: Path, no_network: list[str], relative: str) -> None:
    """A copy below NEXTCHAR_DATA is used, under the catalogue's path or the file's own name."""
    (data / relative).write_bytes(TEXT)
    assert fetch("made-up") == [(data / relative, "made-up")]
    assert place("made-up") == "local"
    assert no_network == []


def test_a_local_copy_of_another_text_is_refused(data: Path) -> None:
    """A copy with another checksum is refused, both checksums named."""
    (data / "up.txt").write_bytes(b"other")
    with pytest.raises(TextError, match=f"is {sha256(b'other')}, not {sha256(TEXT)}; replace or rename it"):
        fetch("made-up")


@pytest.mark.parametrize(
    ("problem", "reason"),
    [
        (OSError("no route"), "is not on this machine and it cannot be downloaded"),
        (ValueError("SHA256 hash of x does not match"), "is not on this machine and the download has another checksum"),
    ],
)
def test_what_cannot_be_had_is_one_sentence(
    data: Path, monkeypatch: pytest.MonkeyPatch, problem: Exception, reason: str
) -> None:
    """Without a copy and without network, the error names the address and NEXTCHAR_DATA."""

    def fail(*_: object, **__: object) -> None:
        raise problem

    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(TextError) as error:
        fetch("made-up")
    assert reason in str(error.value)
    assert URL in str(error.value)
    assert "NEXTCHAR_DATA" in str(error.value)
    assert "\n" not in str(error.value)
    assert list(data.rglob("*.txt")) == []


@pytest.mark.parametrize("name", ["made-up", "packed"])
def test_a_cache_that_cannot_be_made_names_its_variable(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Downloading or unpacking into a folder that cannot be made is refused with the variable that moves it."""
    assert archive.exists()
    (tmp_path / "file").touch()
    monkeypatch.setenv("NEXTCHAR_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(ConfigError, match=r"the cache folder .*corpora cannot be written \(.*NEXTCHAR_CACHE"):
        fetch(name)


def test_a_download_lies_in_the_cache(monkeypatch: pytest.MonkeyPatch, data: Path, clean_environment: Path) -> None:
    """What is fetched is asked for with its checksum, is kept in the cache, and is found there."""
    assert place("made-up") == "to be fetched"
    monkeypatch.delenv("NEXTCHAR_DATA")

    def retrieve(url: str, *, known_hash: str, fname: str, path: Path) -> str:
        assert (url, known_hash) == (URL, f"sha256:{sha256(TEXT)}")
        path.mkdir(parents=True, exist_ok=True)
        (path / fname).write_bytes(TEXT)
        return str(path / fname)

    monkeypatch.setattr(pooch, "retrieve", retrieve)
    assert fetch("made-up") == [(clean_environment / "corpora" / "up.txt", "made-up")]
    assert place("made-up") == "cached"
    assert list(data.iterdir()) == [data / "deep"]


@pytest.fixture
def archive(data: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a zip archive below NEXTCHAR_DATA that the catalogue knows."""
    path = data / "packed.zip"
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("inner", TEXT)
    named = Named(
        "packed", "https://example.invalid/packed.zip", sha256(path.read_bytes()), ("inner",), sha256(TEXT), "inner"
    )
    monkeypatch.setitem(CATALOGUE, "packed", named)
    return path


def test_an_archive_is_unpacked_once(archive: Path, clean_environment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file inside a zip is put into the cache at the first call and taken from there after."""
    assert archive.exists()
    ((path, name),) = fetch("packed")
    assert (path, name) == (clean_environment / "corpora" / "inner", "packed")
    assert path.read_bytes() == TEXT
    monkeypatch.setattr(catalogue.zipfile, "ZipFile", None)
    assert fetch("packed") == [(path, name)]
    assert list(path.parent.iterdir()) == [path]


def test_an_unpacked_copy_is_as_good_as_the_archive(archive: Path, data: Path) -> None:
    """An unpacked file is compared with its own checksum."""
    archive.unlink()
    (data / "inner").write_bytes(TEXT)
    assert fetch("packed") == [(data / "inner", "packed")]


@pytest.mark.slow
def test_the_standard_library_is_ascii_python() -> None:
    """The corpus that every machine has is plain modules without tests or installed packages."""
    found = fetch("stdlib")
    inside = [name for _, name in found]
    assert place("stdlib") == "built in"
    assert {"argparse.py", "json/decoder.py"} <= set(inside)
    assert inside == sorted(inside, key=lambda name: Path(name).parts)
    assert all(path.suffix == ".py" for path, _ in found)
    parts = {part for name in inside for part in Path(name).parts}
    assert parts.isdisjoint({"test", "tests", "site-packages", "__pycache__"})
    assert b"".join(path.read_bytes() for path, _ in found).isascii()


def test_a_python_without_its_source_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the standard library has no source files, that is said."""
    monkeypatch.setattr(catalogue.sysconfig, "get_path", lambda _name: str(tmp_path))
    with pytest.raises(TextError, match="has no source files in"):
        fetch("stdlib")


@pytest.mark.parametrize("name", [name for name in CATALOGUE if name != "stdlib"])
def test_every_entry_can_be_checked(name: str) -> None:
    """Every corpus to be fetched has an https address, a checksum and a line about it."""
    named = CATALOGUE[name]
    assert named.url.startswith("https://")
    assert len(bytes.fromhex(named.sha256)) == 32
    assert named.about
    assert place(name) == "to be fetched"
