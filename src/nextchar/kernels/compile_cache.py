"""Keeps compiled code on disk, in a folder that belongs to one version of the sources, one compiler and one processor.

numba's own cache compares only the file of the function it loads: after a change in `gemm.py` its callers would still run
the old code. Here the folder is named by a digest of everything that the code depends on, so that nothing in it can be
out of date, and machines that share a disk do not read each other's code.

    python -m nextchar.kernels.compile_cache            prints the folder
    python -m nextchar.kernels.compile_cache --clear    removes compiled code of all versions
"""

import hashlib
import inspect
import os
import pickle
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import llvmlite
import numba
from numba.core import event, serialize
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from platformdirs import user_cache_path

from nextchar.kernels import cpu

_UNUSED_SECONDS = 90 * 24 * 3600
"""A folder of another version is removed when it was not used for so long."""
_DIGEST_BYTES = 32


def bases() -> list[Path]:
    """Return the places that may hold the cache, in order of preference; the first that can be written is used."""
    named = [os.environ.get("NUMBA_CACHE_DIR"), os.environ.get("NEXTCHAR_CACHE")]
    return [
        Path(base).absolute() / "compiled"
        for base in (*named, user_cache_path("nextchar", appauthor=False))
        if base
    ]


@cache
def _digest_of_file(path: str | Path) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@cache
def digest() -> str:
    """Return a digest of what all compiled code depends on: these sources, the compiler, Python and the processor."""
    sources = [_digest_of_file(source) for source in sorted(Path(__file__).parent.glob("*.py"))]
    everything = (
        sources,
        numba.__version__,
        llvmlite.__version__,
        sys.version,
        sys.platform,
        cpu.NAME,
        sorted(cpu.FEATURES),
        cpu.HAS_AMX,
    )
    return hashlib.sha256(repr(everything).encode()).hexdigest()[:_DIGEST_BYTES]


@cache
def folder() -> Path | None:
    """Return the folder of this process's compiled code, or None where no place can be written."""
    for base in bases():
        path = base / digest()
        try:
            path.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=path).close()
            os.utime(path)
        except OSError:
            continue
        _remove(base, before=time.time() - _UNUSED_SECONDS)
        return path
    return None


def _remove(base: Path, before: float) -> int:
    """Remove the folders of compiled code in `base` that were last used before a time; return how many."""
    removed = 0
    for path in base.glob("[0-9a-f]" * _DIGEST_BYTES):
        with suppress(OSError):
            if path.stat().st_mtime < before:
                shutil.rmtree(path)
                removed += 1
    return removed


def clear() -> int:
    """Remove the compiled code of every version, wherever it may be; return how many folders there were."""
    return sum(_remove(base, before=float("inf")) for base in bases())


class _Cache(NullCache):
    """The compiled versions of one function, one file for each signature.

    A file is written under another name and renamed, so that processes need no lock, and begins with a checksum.
    """

    def __init__(self, function: FunctionType) -> None:
        # Not every compiled function is in this package, so its own source is part of the name, too.
        source = _digest_of_file(inspect.getfile(function))
        self._name = function.__name__
        self._place = (function.__module__, function.__qualname__, function.__code__.co_firstlineno, source)

    def _path(self, signature: Any) -> Path | None:
        """Return the file for the version with these types of arguments."""
        parent = folder()
        key = hashlib.sha256(repr((self._place, signature)).encode()).hexdigest()
        return parent / f"{self._name}-{key[:_DIGEST_BYTES]}" if parent else None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the version with these types of arguments, or None if it is not in the cache."""
        target_context.refresh()
        path = self._path(sig)
        try:
            stored = path.read_bytes() if path else b""
        except OSError:
            return None
        checksum, payload = stored[:_DIGEST_BYTES], stored[_DIGEST_BYTES:]
        if hashlib.sha256(payload).digest() != checksum:
            return None
        rebuild: Any = CompileResult._rebuild  # noqa: SLF001
        return rebuild(target_context, *pickle.loads(payload))  # noqa: S301  written by this user, as numba does

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep a version; without room or permission it is compiled again by the next process."""
        path = self._path(sig)
        # Code that contains addresses of this process is useless to another.
        if not path or data.library.has_dynamic_globals:
            return
        payload: bytes = serialize.dumps(data._reduce())  # type: ignore[no-untyped-call]  # noqa: SLF001
        with suppress(OSError):
            descriptor, name = tempfile.mkstemp(dir=path.parent)
            written = Path(name)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(hashlib.sha256(payload).digest() + payload)
                written.replace(path)
            except OSError:
                written.unlink()


def keep_on_disk(dispatcher: Any) -> Any:
    """Let a function compiled by numba look in this cache first, and store what it compiles; return it.

    A function that closes over values of another is not kept, because they are no part of its source.
    """
    function = dispatcher.py_func
    if not function.__closure__:
        with suppress(OSError):  # installed without sources
            dispatcher._cache = _Cache(function)  # noqa: SLF001
    return dispatcher


def compile_ahead(exercise: Callable[[], object]) -> float:
    """Call a function that runs every compiled function which is needed later, on small data of the same types.

    Args:
        exercise: What is called.

    Returns:
        The seconds that went into compiling; 0 if everything was compiled before, or in the cache.
    """
    with event.install_listener("numba:compile", event.TimingListener()) as timing:  # type: ignore[no-untyped-call]
        exercise()
    return float(timing.duration) if timing.done else 0.0


if __name__ == "__main__":
    cleared = f"removed {clear()} folders of compiled code" if sys.argv[1:] == ["--clear"] else str(folder())
    sys.stdout.write(f"{cleared}\n")
