import errno
import io
import json
import os
import pickle
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_arrays

from conftest import make_model
from nextchar import storage
from nextchar.errors import ModelFileError, NextcharError
from nextchar.language_model import LanguageModel
from nextchar.storage import (
    MODEL,
    ModelFile,
    load,
    read_arrays,
    read_model,
    save,
    to_file,
    to_language_model,
    write_arrays,
    write_atomically,
    write_model,
    write_text,
)
from nextchar.text.vocabulary import Vocabulary

SHAPES: list[dict[str, Any]] = [
    {"cell": cell, "layers": layers, "embedding": embedding, "sum_outputs": sum_outputs}
    for cell, layers, embedding, sum_outputs in [
        ("lstm", 2, 4, True),
        ("lstm", 1, 0, False),
        ("gru", 3, 4, False),
        ("rnn", 2, 0, True),
    ]
]


@pytest.fixture
def content(model_file: ModelFile, tmp_path: Path) -> bytes:
    """Return the bytes of a valid model file."""
    write_model(tmp_path / "content", model_file)
    return (tmp_path / "content").read_bytes()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where a model file may be put."""
    return tmp_path / MODEL


def equal(one: ModelFile, other: ModelFile) -> bool:
    """Return whether two models are equal to the last bit."""
    return (
        replace(one, arrays={}) == replace(other, arrays={})
        and one.arrays.keys() == other.arrays.keys()
        and all(np.array_equal(array, other.arrays[name]) for name, array in one.arrays.items())
    )


def refused(path: Path, content: bytes, message: str) -> None:
    """Assert that these bytes are refused in one sentence."""
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match=message) as error:
        read_model(path)
    assert "\n" not in str(error.value)
    assert str(path) in str(error.value)


def pack(metadata: object, arrays: dict[str, Any] | None = None) -> bytes:
    """Return a safetensors file with this as nextchar's metadata."""
    return save_arrays(arrays or {}, {"nextchar": json.dumps(metadata)})


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("codes", [tuple(map(ord, "ab€😀")), (0x0A, 0xFF)])
def test_a_model_comes_back(path: Path, shape: dict[str, Any], codes: tuple[int, ...]) -> None:
    """What is written is what is read, whatever the network's shape and units."""
    lm = make_model(Vocabulary("characters" if len(codes) > 2 else "bytes", codes), **shape)
    model = replace(to_file(lm), config={"valid": 0.05, "text": "é\n"}, provenance={"step": 3, "best": None})
    write_model(path, model)
    assert equal(read_model(path), model)
    assert equal(read_model(path.parent), model)


def test_equal_models_are_equal_files(path: Path, model_file: ModelFile, content: bytes) -> None:
    """The same model gives the same bytes, also after a reading, and another gives others."""
    path.write_bytes(content)
    write_model(path, read_model(path))
    assert path.read_bytes() == content
    write_model(path, replace(model_file, provenance={"step": 1}))
    assert path.read_bytes() != content


@pytest.mark.parametrize("shape", SHAPES)
def test_load_undoes_save(path: Path, shape: dict[str, Any]) -> None:
    """A language model that is saved and loaded has the same weights and predictions."""
    lm = make_model(Vocabulary("characters", (97, 98, 99)), **shape)
    save(lm, path)
    again = load(path)
    assert equal(to_file(again), to_file(lm))
    ids = torch.tensor([[3], [0], [2]])
    logits, _ = lm.network(ids, lm.network.empty_state(1))
    assert torch.equal(again.network(ids, again.network.empty_state(1))[0], logits)


def test_a_file_and_its_network_share_no_memory(lm: LanguageModel) -> None:
    """Training on does not change a model that was taken out, nor the other way round."""
    model = to_file(lm)
    other = to_language_model(model)
    model.arrays["head.bias"][:] = 7
    for network in (lm.network, other.network):
        assert not (network.head.bias == 7).any()


def test_names_that_are_not_unicode_can_be_kept(path: Path, model_file: ModelFile) -> None:
    """A text whose file name is not UTF-8 does not keep a model from being saved."""
    model = replace(model_file, provenance={"texts": [{"name": os.fsdecode(b"caf\xe9.txt")}, {"name": "日本"}]})
    write_model(path, model)
    assert read_model(path).provenance == model.provenance


@pytest.mark.parametrize("length", [0x0280, 0x0480, 0x0580, 0x4B50])
def test_a_header_may_have_any_length(path: Path, length: int) -> None:
    """A file whose header's length equals the first bytes of a pickle is read like any other."""
    empty = int.from_bytes(pack({"format": 1, "pad": ""})[:8], "little")
    path.write_bytes(pack({"format": 1, "pad": "x" * (length - empty)}))
    assert path.read_bytes()[:2] == length.to_bytes(2, "little")
    assert read_arrays(path)[1]["pad"] == "x" * (length - empty)


@pytest.mark.parametrize("position", range(60))
def test_a_cut_file_is_refused(path: Path, content: bytes, position: int) -> None:
    """Wherever a file is cut, it is refused in one sentence."""
    refused(path, content[: len(content) * position // 60], "damaged")


@pytest.mark.parametrize("cut", [1, 4, 7, 8, 9, -1, -4])
def test_a_file_cut_near_its_ends_is_refused(path: Path, content: bytes, cut: int) -> None:
    """A few bytes are no model, nor is one with a few bytes missing."""
    refused(path, content[:cut], "damaged")


@pytest.mark.slow
@settings(max_examples=300)
@given(data=st.data())
def test_a_flipped_byte_is_a_model_or_refused(path: Path, content: bytes, data: st.DataObject) -> None:
    """Whatever byte of the header is changed, nothing but ModelFileError is raised."""
    header = 8 + int.from_bytes(content[:8], "little")
    changed = bytearray(content)
    for position in data.draw(st.lists(st.integers(0, header - 1), min_size=1, max_size=3)):
        changed[position] = data.draw(st.integers(0, 255) | st.sampled_from(b'0123456789e-.,"{}[]:\\'))
    path.write_bytes(changed)
    try:
        model = read_model(path)
    except ModelFileError:
        return
    assert {name: array.shape for name, array in model.arrays.items()} == model.architecture.shapes(
        len(model.vocabulary)
    )


def torch_pickle() -> bytes:
    """Return what torch.save writes."""
    file = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, file)
    return file.getvalue()


@pytest.mark.parametrize("make", [torch_pickle, *(lambda p=p: pickle.dumps({"a": 1}, p) for p in range(2, 6))])
def test_a_pickle_is_refused_by_name(path: Path, make: Any) -> None:
    """A checkpoint of PyTorch or a pickle is never opened."""
    refused(path, make(), "is a pickle, which can run any code")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it ends before its header does"),
        (b"just some text, longer than eight bytes", "it ends before its header does"),
        ((4).to_bytes(8, "little") + b"abcd", "its header cannot be read"),
        ((2).to_bytes(8, "little") + b"[]", "its header cannot be read"),
        ((100_000).to_bytes(8, "little") + b"[" * 100_000, "its header cannot be read"),
        ((32).to_bytes(8, "little") + b'{"__metadata__": {"nextchar": 5}', "its header cannot be read"),
        ((33).to_bytes(8, "little") + b'{"__metadata__": {"nextchar": 5}}', "its header cannot be read"),
        (save_arrays({"weight": np.zeros(3)}), "not one that nextchar wrote"),
        (save_arrays({}, {"format": "pt"}), "not one that nextchar wrote"),
        (pack([1]), "not one that nextchar wrote"),
        (pack({"format": 3}), "has format 3, and this nextchar reads up to 2; install a newer nextchar"),
        (pack({"format": "1"}), "has format 1, and"),
        (pack({}), "has format None"),
        (pack({"format": 1}), "its metadata lacks 'architecture'"),
    ],
)
def test_other_files_are_refused(path: Path, content: bytes, message: str) -> None:
    """Files of other kinds, other programs and the future are each refused with the reason."""
    refused(path, content, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"architecture": {"cell": "lstn"}}, "cell is 'lstn'"),
        ({"architecture": {"hidden": 9}}, "does not have the shape of its"),
        ({"architecture": 5}, "damaged"),
        ({"vocabulary": {"units": "bytes", "codes": [5, 4]}}, "distinct ascending codes"),
        ({"vocabulary": {"units": "words", "codes": [4, 5]}}, "not 'words'"),
        ({"vocabulary": {"units": "bytes", "codes": [float("inf")]}}, "damaged"),
        ({"vocabulary": {"units": "bytes"}}, "lacks 'codes'"),
        ({"config": 5}, "damaged"),
        ({"provenance": None}, "damaged"),
    ],
)
def test_metadata_that_cannot_be_is_refused(
    path: Path, model_file: ModelFile, change: dict[str, Any], message: str
) -> None:
    """A description that fits no network, no vocabulary or not the weights is refused."""
    valid = {
        "architecture": model_file.architecture.as_dict(),
        "vocabulary": model_file.vocabulary.as_dict(),
        "config": {},
        "provenance": {},
    }
    refused(path, pack({"format": 1, **valid, **change}, model_file.arrays), message)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("head.bias", None, "head.bias does not have"),
        ("head.bias", np.zeros(3, np.float32), "head.bias does not have"),
        ("extra", np.zeros(3, np.float32), "extra does not have"),
        ("head.bias", np.zeros(1000, np.float16), "its weights are not float32"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    path: Path, model_file: ModelFile, name: str, array: Any, message: str
) -> None:
    """A weight that is missing, of another shape, too many or of another type is refused by name."""
    arrays = {**model_file.arrays, name: array}
    if array is None:
        del arrays[name]
    elif array.dtype == np.float16:
        arrays[name] = array[: len(model_file.vocabulary)]
    write_model(path, replace(model_file, arrays=arrays))
    refused(path, path.read_bytes(), message)


def test_a_type_that_numpy_lacks_is_refused(path: Path, content: bytes) -> None:
    """Weights in a type without a numpy equivalent are damage like any other."""
    header = content.replace(b'"F32"', b'"F8_E8M0"', 1)
    length = int.from_bytes(content[:8], "little") + 4
    refused(path, length.to_bytes(8, "little") + header[8:], "damaged")


def test_places_without_a_model_are_named(tmp_path: Path) -> None:
    """A path without a file, a folder without a model and a folder in place of a file have messages of their own."""
    with pytest.raises(ModelFileError, match="there is no model file"):
        read_model(tmp_path / "gone")
    with pytest.raises(ModelFileError, match="there is no model file ~nobody-of-that-name/x"):
        read_model("~nobody-of-that-name/x")
    with pytest.raises(ModelFileError, match=r"holds no model\.safetensors; name a run folder"):
        read_model(tmp_path)
    with pytest.raises(ModelFileError, match="is a folder, not a model file"):
        read_arrays(tmp_path)


@pytest.mark.parametrize("target", ["pathlib.Path.write_bytes", "os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_leaves_the_old_file(
    path: Path, model_file: ModelFile, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    """When writing fails at any point, the file is unchanged and there is no other file."""

    def no_space(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write_model(path, model_file)
    before = path.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(target, no_space)
        with pytest.raises(OSError, match="No space left"):
            write_model(path, replace(model_file, provenance={"step": 1}))
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_a_half_written_file_is_never_seen(path: Path) -> None:
    """While a file is written, and after an interruption, the target is the old one."""
    write_text(path, "old\r\n")

    def interrupted(temporary: Path) -> None:
        temporary.write_text("ne", encoding="utf-8")
        assert path.read_bytes() == b"old\r\n"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, interrupted)
    assert path.read_bytes() == b"old\r\n"
    assert list(path.parent.iterdir()) == [path]


class FakeWindows:
    """Simulates how Windows treats files: what is open cannot be replaced, what is open for reading cannot be synced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waits: list[float] = []
        self.in_use = 0  # how many attempts to replace a file fail
        self.code = 32
        self._replace, self._fsync, self._open = Path.replace, os.fsync, os.open
        monkeypatch.setattr(Path, "replace", lambda *files: self.replace(*files))  # noqa: PLW0108  a method
        monkeypatch.setattr(os, "fsync", self.fsync)
        monkeypatch.setattr("nextchar.storage.time.sleep", self.waits.append)
        monkeypatch.delattr(os, "O_DIRECTORY", raising=False)
        monkeypatch.setattr(os, "open", self.open)

    def replace(self, source: Path, target: Path) -> Path:
        """Fail as often as the file is in use."""
        if self.in_use:
            self.in_use -= 1
            error = PermissionError(errno.EACCES, "The process cannot access the file", str(target))
            error.winerror = self.code  # type: ignore[attr-defined, unused-ignore]
            raise error
        return self._replace(source, target)

    def open(self, path: Path, *words: int) -> int:
        """Open files alone."""
        if Path(path).is_dir():
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return self._open(path, *words)

    def fsync(self, descriptor: int) -> None:
        """Refuse a handle that cannot write."""
        os.write(descriptor, b"")  # fails where the handle is read-only
        self._fsync(descriptor)


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> FakeWindows:
    """Return a simulation of Windows' rules for files."""
    return FakeWindows(monkeypatch)


def test_files_are_written_on_windows(path: Path, model_file: ModelFile, windows: FakeWindows) -> None:
    """A file is synced through a handle that can write, and no folder is opened."""
    write_model(path, model_file)
    assert equal(read_model(path), model_file)
    assert windows.waits == []


@pytest.mark.parametrize("code", [5, 32, 1224])
def test_a_file_that_is_open_for_a_moment_is_replaced(path: Path, windows: FakeWindows, code: int) -> None:
    """A virus scanner or a memory map that closes the file in time does not make writing fail."""
    windows.in_use, windows.code = 3, code
    write_text(path, "new")
    assert path.read_text(encoding="utf-8") == "new"
    assert len(windows.waits) == 3


def test_a_file_that_stays_open_is_one_sentence(path: Path, windows: FakeWindows) -> None:
    """A program that keeps the file open is reported after a bounded wait; the file is unchanged."""
    write_text(path, "old")
    windows.in_use = 10**9
    with pytest.raises(NextcharError, match="is open in another program; close it there"):
        write_text(path, "new")
    windows.in_use = 0
    assert 0 < sum(windows.waits) < 5
    assert path.read_text(encoding="utf-8") == "old"
    assert list(path.parent.iterdir()) == [path]


def test_a_folder_without_permission_is_not_waited_for(path: Path, windows: FakeWindows) -> None:
    """An error with another cause is raised at once."""
    windows.in_use, windows.code = 1, 3
    with pytest.raises(PermissionError):
        write_text(path, "new")
    assert windows.waits == []


def test_nothing_else_in_the_package_sleeps() -> None:
    """Waiting for a file that is in use is the only sleep that blocks a thread; asyncio's lets other tasks run."""
    source = Path(storage.__file__).parent
    sleeping = [
        path for path in source.rglob("*.py") if re.search(r"(?<!asyncio\.)\bsleep\b", path.read_text(encoding="utf-8"))
    ]
    assert sleeping == [Path(storage.__file__)]


def test_a_folder_is_named_where_reading_it_is_a_missing_permission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows reports a folder that is read as a file as a missing permission; a real one stays what it is."""

    def denied(self: Path) -> bytes:
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", denied)
    with pytest.raises(ModelFileError, match="is a folder, not a model file"):
        read_arrays(tmp_path)
    with pytest.raises(PermissionError):
        read_arrays(tmp_path / "file")


@pytest.mark.skipif(os.name != "posix", reason="file modes are POSIX")
def test_files_are_written_for_whom_the_umask_lets(tmp_path: Path) -> None:
    """A new file has the mode of any other, in folders made for it."""
    write_arrays(tmp_path / "deep" / "er" / "file", {"a": np.zeros((2, 2)).T}, {"b": 1})
    (tmp_path / "plain").touch()
    assert (tmp_path / "deep" / "er" / "file").stat().st_mode == (tmp_path / "plain").stat().st_mode
