"""The machine around: clocks that jump, little memory, folders that cannot be written, several trainings and threads."""

import os
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nextchar.architecture import Architecture
from nextchar.cli.mistakes import missing_model
from nextchar.errors import ConfigError, TextError
from nextchar.kernels.cores import memory_limit
from nextchar.language_model import LanguageModel
from nextchar.storage import MODEL, save
from nextchar.text.corpus import Corpus, open_corpus
from nextchar.training import autosize
from nextchar.training.run import train

Shell = Callable[..., SimpleNamespace]
SIZES = {"steps": 6, "hidden": 16, "embedding": 4, "batch_size": 4, "seq_length": 16, "progress": False}


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, None),
        ({"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "1000\n"}, 1000),
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/memory.max": "10\n",
                "sys/fs/cgroup/a/b/memory.max": "20\n",
            },
            10,
        ),
        ({"proc/self/cgroup": "4:memory:/x\n0::/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "5000\n"}, 5000),
        ({"proc/self/cgroup": "4:cpu:/x\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "5000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "damaged\n"}, None),
    ],
)
def test_the_memory_limit_of_a_container_is_found(tmp_path: Path, files: dict[str, str], limit: float | None) -> None:
    """Limits of both versions of control groups are read, the smallest of those that contain each other."""
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    assert memory_limit(tmp_path) == (float("inf") if limit is None else limit)


def test_a_network_beyond_the_limit_is_refused_before_it_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """What would be killed by the container is refused, with the memory that there is."""
    if not hasattr(os, "sysconf"):
        pytest.skip("this system does not tell its memory")
    monkeypatch.setattr(autosize, "memory_limit", lambda _: 2**30)
    with pytest.raises(ConfigError, match=r"this machine has 1\.0; make them smaller"):
        autosize.check_memory(Architecture(hidden=4096, layers=4), 4096, 100)
    autosize.check_memory(Architecture(hidden=64), 1024, 100)


def test_a_wall_clock_that_jumps_changes_nothing(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Training does not read the wall clock, and the age of a file from the future is 0."""
    first = train(corpus, **SIZES)  # type: ignore[arg-type]
    jumps = iter(range(0, -(10**9), -3600))
    monkeypatch.setattr(time, "time", lambda: float(next(jumps)))
    other = train(corpus, out=tmp_path / "runs" / "r", **SIZES)  # type: ignore[arg-type]
    for one, again in zip(first.network.parameters(), other.network.parameters(), strict=True):
        assert one.equal(again)
    monkeypatch.chdir(tmp_path)
    assert "0 min ago" in missing_model("sample")


def test_an_hour_of_sleep_ends_a_budget_in_minutes_and_keeps_the_run(
    tmp_path: Path, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine that was suspended, and counts that time, ends the training in order: scored, and with all files."""
    real, begun = time.monotonic, time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: real() + (3600 if real() - begun > 0.5 else 0))
    options = {**SIZES, "steps": None, "minutes": 5.0, "kernels": "torch"}
    lm = train(corpus, out=tmp_path, **options)  # type: ignore[arg-type]
    assert lm.provenance["valid"]["bits_per_char"] > 0
    assert (tmp_path / MODEL).exists()


def test_threads_sample_while_another_trains(corpus: Corpus, lm: LanguageModel) -> None:
    """Samples that several threads draw during a training are those of a single thread, and the training is the same."""
    alone = str(lm.sample("import ", length=100, seed=3))
    expected = train(corpus, **SIZES)  # type: ignore[arg-type]
    drawn: list[str] = []
    done = threading.Event()

    def draw() -> None:
        while not done.is_set() or len(drawn) < 4:
            drawn.append(str(lm.sample("import ", length=100, seed=3)))

    threads = [threading.Thread(target=draw) for _ in range(3)]
    for thread in threads:
        thread.start()
    trained = train(corpus, **SIZES)  # type: ignore[arg-type]
    done.set()
    for thread in threads:
        thread.join()
    assert set(drawn) == {alone}
    for one, other in zip(expected.network.parameters(), trained.network.parameters(), strict=True):
        assert one.equal(other)


@pytest.mark.skipif(os.name != "posix" or not hasattr(os, "geteuid"), reason="file modes are POSIX")
def test_folders_that_cannot_be_written_are_named(
    tmp_path: Path, text_file: Path, lm: LanguageModel, shell: Shell
) -> None:
    """A run, a page and a cache in a folder that cannot be written are each refused in one sentence."""
    save(lm, tmp_path / "model.safetensors")
    closed = tmp_path / "file"  # not even root can make a folder in a file
    closed.write_text("", encoding="utf-8")
    for words in (
        ("train", text_file, "--steps", 1, "-o", closed / "run"),
        ("inspect", tmp_path / "model.safetensors", text_file, "-o", closed / "page.html"),
        ("export", tmp_path / "model.safetensors", closed / "page.html"),
        ("discover", tmp_path / "model.safetensors", text_file, "-o", closed / "found"),
    ):
        result = shell(*words)
        assert result.code == 1
        assert result.err.splitlines()[-1].startswith("nextchar: error: ")
        assert str(closed) in result.err


def test_a_cache_that_is_deleted_meanwhile_is_no_loss(corpus: Corpus, text_file: Path, clean_environment: Path) -> None:
    """The text of a training stays readable when the cache is emptied, and is encoded again by the next."""
    opened = open_corpus(text_file)
    if os.name == "posix":  # elsewhere a file that is in use stays
        shutil.rmtree(clean_environment)
    assert np.array_equal(opened.take(0, len(opened)), corpus.take(0, len(corpus)))
    train(opened, **SIZES)  # type: ignore[arg-type]
    assert len(open_corpus(text_file)) == len(opened)


@pytest.mark.parametrize("change", ["vanish", "folder"])
def test_a_text_that_vanishes_is_one_sentence(
    text_file: Path, change: str, monkeypatch: pytest.MonkeyPatch, shell: Shell
) -> None:
    """A text that is removed, or replaced by a folder, after it was found is refused with its name."""
    from nextchar.text import corpus as room

    real = room._key

    def changed(*words: object) -> str:
        text_file.unlink()
        if change == "folder":
            text_file.mkdir()
        return real(*words)  # type: ignore[arg-type]

    monkeypatch.setattr(room, "_key", changed)
    result = shell("train", text_file, "--steps", 1, "-o", text_file.parent / "run")
    assert result.code == 1
    assert str(text_file) in result.err
    assert result.err.strip().splitlines()[-1].startswith("nextchar: error: ")
    with pytest.raises((TextError, OSError)):
        open_corpus(text_file)


@pytest.mark.skipif(os.name != "posix", reason="HOME is POSIX")
def test_without_a_home_the_cache_must_be_named(
    text_file: Path, monkeypatch: pytest.MonkeyPatch, shell: Shell, tmp_path: Path
) -> None:
    """A user without HOME who is in no list of users, as in a container, is told; no folder named ~ is made."""
    import pwd

    def unknown(number: int) -> None:
        raise KeyError(number)

    for name in ("NEXTCHAR_CACHE", "HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.chdir(tmp_path)
    result = shell("train", text_file, "--steps", 1, "-o", tmp_path / "run")
    assert result.code == 1
    assert "there is no home folder for the cache" in result.err
    assert "NEXTCHAR_CACHE" in result.err
    assert not (tmp_path / "~").exists()
