"""Keeps compiled code on disk, in a folder for one version of the sources, one compiler and one processor.

numba's own cache compares only the source of the function it loads: after a change in `gemm.py` its callers would still
run the old code. Here the folder is named by a digest of everything that the code depends on, so nothing in it is out of
date, and machines that share a disk do not load each other's code.

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
import uuid
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import llvmlite
import numba
from llvmlite import binding
from numba.core import codegen, event, serialize
from numba.core.caching import NullCache
from numba.core.compiler import CompileResult
from platformdirs import user_cache_path

from nextchar.kernels import cpu

_UNUSED_SECONDS = 90 * 24 * 3600
"""A folder of another version is removed if it was not used for this long."""
_DIGEST_SIZE = 32
_MANGLED = "_ZN8nextchar"  # how the names of our functions begin in LLVM


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:_DIGEST_SIZE]


@cache
def _digest_of_file(path: str) -> str:
    return _digest(Path(path).read_bytes())


def bases() -> list[Path]:
    """Return the folders that may hold the cache, in order of preference; the first that can be written is used."""
    named = [os.environ.get("NUMBA_CACHE_DIR"), os.environ.get("NEXTCHAR_CACHE")]
    folders = [name for name in named if name] + [str(user_cache_path("nextchar", appauthor=False))]
    return [Path(name).absolute() / "compiled" for name in folders]


@cache
def digest() -> str:
    """Return a digest of what all compiled code depends on: these sources, the compiler, Python and the processor."""
    sources = [_digest_of_file(str(source)) for source in sorted(Path(__file__).parent.glob("*.py"))]
    compiler = (numba.__version__, llvmlite.__version__, sys.version, sys.platform)
    processor = (cpu.NAME, sorted(cpu.FEATURES), cpu.HAS_AMX)
    return _digest(repr((sources, compiler, processor)).encode())


@cache
def folder() -> Path | None:
    """Return the folder of this process's compiled code, or None if none can be written."""
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
    """Remove folders of compiled code that were last used before a time; return how many."""
    removed = 0
    for path in base.glob("[0-9a-f]" * _DIGEST_SIZE):
        with suppress(OSError):
            if path.stat().st_mtime < before:
                shutil.rmtree(path)
                removed += 1
    return removed


def clear() -> int:
    """Remove the compiled code of all versions; return how many folders were removed."""
    return sum(_remove(base, before=float("inf")) for base in bases())


class _Library(codegen.JITCodeLibrary):
    """Compiled code that calls only what was compiled with it.

    The code of a function contains those that it calls, in a form of its own, which may round differently from the form in
    which these were compiled alone. Where both were in memory, as in the process that compiled them, a call went to the
    one that came first; loaded from the cache, to the other. So the first run after a change differed from all later ones.
    """

    def _optimize_final_module(self) -> None:
        super()._optimize_final_module()  # type: ignore[no-untyped-call]
        module = self._final_module
        inner = [
            function.name
            for function in module.functions
            if not function.is_declaration
            and function.linkage == binding.Linkage.linkonce_odr
            and function.name.startswith(_MANGLED)
        ]
        if inner:
            # What others link stays as it was.
            self._shared_module = module.clone()
            for function in self._shared_module.functions:
                if not function.is_declaration and function.linkage == binding.Linkage.external:
                    function.linkage = "linkonce_odr"
            for name in inner:
                module.get_function(name).linkage = "internal"


codegen.JITCPUCodegen._library_class = _Library  # noqa: SLF001


class _Cache(NullCache):
    """The compiled versions of one function: a file for each list of argument types.

    A file is written under another name and renamed, so processes need no lock, and it begins with a checksum.
    """

    def __init__(self, function: FunctionType) -> None:
        # Computed on import, before the files can change under a running process. Compiled functions exist outside of
        # this folder, too, so the source of each is part of its key.
        sources = (digest(), _digest_of_file(inspect.getfile(function)))
        self._name = function.__name__
        self._key = (sources, function.__module__, function.__qualname__, function.__code__.co_firstlineno)

    def _path(self, signature: Any) -> Path | None:
        """Return the file of the version with these argument types."""
        parent = folder()
        return parent / f"{self._name}-{_digest(repr((self._key, signature)).encode())}" if parent else None

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the version with these argument types, or None if it is not in the cache."""
        target_context.refresh()
        path = self._path(sig)
        try:
            stored = path.read_bytes() if path else b""
        except OSError:
            return None
        checksum, payload = stored[:_DIGEST_SIZE], stored[_DIGEST_SIZE:]
        if checksum != _digest(payload).encode():
            return None
        rebuild: Any = CompileResult._rebuild  # noqa: SLF001
        return rebuild(target_context, *pickle.loads(payload))  # noqa: S301  numba's cache trusts its folder, too

    def save_overload(self, sig: Any, data: Any) -> None:
        """Store a version; if that fails, the next process compiles it again."""
        path = self._path(sig)
        # Code that contains addresses of this process is useless to another.
        if not path or data.library.has_dynamic_globals:
            return
        payload: bytes = serialize.dumps(data._reduce())  # type: ignore[no-untyped-call]  # noqa: SLF001
        temporary = path.with_name(uuid.uuid4().hex)
        with suppress(OSError):
            try:
                temporary.write_bytes(_digest(payload).encode() + payload)
                temporary.replace(path)
            finally:
                temporary.unlink(missing_ok=True)


def keep_on_disk(dispatcher: Any) -> Any:
    """Make a function compiled by numba use this cache; return it.

    Closures are not kept: the values that they capture are not part of their source.
    """
    function = dispatcher.py_func
    if not function.__closure__:
        with suppress(OSError):  # installed without its source
            dispatcher._cache = _Cache(function)  # noqa: SLF001
    return dispatcher


def compile_ahead(exercise: Callable[[], object]) -> float:
    """Call a function, and return the seconds spent in compiling what it uses: 0 if everything was in the cache.

    Args:
        exercise: Calls every compiled function that is needed later, on small arrays of the same types.
    """
    with event.install_listener("numba:compile", event.TimingListener()) as timing:  # type: ignore[no-untyped-call]
        exercise()
    return float(timing.duration) if timing.done else 0.0


if __name__ == "__main__":
    done = f"removed {clear()} folders of compiled code" if sys.argv[1:] == ["--clear"] else str(folder())
    sys.stdout.write(f"{done}\n")
