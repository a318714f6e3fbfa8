"""The run folder before a training: its lock, its name, and the names of its texts."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from nextchar.errors import ConfigError
from nextchar.training.folder import LOCK, default_folder, locked


def test_a_folder_takes_one_training_at_a_time(tmp_path: Path) -> None:
    """A second lock is refused with the process that holds the first; afterwards nothing is left."""
    folder = tmp_path / "new" / "run"
    with locked(folder):
        with pytest.raises(ConfigError, match=f"process {os.getpid()} is training into {folder}; wait"), locked(folder):
            pass
        assert (folder / LOCK).exists()
    assert not folder.parent.exists()
    folder.mkdir(parents=True)
    with locked(folder):
        (folder / "log.jsonl").touch()
    assert [path.name for path in folder.iterdir()] == ["log.jsonl"]


def test_a_lock_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    """While another process holds it the folder is refused; once that is killed, its lock file does not matter."""
    code = "import sys, pathlib\nfrom nextchar.training.folder import locked\n"
    code += "with locked(pathlib.Path(sys.argv[1])):\n    print('locked', flush=True)\n    sys.stdin.read()\n"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout
        assert holder.stdout.readline() == "locked\n"
        with pytest.raises(ConfigError, match=f"process {holder.pid} is training"), locked(tmp_path):
            pass
        holder.kill()
    assert (tmp_path / LOCK).exists()
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text(encoding="ascii") == str(os.getpid())
    assert not (tmp_path / LOCK).exists()


def test_the_lock_works_without_fcntl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is msvcrt instead, as on Windows, one byte is locked that lies beyond the text of the file."""
    places: list[int] = []
    taken: set[int] = set()

    def locking(descriptor: int, _mode: int, length: int) -> None:
        assert length == 1
        place = os.lseek(descriptor, 0, os.SEEK_CUR)
        if place in taken:
            raise PermissionError
        places.append(place)
        taken.add(place)

    monkeypatch.setitem(sys.modules, "fcntl", None)  # importing it raises
    monkeypatch.setitem(sys.modules, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    with locked(tmp_path):
        assert (tmp_path / LOCK).read_text(encoding="ascii") == str(os.getpid())
        with pytest.raises(ConfigError, match="is training into"), locked(tmp_path):
            pass
    assert len(places) == 1
    assert places[0] > 1000


def test_a_run_is_named_after_its_first_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other characters than those of words become dashes, and a name that is taken gets a number."""
    monkeypatch.chdir(tmp_path)
    assert default_folder(["a/my book.txt.gz", "b"]) == Path("runs/my-book")
    Path("runs/my-book").mkdir(parents=True)
    assert default_folder(["a/my book.txt.gz"]) == Path("runs/my-book-2")
    assert default_folder(["-"]) == Path("runs/run")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.parametrize(("cell", "hidden"), [("lstm", 32), ("gru", 20)])
def test_a_forked_child_trains_after_its_parent(cell: str, hidden: int) -> None:
    """Torch's threads, which the child lacks, are not waited for."""
    code = f"""
import os, torch
from nextchar.training.run import train
from nextchar.text.corpus import Corpus
torch.set_num_threads(2)
def work():
    train(Corpus.from_text("to be or not " * 200), steps=3, cell="{cell}", hidden={hidden}, batch_size=8, seq_length=16, progress=False)
work()
child = os.fork()
if child == 0:
    work()
    os._exit(7)
raise SystemExit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    started = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code], env=environment, start_new_session=True)
    try:
        assert started.wait(timeout=120) == 7
    finally:
        if started.poll() is None:
            os.killpg(started.pid, signal.SIGKILL)
            started.wait()
