import gzip
import os
from pathlib import Path
from typing import Any

import pytest

from nextchar.errors import TextError
from nextchar.text import corpus as room
from nextchar.text import encoding, sources
from nextchar.text.corpus import Corpus, open_corpus
from nextchar.text.paths import try_lock

MIXED = "Füße, naïve café €, 你好, plain words and \U0001f600 faces.\n" * 40


@pytest.fixture
def entries(clean_environment: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of encoded texts; every text is a long one, in parts of 100 bytes read 7 at a time."""
    monkeypatch.setattr(room, "LONG", 0)
    monkeypatch.setattr(encoding, "PART", 100)
    monkeypatch.setattr(sources, "CHUNK", 7)
    folder = clean_environment / "texts"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture
def mixed(tmp_path: Path) -> Path:
    """Return a file whose parts begin within characters."""
    path = tmp_path / "mixed.txt"
    path.write_text(MIXED, encoding="utf-8", newline="")
    return path


def same(found: Corpus, text: str | bytes) -> bool:
    """Return whether a corpus is that of a text in memory."""
    expected = Corpus.from_text(text, found.vocabulary.units)
    return found.vocabulary == expected.vocabulary and bool((found.ids == expected.ids).all())


@pytest.mark.parametrize("name", ["utf-8", "latin-1", "ascii", "utf-16", "utf-8-sig", "bytes"])
@pytest.mark.parametrize("part", [50, 97, 100_000])
def test_parts_are_the_same_corpus_as_the_whole(
    entries: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, part: int
) -> None:
    """However a text is cut into parts, and whatever its encoding allows, its ids are those of the text in memory."""
    monkeypatch.setattr(encoding, "PART", part)
    text = MIXED if name.startswith("utf") or name == "bytes" else MIXED.encode("ascii", "ignore").decode()
    codec = "utf-8" if name == "bytes" else name
    files = {"a.txt": text, "b.txt": "x", "c.txt.gz": text[:500], "d.txt": text[100:] + "~"}
    for file, content in files.items():
        data = content.encode(codec)
        (tmp_path / file).write_bytes(gzip.compress(data) if file.endswith("gz") else data)
    names = [tmp_path / file for file in files]
    if name == "bytes":
        stored = b"".join(
            path.read_bytes() if path.suffix != ".gz" else gzip.decompress(path.read_bytes()) for path in names
        )
        assert same(open_corpus(names, units="bytes"), stored)
    else:
        assert same(open_corpus(names, encoding=codec), "".join(files.values()))
    assert len(list(entries.iterdir())) == 1


@pytest.mark.parametrize("stage", ["encoding", "placing"])
def test_what_a_killed_process_did_is_kept(
    entries: Path, mixed: Path, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    """After a kill in any stage, the next process encodes only the parts that are missing, and its result is the same."""
    done: list[int] = []
    real_part, real_unlink = encoding._encode_part, Path.unlink
    monkeypatch.setattr(encoding, "WORKERS", 1)

    def part(pieces: Any, place: Path, *rest: Any) -> dict[str, Any]:
        if stage == "encoding" and len(done) == 5:
            raise KeyboardInterrupt
        done.append(int(place.name))
        return real_part(pieces, place, *rest)

    def unlink(path: Path, **options: Any) -> None:
        if path.name == "7.ids":
            raise KeyboardInterrupt
        real_unlink(path, **options)

    with monkeypatch.context() as patch:
        patch.setattr(encoding, "_encode_part", part)
        if stage == "placing":
            patch.setattr(Path, "unlink", unlink)
        with pytest.raises(KeyboardInterrupt):
            open_corpus(mixed)
    (left,) = entries.iterdir()
    assert left.name.startswith("partial-")
    before = len(done)
    calls: list[tuple[str, int, int]] = []
    monkeypatch.setattr(encoding, "_encode_part", lambda *given: done.append(int(given[1].name)) or real_part(*given))
    corpus = open_corpus(mixed, progress=lambda *call: calls.append(call))
    assert sorted(done) == list(range(-(-mixed.stat().st_size // 100)))
    assert (before == 5) == (stage == "encoding")
    assert same(corpus, MIXED)
    assert calls[-1] == ("encoding", mixed.stat().st_size, mixed.stat().st_size)
    (entry,) = entries.iterdir()
    assert sorted(path.name for path in entry.iterdir()) == ["ids.bin", "meta.json"]


@pytest.mark.parametrize("change", ["grow", "rewrite", "shrink"])
def test_a_long_text_that_changes_is_refused(
    entries: Path, mixed: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """What is encoded is what was hashed, part by part."""
    data = mixed.read_bytes()
    after = {
        "grow": data + b"more",
        "rewrite": data[:300] + data[300:].replace(b"plain", b"PLAIN", 1),
        "shrink": data[:-1],
    }[change]
    real = room._read_cache

    def meanwhile(key: str) -> object:
        mixed.write_bytes(after)
        return real(key)

    with monkeypatch.context() as patch:
        patch.setattr(room, "_read_cache", meanwhile)
        with pytest.raises(TextError, match=r"mixed.txt changed while it was read; try again"):
            open_corpus(mixed)
    assert list(entries.iterdir()) == []


def test_a_wrong_byte_is_found_at_its_offset(entries: Path, mixed: Path) -> None:
    """In any part, with the offset in the file; nothing is left of the attempt."""
    data = bytearray(mixed.read_bytes())
    place = bytes(data).index(b"plain", 750)
    data[place] = 0xFF
    mixed.write_bytes(data)
    with pytest.raises(TextError, match=f"byte 0xFF at offset {place} "):
        open_corpus(mixed)
    assert list(entries.iterdir()) == []


def test_two_processes_may_encode_at_the_same_time(entries: Path, mixed: Path) -> None:
    """While one process uses the folder that is kept, another has one of its own, and both get the text."""
    descriptor = os.open(entries.with_name("encoding.lock"), os.O_RDWR | os.O_CREAT)
    try:
        assert try_lock(descriptor)
        assert same(open_corpus(mixed), MIXED)
    finally:
        os.close(descriptor)
    assert len(list(entries.iterdir())) == 1
