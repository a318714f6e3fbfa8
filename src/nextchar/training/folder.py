"""The run folder before a training starts: its name, its lock, and the names of its texts. Imports nothing that is slow."""

import glob
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from nextchar.config import BUDGETS, Config, read_toml
from nextchar.errors import ConfigError
from nextchar.storage import CONFIG, holds_run
from nextchar.text.catalogue import CATALOGUE
from nextchar.text.hub import fetch_texts, is_hub
from nextchar.text.paths import STDIN, expand, try_lock

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes from training into a folder; it is made if it does not exist.

    The system holds the lock, and frees it when the process ends in any way. The file that is locked is removed at the
    end; one that a killed process left is locked again.

    Raises:
        ConfigError: Another process is training into the folder.
    """
    made = [place for place in (folder, *folder.parents) if not place.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    descriptor = _open_locked(path, folder)
    try:
        os.truncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        if os.name == "nt":  # where no open file can be removed
            os.close(descriptor)
        with suppress(OSError):
            path.unlink(missing_ok=True)
        if os.name != "nt":  # where the file is removed first, or another process could lock it before
            os.close(descriptor)
        with suppress(OSError):
            for place in made:
                place.rmdir()  # fails if anything was written


def _open_locked(path: Path, folder: Path) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        if not try_lock(descriptor):
            os.close(descriptor)
            raise ConfigError(
                f"{_owner(path)} is training into {folder}; wait for its end, or name another folder with -o"
            )
        with suppress(OSError):
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        os.close(descriptor)  # its last owner has just removed it


def training_process(folder: Path) -> int | None:
    """Return the id of the process that trains into a folder, 0 if it is not known, or None if there is none."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDWR)
    except OSError:
        return None
    try:
        if try_lock(descriptor):
            return None
        return int(os.read(descriptor, 20) or 0)
    except (OSError, ValueError):
        return 0
    finally:
        os.close(descriptor)  # which frees a lock


def _owner(path: Path) -> str:
    with suppress(OSError, ValueError):  # it may hold anything
        return f"process {int(path.read_text(encoding='ascii') or 0)}"
    return "another process"


def refuse_run(folder: Path) -> None:
    """Refuse a folder that holds a run already.

    Raises:
        ConfigError: With the ways to continue.
    """
    if holds_run(folder):
        raise ConfigError(
            f"{folder} already holds a run; continue it with --resume, name another folder with -o, or give --overwrite"
        )


def is_same(folder: Path, config: Config, texts: Sequence[str]) -> bool:
    """Return whether a folder holds the run that these options and texts start, or have started."""
    if not (folder / CONFIG).exists():
        return False
    values, before = read_toml(folder / CONFIG)
    given = {name: value for name, value in config if name not in BUDGETS and value is not None}
    there = Config.make({name: value for name, value in values.items() if name in Config.model_fields})
    return before == list(map(absolute, texts)) and all(getattr(there, name) == given[name] for name in given)


def default_folder(texts: Sequence[str]) -> Path:
    """Return runs/NAME after the first text, or runs/NAME-2 and so on if that exists."""
    first = Path(texts[0]).name if texts else "run"
    stem = re.sub(r"[^\w-]+", "-", first.split(".")[0] or first).strip("-") or "run"
    folder, number = Path("runs") / stem, 1
    while folder.exists():
        number += 1
        folder = Path("runs") / f"{stem}-{number}"
    return folder


def is_pipe(text: str) -> bool:
    """Return whether a text can be read only once."""
    system = text.startswith(("/dev/", "/proc/")) and not Path(text).is_file()
    return system or text in STDIN


def absolute(text: str) -> str:
    """Return the name of a file, folder or glob that is valid in any working directory.

    A text on the Hub is fetched, and its address gets the hash of the commit; other names stay as they are.
    """
    path = expand(text)
    if is_hub(text):
        return str(fetch_texts(text)[0])
    if not text or is_pipe(text) or (text in CATALOGUE and not path.exists()):
        return text
    # The working directory may have a name that could be read as a glob.
    return str(path.resolve() if path.exists() else Path(glob.escape(str(Path.cwd())), path))
