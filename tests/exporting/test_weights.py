"""Model files with smaller weights: the same texts as the engine's own rounding, scores close by, damage refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

import nextchar
from conftest import make_model
from nextchar.architecture import Architecture, WeightKind
from nextchar.errors import ConfigError, ModelFileError
from nextchar.kernels.packing import pack
from nextchar.kernels.quantization import grow, shrink
from nextchar.storage import MODEL, TRAINING, ModelFile, read_model, to_file
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Vocabulary

LETTERS = Vocabulary("characters", tuple(map(ord, "\n abé€")))
SHAPES: list[dict[str, Any]] = [
    {"cell": "lstm", "layers": 2, "hidden": 24},
    {"cell": "lstm", "layers": 1, "embedding": 0},
    {"cell": "gru", "layers": 3, "sum_outputs": False},
    {"cell": "rnn", "layers": 2, "embedding": 0},
]
SMALL: list[WeightKind] = ["bf16", "int8"]


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_small_file_gives_the_texts_of_the_large_one(tmp_path: Path, shape: dict[str, Any], kind: WeightKind) -> None:
    """What `--weights` rounds when it generates is what the file holds: text and probabilities are equal to the bit."""
    lm = make_model(LETTERS, **shape)
    nextchar.export(lm, tmp_path / "a.safetensors", weights=kind)
    asked = nextchar.sample(lm, "ab", length=100, weights=kind)
    for small in (tmp_path / "a.safetensors", nextchar.load(tmp_path / "a.safetensors")):
        held = nextchar.sample(small, "ab", length=100)
        assert held == asked
        assert np.array_equal(held.nats, asked.nats)
    assert nextchar.sample(lm, "ab", length=100).nats_per_char != asked.nats_per_char


@pytest.mark.parametrize("kind", SMALL)
@pytest.mark.parametrize("shape", SHAPES)
def test_the_engine_packs_the_same_bits(tmp_path: Path, shape: dict[str, Any], kind: WeightKind) -> None:
    """Every packed array is the same, scales included, from the large file and from the small one."""
    file = to_file(make_model(LETTERS, **shape))
    nextchar.export(file, tmp_path / "a.safetensors", weights=kind)
    small = read_model(tmp_path / "a.safetensors")
    one, other = (pack(each.architecture, each.arrays, len(LETTERS), kind) for each in (file, small))
    assert all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@given(
    arrays(
        np.float32,
        (8, 3),
        elements=st.floats(-(2.0**100), 2.0**100, width=32).map(lambda x: 0 if abs(x) < 1e-30 else x),
    )
)
def test_rounding_twice_is_rounding_once(rows: Any) -> None:
    """Whatever the weights, a file that was read and written again is the same to the bit."""
    shape = Architecture(cell="rnn", layers=1, hidden=8, embedding=4)
    for kind in SMALL:
        made = {"layers.0.weight_hh": np.tile(rows, (1, 3))[:, :8], "head.weight": rows}
        once = shrink(shape, made, kind)
        twice = shrink(shape, grow(shape, once, kind), kind)
        assert all(np.array_equal(once[name], twice[name]) for name in once)


@pytest.mark.parametrize("kind", SMALL)
def test_small_files_are_small(tmp_path: Path, kind: WeightKind) -> None:
    """A file with bf16 is about half as large, one with int8 about a quarter; to the size a file is told."""
    lm = make_model(LETTERS, hidden=128, embedding=8)
    whole = nextchar.export(lm, tmp_path / "whole.safetensors")
    small = nextchar.export(lm, tmp_path / "small.safetensors", weights=kind)
    assert small.bytes == (tmp_path / "small.safetensors").stat().st_size
    assert small.bytes / whole.bytes < {"bf16": 0.55, "int8": 0.3}[kind]
    assert (whole.weights, small.weights) == ("fp32", kind)


def test_scores_stay_close(tmp_path: Path, text: str) -> None:
    """A trained model scores a text within 0.002 bits per character of its float32, in bf16 and in int8."""
    lm = nextchar.train(
        Corpus.from_text(text),
        steps=60,
        hidden=48,
        embedding=16,
        batch_size=8,
        seq_length=32,
        dropout=0.0,
        progress=False,
    )
    text *= 5  # 100,000 characters
    exact = lm.score(text).bits_per_char
    for kind in SMALL:
        nextchar.export(lm, tmp_path / "small.safetensors", weights=kind)
        found = nextchar.evaluate(tmp_path / "small.safetensors", text).bits_per_char
        assert found != exact
        assert abs(found - exact) < 0.002


@pytest.mark.parametrize("kind", SMALL)
def test_commands_read_a_small_file(
    tmp_path: Path, corpus: Corpus, text_file: Path, shell: Callable[..., SimpleNamespace], kind: WeightKind
) -> None:
    """info, sample, evaluate, export and train --init-from take it as any other."""
    nextchar.save(make_model(corpus.vocabulary), tmp_path / MODEL)
    small = tmp_path / "small.safetensors"
    assert shell("export", tmp_path, small, "--weights", kind).code == 0
    about = json.loads(shell("info", small, "--json").out)
    assert {name: about[name] for name in ("format", "bytes", "weights")} == {
        "format": 2,
        "bytes": small.stat().st_size,
        "weights": kind,
    }
    assert f"(format 2, 0.0 MB, {kind} weights)" in shell("info", small).out
    assert "(format 1, 0.0 MB, fp32 weights)" in shell("info", tmp_path).out
    sample = ("sample", small, "-n", 40, "--seed", 1)
    assert shell(*sample).out == shell(*sample, "--weights", kind).out
    assert shell(*sample, "--weights", "fp32").code == 0
    assert shell("evaluate", small, text_file).code == 0
    again = shell("export", small, tmp_path / "again.safetensors")
    assert f"{kind} weights" in again.err
    assert (tmp_path / "again.safetensors").read_bytes() == small.read_bytes()
    words = ("train", text_file, "-o", tmp_path / "run", "--init-from", small, "--steps", 1, "--batch-size", 2)
    assert shell(*words).code == 0
    assert read_model(tmp_path / "run").weights == "fp32"


def test_an_ensemble_of_different_files_is_fp32(tmp_path: Path) -> None:
    """Models of one kind generate with it; of several kinds, with fp32."""
    lm = make_model(LETTERS)
    nextchar.export(lm, tmp_path / "a.safetensors", weights="int8")
    assert nextchar.Engine([tmp_path / "a.safetensors"] * 2).weights == "int8"
    assert nextchar.Engine([tmp_path / "a.safetensors", lm]).weights == "fp32"


def test_a_small_file_is_fp32_on_a_torch_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU generates in float32, with the rounded weights; auto leaves a small file to the CPU."""
    monkeypatch.setattr("nextchar.device.pick_device", lambda _: SimpleNamespace(type="cuda"))
    monkeypatch.setattr("nextchar.sampling.cuda_graph.CudaGraphBackend", lambda *_: "graph")
    small = replace(to_file(make_model(LETTERS)), weights="int8")
    engine = nextchar.Engine(small, device="cuda")
    assert (engine.weights, engine.device, engine.backend) == ("fp32", "cuda", "graph")
    engine = nextchar.Engine(small, device="auto")
    assert (engine.weights, engine.device) == ("int8", "cpu")


def test_a_model_is_not_overwritten_by_its_export(tmp_path: Path, shell: Callable[..., SimpleNamespace]) -> None:
    """The file that is read stays as it is, also under another name or by its folder."""
    nextchar.save(make_model(LETTERS), tmp_path / MODEL)
    before = (tmp_path / MODEL).read_bytes()
    (tmp_path / "folder").mkdir()
    other = tmp_path / "folder" / ".." / MODEL
    (tmp_path / TRAINING).write_bytes(b"snapshot")
    for model, out in ((tmp_path, tmp_path / MODEL), (tmp_path / MODEL, other), (tmp_path, tmp_path / TRAINING)):
        said = shell("export", model, out, "--weights", "int8")
        assert (said.code, "is the model itself, or of its run; name another file" in said.err) == (1, True)
    assert (tmp_path / MODEL).read_bytes() == before
    assert (tmp_path / TRAINING).read_bytes() == b"snapshot"


def test_what_the_engine_cannot_round_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network that is too large for the integers of int8 is refused when it is written, not when it is used."""
    monkeypatch.setattr("nextchar.kernels.packing.UNIT", 1 << 14)
    with pytest.raises(ConfigError, match="too large for the integers"):
        nextchar.export(make_model(LETTERS), tmp_path / "a.safetensors", weights="int8")
    assert list(tmp_path.iterdir()) == []


def content_of(kind: WeightKind, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the arrays and the metadata of a small file."""
    nextchar.export(make_model(LETTERS), path, weights=kind)
    content = path.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return load_arrays(content), json.loads(header["__metadata__"]["nextchar"])


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("head.weight", None, "its head.weight is not int8"),
        ("head.weight", lambda a: a.astype(np.float32), "its head.weight is not int8"),
        ("head.weight", lambda a: a[0], "its head.weight is not int8"),
        ("head.weight", lambda a: a[:, :3], "head.weight does not have the shape"),
        ("head.weight.largest", None, "its head.weight.largest does not fit head.weight"),
        ("head.weight.largest", lambda a: a[1:], "its head.weight.largest does not fit head.weight"),
        ("head.weight.largest", lambda a: a[:, None], "its head.weight.largest does not fit head.weight"),
        ("head.weight.largest", lambda a: a.astype(np.float64), "its head.weight.largest does not fit head.weight"),
        ("head.weight.largest", lambda a: -a, "its head.weight.largest does not fit head.weight"),
        ("head.weight.largest", lambda a: a * np.float32("nan"), "its head.weight.largest does not fit head.weight"),
        ("layers.1.weight_ih", lambda a: a.astype(np.uint8), "its layers.1.weight_ih is not int8"),
        ("layers.0.weight_ih", lambda a: a.astype(np.int8), "its weights are not float32"),
        ("other", lambda _: np.zeros(3, np.float32), "other does not have the shape"),
    ],
)
def test_damaged_arrays_are_refused(tmp_path: Path, name: str, change: Any, message: str) -> None:
    """A rounded matrix, or the scales of its rows, that is missing or of another type or shape is named."""
    held, metadata = content_of("int8", tmp_path / MODEL)
    changed = change(held.get(name)) if change else None
    held = {key: array for key, array in {**held, name: changed}.items() if array is not None}
    held = {key: np.ascontiguousarray(array) for key, array in held.items()}
    (tmp_path / MODEL).write_bytes(save_arrays(held, {"nextchar": json.dumps(metadata)}))
    with pytest.raises(ModelFileError, match=message) as error:
        read_model(tmp_path)
    assert str(tmp_path / MODEL) in str(error.value)


@pytest.mark.parametrize("kind", ["int4", None, 8, ["int8"], "bf16", "fp32"])
def test_a_wrong_kind_is_refused(tmp_path: Path, kind: object) -> None:
    """The metadata must name the kind that the arrays have."""
    held, metadata = content_of("int8", tmp_path / MODEL)
    (tmp_path / MODEL).write_bytes(save_arrays(held, {"nextchar": json.dumps({**metadata, "weights": kind})}))
    with pytest.raises(ModelFileError, match="is damaged"):
        read_model(tmp_path)


@pytest.mark.parametrize("position", range(30))
@pytest.mark.parametrize("kind", SMALL)
def test_a_cut_file_is_refused(tmp_path: Path, kind: WeightKind, position: int) -> None:
    """Wherever a small file is cut, it is refused in one sentence."""
    nextchar.export(make_model(LETTERS), tmp_path / MODEL, weights=kind)
    content = (tmp_path / MODEL).read_bytes()
    (tmp_path / MODEL).write_bytes(content[: len(content) * position // 30])
    with pytest.raises(ModelFileError, match="damaged"):
        read_model(tmp_path)


@pytest.mark.slow
@given(data=st.data())
def test_a_flipped_byte_is_a_model_or_refused(small_content: bytes, caches: Any, data: st.DataObject) -> None:
    """Whatever byte of the header is changed, nothing but ModelFileError is raised."""
    header = 8 + int.from_bytes(small_content[:8], "little")
    changed = bytearray(small_content)
    for position in data.draw(st.lists(st.integers(0, header - 1), min_size=1, max_size=3)):
        changed[position] = data.draw(st.integers(0, 255) | st.sampled_from(b'0123456789e-.,"{}[]:\\'))
    path = next(caches)
    path.write_bytes(changed)
    try:
        model = read_model(path)
    except ModelFileError:
        return
    assert {name: array.shape for name, array in model.arrays.items()} == model.architecture.shapes(
        len(model.vocabulary)
    )


@pytest.fixture
def small_content(tmp_path: Path) -> bytes:
    """Return the bytes of a file with int8 weights."""
    nextchar.export(make_model(LETTERS), tmp_path / MODEL, weights="int8")
    return (tmp_path / MODEL).read_bytes()


def test_older_readers_see_a_higher_format(tmp_path: Path) -> None:
    """A file with fp32 weights is the one that version 0.1.0 writes; a smaller one has a number that it refuses."""
    lm = make_model(LETTERS)
    nextchar.save(lm, tmp_path / MODEL)
    nextchar.export(tmp_path, tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / MODEL).read_bytes()
    assert "weights" not in content_of("fp32", tmp_path / "a.safetensors")[1]
    assert content_of("fp32", tmp_path / "a.safetensors")[1]["format"] == 1
    assert content_of("bf16", tmp_path / "a.safetensors")[1]["format"] == 2


def test_a_small_model_stays_small(tmp_path: Path) -> None:
    """Loading and saving does not change a file, and the kind can be changed in Python."""
    nextchar.export(make_model(LETTERS), tmp_path / "a.safetensors", weights="int8")
    lm = nextchar.load(tmp_path / "a.safetensors")
    lm.save(tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    whole: ModelFile = to_file(replace(lm, weights="fp32"))
    assert (whole.weights, whole.format) == ("fp32", 1)
