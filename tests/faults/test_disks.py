"""Power cuts and full disks: what they leave can be read, and a run goes on from it to the same bits."""

import os
from pathlib import Path
from random import Random

import pytest

from disks import Recorder, full_disks, power_cuts, put
from nextchar.storage import write_text


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder whose cache is put back after the test."""
    monkeypatch.setenv("NEXTCHAR_CACHE", str(tmp_path / "cache"))
    return tmp_path


def states(folder: Path, write: object) -> list[dict[str, bytes]]:
    """Return what the disk may show of a folder while something writes to it."""
    recorder = Recorder(folder)
    with recorder.recording():
        write()  # type: ignore[operator]
    return list(recorder.states(Random(0)))  # noqa: S311


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="this system cannot sync folders")
def test_an_atomic_file_is_old_or_new(tmp_path: Path) -> None:
    """Whenever the power is cut while a file is replaced, it is one of both, whole."""
    write_text(tmp_path / "file", "old")

    def replace() -> None:
        write_text(tmp_path / "file", "the old one again")
        write_text(tmp_path / "file", "new")

    found = {tree.get("file") for tree in states(tmp_path, replace)}
    assert {b"the old one again", b"new"} <= found
    assert found <= {b"old", b"the old one again", b"new", None}


def test_a_file_that_is_not_synced_may_be_anything(tmp_path: Path) -> None:
    """The simulation shows what renaming without a sync leaves: nothing, a part, zeros."""

    def careless() -> None:
        (tmp_path / "new").write_bytes(b"12345678")
        os.rename(tmp_path / "new", tmp_path / "file")  # noqa: PTH104  what is recorded

    found = {tree["file"] for tree in states(tmp_path, careless) if "file" in tree}
    assert found == {b"12345678", b"1234", bytes(8), b""}
    put({"a/b": b"c"}, tmp_path / "tree")
    assert (tmp_path / "tree" / "a" / "b").read_bytes() == b"c"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="this system cannot sync folders")
@pytest.mark.parametrize(("part", "least"), [("run folder", 50), ("cache of texts", 10)])
def test_a_power_cut_leaves_what_can_be_resumed(folder: Path, part: str, least: int) -> None:
    """Of a training and of an encoded text, nothing that a disk may show is unreadable, or another text or run."""
    ((_, tried, result),) = power_cuts(60, 0, part, folder)
    assert tried >= least
    assert result.endswith("; 0 faults"), result


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="this system has no limit on the size of files")
@pytest.mark.parametrize(("part", "count"), [("model", 60), ("run", 100), ("cache", 60)])
def test_a_full_disk_leaves_what_was_there(folder: Path, part: str, count: int) -> None:
    """After however many bytes a disk is full, files are those of before, and a cache is not trusted."""
    ((_, tried, result),) = full_disks(count, 0, part, folder)
    assert tried > 5
    assert result.endswith("; 0 faults"), result
