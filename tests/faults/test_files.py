"""Damaged and hostile files: each is read or refused in one sentence, quickly, in little memory, and nothing of it runs."""

import json
import os
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import mutants
from nextchar.cli.mistakes import missing_model
from nextchar.config import read_toml
from nextchar.errors import ConfigError, ModelFileError, NextcharError
from nextchar.storage import (
    MODEL,
    TRAINING,
    ModelFile,
    read_arrays,
    read_metadata,
    read_model,
    write_arrays,
    write_model,
)
from nextchar.text.corpus import TEXTS, open_corpus
from nextchar.training.folder import LOCK, locked
from nextchar.training.run import Run
from readers import WATCH, Fault, Reader, make_readers, watched

MUTANTS = 150
NAMES = (
    "model fp32",
    "model bf16",
    "model int8",
    "metadata",
    "snapshot",
    "cache meta.json",
    "cache ids.bin",
    "claims.json",
    "log.jsonl",
    "config.toml",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Reader]]:
    """Return every reader, with valid files of a very small model."""
    folder = tmp_path_factory.mktemp("readers")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEXTCHAR_CACHE", str(folder / "cache"))
        yield make_readers(folder)


@pytest.fixture
def readers(made: dict[str, Reader], monkeypatch: pytest.MonkeyPatch) -> dict[str, Reader]:
    """Return the readers, which share a cache."""
    monkeypatch.setenv("NEXTCHAR_CACHE", str(made["model fp32"].folder / "cache"))
    return made


@pytest.fixture
def run(readers: dict[str, Reader]) -> Path:
    """Return the run folder of the readers, which no test changes."""
    return readers["model fp32"].folder / "run"


def test_every_reader_is_known(readers: dict[str, Reader]) -> None:
    """The list of this file is that of the module, and each reader accepts its valid file."""
    assert tuple(readers) == NAMES
    assert all(reader(reader.valid, measure=True) for reader in readers.values())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # sums of weights of 1e38
@pytest.mark.parametrize("name", NAMES)
def test_mutants_are_read_or_refused(readers: dict[str, Reader], name: str) -> None:
    """Nothing but a value or one sentence comes of a changed file; `make torture` tries many more of them."""
    for seed in range(MUTANTS if name != "config.toml" else 50):
        mutant = readers[name].mutant(seed)
        try:
            readers[name](mutant, measure=seed % 10 == 0)
        except Fault as fault:
            pytest.fail(f"{name}, seed {seed}: {fault}")


def test_mutants_differ_and_can_be_repeated(readers: dict[str, Reader]) -> None:
    """Seeds give many different files, the same ones each time, and most of them are not the valid one."""
    for reader in readers.values():
        made = [reader.mutant(seed) for seed in range(100)]
        assert made == [reader.mutant(seed) for seed in range(100)]
        assert len(set(made)) > 75
        assert made.count(reader.valid) < 10


def ran(path: str) -> None:
    """Leave a file; this is what a pickle in a disguise would run."""
    Path(path).touch()


def test_no_pickle_is_opened(readers: dict[str, Reader], tmp_path: Path) -> None:
    """A pickle in any disguise, in place of any file, is refused and never runs."""
    harmful = mutants.Harmful(ran, str(tmp_path / "ran"))
    for name in (
        "model fp32",
        "model int8",
        "snapshot",
        "metadata",
        "cache ids.bin",
        "claims.json",
        "config.toml",
        "log.jsonl",
    ):
        for disguise, content in mutants.pickles(harmful, readers["model fp32"].valid):
            accepted = readers[name](content)
            whole = disguise == "behind a header" or name in {"cache ids.bin", "log.jsonl", "metadata"}
            assert whole or not accepted, (name, disguise)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("act", "named"),
    [
        (lambda: os.system("true"), "os.system"),  # noqa: S605
        (lambda: Path("/no-folder-of-that-name/file").write_bytes(b""), "open /no-folder"),
        (lambda: __import__("pickle").loads(__import__("pickle").dumps(ran)), "pickle.find_class"),
    ],
)
def test_the_watch_sees_what_is_forbidden(tmp_path: Path, act: Callable[[], object], named: str) -> None:
    """The watch over readers notices a program, a file elsewhere and a name in a pickle."""
    with pytest.raises(Fault, match=named), watched(tmp_path), suppress(OSError):
        act()
    assert not WATCH.on


@pytest.mark.skipif(not hasattr(__import__("signal"), "setitimer"), reason="this system has no interval timers")
def test_the_watch_ends_what_takes_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that computes for longer than it may is a fault."""
    monkeypatch.setattr("readers.SECONDS", 0.01)
    with pytest.raises(Fault, match=r"more than 0\.01 s"), watched(tmp_path):
        any(number < 0 for number in count())


def edited(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], object], to: Path) -> Path:
    """Write a copy of a file of arrays in which a function has changed arrays and metadata."""
    arrays, metadata = read_arrays(path)
    change(arrays, metadata)
    write_arrays(to, arrays, metadata)
    return to


@pytest.mark.parametrize("layers", [3, 64, 10**9])
def test_layers_that_a_header_claims_are_not_listed(run: Path, tmp_path: Path, layers: int) -> None:
    """A header of a billion layers is refused like one of three, at once."""
    path = edited(run / MODEL, lambda _, told: told["architecture"].update(layers=layers), tmp_path / MODEL)
    message = "does not have the shape of" if layers == 3 else "11 arrays, too few"
    with watched(tmp_path), pytest.raises(ModelFileError, match=message):
        read_model(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_no_numbers_are_refused(model_file: ModelFile, tmp_path: Path, value: float) -> None:
    """One weight that is not finite makes a model unusable, so it is damaged."""
    model_file.arrays["head.bias"][3] = value
    write_model(tmp_path / MODEL, model_file)
    with pytest.raises(ModelFileError, match="a weight is not a finite number"):
        read_model(tmp_path)


@pytest.mark.parametrize("length", [2**31, 2**40, 2**62, 2**63, 2**64 - 1])
def test_a_length_that_is_claimed_is_not_reserved(tmp_path: Path, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file whose header claims to be huge is refused without memory for it, also where runs are listed."""
    path = tmp_path / "runs" / "x" / MODEL
    path.parent.mkdir(parents=True)
    path.write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(ModelFileError, match="it ends before its header does"):
        read_metadata(path)
    monkeypatch.chdir(tmp_path)
    assert "runs/ holds none" in missing_model("sample")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("architecture", {"sum_outputs": 255}, "sum_outputs is 255"),
        ("vocabulary", {"codes": ["97"]}, "whole numbers"),
        ("vocabulary", {"codes": [97.5]}, "whole numbers"),
        ("config", {"valid": "0.1"}, "valid is '0.1'"),
        ("provenance", {"step": "a"}, "step is 'a'"),
        ("provenance", {"step": 10**30}, "step is 1000"),
        ("provenance", {"epochs": float("nan")}, "epochs is nan"),
        ("provenance", {"epochs": None}, "epochs is None"),
        ("provenance", {"texts": [5]}, "name is None"),
        ("provenance", {"texts": {}}, r"texts is \{\}"),
        ("provenance", {"valid": {"bits_per_char": 1.0}}, "nats_per_char is None"),
        ("provenance", {"corpus": 5}, "corpus is 5"),
    ],
)
def test_descriptions_of_other_types_are_refused(
    run: Path, tmp_path: Path, name: str, value: dict[str, Any], message: str, shell: Callable[..., SimpleNamespace]
) -> None:
    """What `info` and others read from the description of a model has the type that they rely on."""
    path = edited(run / MODEL, lambda _, told: told[name].update(value), tmp_path / MODEL)
    result = shell("info", path)
    assert result.code == 1
    assert message.replace("\\", "") in result.err
    assert result.err.count("\n") == 1


def resized(name: str, shape: tuple[int, ...], kind: type = np.float32) -> Callable[[dict[str, Any], Any], object]:
    """Return a change of an array into one of another shape and type."""
    return lambda arrays, _: arrays.__setitem__(name, np.zeros(shape, kind))


@pytest.mark.parametrize(
    "change",
    [
        resized("optimizer/head.weight/exp_avg", (1,)),
        resized("optimizer/head.weight/exp_avg", (1, 16)),
        resized("optimizer/head.weight/exp_avg_sq", (0,)),
        resized("optimizer/head.weight/other", (1,)),
        resized("optimizer/head.bias/step", (1,), np.int64),
        resized("weights/layers.1.weight_hh", (64, 15)),
        resized("weights/head.weight", (1, 1)),
        resized("weights/head.bias", (1,), np.float64),
        resized("state/1/0", (2, 3)),
        resized("state/9/9", (2, 16)),
        lambda arrays, _: arrays.pop("state/0/1"),
        lambda arrays, _: arrays.pop("optimizer/head.bias/step"),
        lambda arrays, _: arrays["optimizer/head.bias/step"].fill(-1e30),
        lambda arrays, _: arrays["weights/head.bias"].fill(np.nan),
        lambda _, told: told["config"].update(hidden=8192, layers=60),
        lambda _, told: told["config"].update(batch_size=2**62),
        lambda _, told: told.update(state_type="classes"),
        lambda _, told: told.update(step=-1),
        lambda _, told: told.update(step="1"),
        lambda _, told: told.update(begin=2**40),
        lambda _, told: told.update(best_nats="low"),
        lambda _, told: told.update(corpus=None),
        lambda _, told: told.update(vocabulary={"units": "characters", "codes": [97]}),
    ],
)
def test_a_snapshot_that_its_network_cannot_have_is_refused(
    run: Path, tmp_path: Path, change: Callable[[dict[str, Any], dict[str, Any]], object]
) -> None:
    """Compiled code relies on shapes and types of all arrays: a snapshot with others never reaches it."""
    (tmp_path / "config.toml").write_bytes((run / "config.toml").read_bytes())
    (tmp_path / MODEL).write_bytes((run / MODEL).read_bytes())
    edited(run / TRAINING, change, tmp_path / TRAINING)
    with watched(tmp_path), pytest.raises(ModelFileError, match="damaged"):
        Run.open(tmp_path)


@pytest.mark.parametrize(
    "change",
    [{"dtype": "O"}, {"dtype": "S0"}, {"dtype": ""}, {"dtype": "float64"}, {"dtype": "V1000000000"}, {"count": True}],
)
def test_the_type_of_cached_ids_is_that_of_their_vocabulary(
    text_file: Path, clean_environment: Path, change: Any
) -> None:
    """An entry whose description names another type, of objects, of nothing or of much, is encoded anew."""
    first = np.array(open_corpus(text_file).ids)
    (meta,) = (clean_environment / TEXTS).glob("*/meta.json")
    valid = meta.read_text(encoding="utf-8")
    meta.write_text(json.dumps(json.loads(valid) | change), encoding="utf-8")
    assert np.array_equal(open_corpus(text_file).ids, first)
    assert meta.read_text(encoding="utf-8") == valid


def test_cached_ids_beyond_the_vocabulary_are_encoded_anew(text_file: Path, clean_environment: Path) -> None:
    """An entry of the right length, but with ids that the vocabulary lacks, never reaches compiled code."""
    first = np.array(open_corpus(text_file).ids)
    (ids,) = (clean_environment / TEXTS).glob("*/ids.bin")
    content = bytearray(ids.read_bytes())
    content[7] = 255
    ids.write_bytes(content)
    assert np.array_equal(open_corpus(text_file).ids, first)


@pytest.mark.parametrize(
    "value", ["[" * 100_000, "x = " + "[" * 5000 + "]" * 5000, "steps = " + "9" * 5000, f"[{'a.' * 5000}a]\n" * 2]
)
def test_a_configuration_of_any_depth_is_refused(tmp_path: Path, value: str) -> None:
    """Brackets that nest too deeply, and numbers that are too long, are not valid TOML."""
    path = tmp_path / "config.toml"
    path.write_text(value, encoding="utf-8")
    with pytest.raises(ConfigError, match="is not valid TOML") as error:
        read_toml(path)
    assert len(str(error.value)) < len(str(path)) + 300


@pytest.mark.parametrize("content", [b"abc", b"\xff\xfe", b"9" * 5000, b"\0"])
def test_a_lock_may_hold_anything(tmp_path: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that holds a lock is named if the file names one; else it is another process."""
    (tmp_path / LOCK).write_bytes(content)
    monkeypatch.setattr("nextchar.training.folder.try_lock", lambda _: False)
    with pytest.raises(ConfigError, match="another process is training into"), locked(tmp_path):
        pass


def test_a_reader_that_fails_is_reported(tmp_path: Path) -> None:
    """A reader that raises something else, or says nothing in a sentence, is found out."""

    def wrong(error: Exception) -> Callable[[bytes], None]:
        def read(_content: bytes) -> None:
            raise error

        return read

    for error in (IndexError("3"), NextcharError("two\nlines"), NextcharError(" "), MemoryError()):
        with pytest.raises(Fault):
            Reader("x", b"", mutants.some_bytes, wrong(error), tmp_path)(b"")
    hungry = Reader("x", b"", mutants.some_bytes, lambda content: bytearray(len(content) + (50 << 20)), tmp_path)
    with pytest.raises(Fault, match="bytes for a file of 1"):
        hungry(b"a", measure=True)
