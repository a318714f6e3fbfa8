import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nextchar.kernels import compile_cache
from nextchar.kernels.gemm import compiled


def _double(x: int) -> int:
    return 2 * x


def _seconds(x: int = 21) -> float:
    """Return how long a new process would compile to double a number."""
    function = compiled(_double)
    seconds = compile_cache.compile_ahead(lambda: function(x))
    assert function(x) == 2 * x
    return seconds


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Let compiled code be kept below a new folder, and nowhere else; return it."""
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    monkeypatch.delenv("NEXTCHAR_CACHE", raising=False)
    monkeypatch.setattr(compile_cache, "user_cache_path", lambda *_, **__: tmp_path / "user")
    compile_cache.folder.cache_clear()
    yield tmp_path / "compiled"
    compile_cache.folder.cache_clear()


def test_a_second_process_compiles_nothing(base: Path) -> None:
    """What was compiled is loaded again, another type of argument is compiled, and it is said how long that took."""
    assert _seconds() > 0
    assert _seconds() == 0
    assert _seconds(2.5) > 0
    assert len(list((base / compile_cache.digest()).iterdir())) == 2


@pytest.mark.parametrize("content", [b"", b"short", b"\0" * 1000])
def test_a_damaged_file_is_compiled_again(base: Path, content: bytes) -> None:
    """A file that is not what was written is replaced."""
    _seconds()
    (path,) = (base / compile_cache.digest()).iterdir()
    path.write_bytes(content)
    assert _seconds() > 0
    assert _seconds() == 0


def test_a_function_with_values_of_another_is_not_kept(base: Path) -> None:
    """Two functions from the same lines that differ in what they close over do not share their code."""

    def times(factor: int) -> int:
        return int(compiled(lambda x: x * factor)(10))

    assert [times(2), times(3)] == [20, 30]
    assert not base.exists()


def test_a_place_that_cannot_be_written_is_passed_over(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next place is taken; where there is none, code is compiled and not kept."""
    base.write_text("a file where a folder should be")
    monkeypatch.setenv("NEXTCHAR_CACHE", str(tmp_path / "second"))
    _seconds()
    assert compile_cache.folder() == tmp_path / "second" / "compiled" / compile_cache.digest()
    compile_cache.folder.cache_clear()
    monkeypatch.setenv("NEXTCHAR_CACHE", str(base))
    monkeypatch.setattr(compile_cache, "user_cache_path", lambda *_, **__: base)
    assert _seconds() > 0
    assert _seconds() > 0
    assert compile_cache.folder() is None


def test_a_folder_that_disappears_is_no_error(base: Path) -> None:
    """Code is compiled and not kept when the cache is emptied under a process that uses it."""
    _seconds()
    shutil.rmtree(base)
    assert _seconds() > 0


def test_only_old_code_of_other_versions_is_removed(base: Path) -> None:
    """A new version removes folders that were unused for months, and nothing that is not its own kind."""
    old, recent, foreign = base / ("0" * 32), base / ("1" * 32), base / "notes"
    for path in (old, recent, foreign):
        path.mkdir(parents=True)
        (path / "file").write_text("x")
    for path in (old, foreign):
        os.utime(path, (1, 1))
    own = compile_cache.folder()
    assert own
    assert set(base.iterdir()) == {own, recent, foreign}
    assert compile_cache.clear() == 2
    assert set(base.iterdir()) == {foreign}


@pytest.mark.parametrize(
    ("holder", "name", "value"),
    [
        (compile_cache.cpu, "NAME", "another"),
        (compile_cache.cpu, "FEATURES", frozenset({"sse2"})),
        (compile_cache.cpu, "HAS_AMX", not compile_cache.cpu.HAS_AMX),
        (compile_cache.numba, "__version__", "0.1"),
        (compile_cache.llvmlite, "__version__", "0.1"),
        (sys, "version", "3.99"),
    ],
)
def test_a_shared_folder_is_safe(
    base: Path, monkeypatch: pytest.MonkeyPatch, holder: object, name: str, value: object
) -> None:
    """Machines with other processors, compilers or Pythons do not load each other's code."""
    _seconds()
    monkeypatch.setattr(holder, name, value)
    for cached in (compile_cache.digest, compile_cache.folder):
        cached.cache_clear()
    try:
        assert _seconds() > 0
        assert len(list(base.iterdir())) == 2
    finally:
        compile_cache.digest.cache_clear()


CALLER = """
from nextchar.kernels.callee import factor
from nextchar.kernels.gemm import compiled

@compiled
def scaled(x):
    return x * factor()

print(scaled(10))
"""
CALLEE = """
from nextchar.kernels.gemm import compiled

@compiled
def factor():
    return {}
"""


@pytest.mark.slow
def test_a_changed_source_recompiles_its_callers(tmp_path: Path) -> None:
    """Code that another file's function was compiled into follows a change of that file."""
    kernels = tmp_path / "nextchar" / "kernels"
    shutil.copytree(Path(compile_cache.__file__).parent, kernels)
    (kernels.parent / "__init__.py").write_text("")
    (kernels / "caller.py").write_text(CALLER)
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    printed = []
    for factor in (2, 3):
        (kernels / "callee.py").write_text(CALLEE.format(factor))
        done = subprocess.run(
            [sys.executable, "-m", "nextchar.kernels.caller"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        printed.append(int(done.stdout))
    assert printed == [20, 30]
    assert len(list((tmp_path / "cache" / "compiled").iterdir())) == 2


SUMS = """
import hashlib
import numpy as np
from nextchar.kernels.lstm_training import backward

random = np.random.default_rng(1)
draw = lambda *shape: random.normal(size=shape).astype(np.float32)
gates, cells = 1 / (1 + np.exp(-draw(8, 4, 1, 64))), draw(9, 4, 1, 16)
gradients = draw(8, 4, 64), draw(4, 1, 16), np.zeros((8, 4, 4, 1, 16), np.float32), np.zeros((10, 1, 64), np.float32)
backward(draw(1, 64, 64), (gates, cells), gradients, random.integers(0, 10, (8, 4)), 0, 4)
sums = hashlib.sha256(b"".join(each.tobytes() for each in (gates, *gradients))).hexdigest()
print(sums, sum(backward.stats.cache_hits.values()))
"""


@pytest.mark.slow
@pytest.mark.shell
def test_code_from_the_cache_computes_what_the_process_that_compiled_it_did(tmp_path: Path) -> None:
    """To the bit: code calls the form of other functions that is part of it, also where these were compiled before it."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path)}
    outputs = [
        subprocess.run([sys.executable, "-c", SUMS], env=environment, capture_output=True, text=True, check=True).stdout
        for _ in range(2)
    ]
    (fresh, compiled_itself), (cached, hits) = map(str.split, outputs)
    assert (compiled_itself, hits) == ("0", "1")
    assert fresh == cached
