"""Weights of torch's own modules become a model: equal log-probabilities, any names, and what is refused."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import nextchar
from conftest import make_model
from nextchar.errors import ConfigError, ModelFileError
from nextchar.language_model import LanguageModel
from nextchar.storage import to_file
from nextchar.text.vocabulary import Vocabulary

KNOWN = "ba \né€"  # not in ascending order
TEXT = "ab é€\nba a b€éba\n\nab"
LETTERS = Vocabulary("characters", tuple(sorted(map(ord, KNOWN))))


class Foreign(nn.Module):
    """A model as people write it: an embedding, one module for all layers, and an output layer."""

    def __init__(
        self, cell: str = "LSTM", *, layers: int = 2, hidden: int = 8, embedding: int = 5, **options: Any
    ) -> None:
        super().__init__()
        self.encoder = nn.Embedding(len(KNOWN), embedding)
        self.rnn = getattr(nn, cell)(embedding, hidden, layers, **options)
        self.decoder = nn.Linear(hidden, len(KNOWN))

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits of ids `(T, 1)`."""
        outputs, _ = self.rnn(self.encoder(ids))
        logits: Tensor = self.decoder(outputs)
        return logits


def foreign(*words: Any, **options: Any) -> Foreign:
    """Return a model with clear predictions."""
    torch.manual_seed(0)
    model = Foreign(*words, **options)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2)
    return model


def nats(model: nn.Module, text: str) -> float:
    """Return the mean of -log p of all characters of a text but the first, as plain torch code computes it."""
    ids = torch.tensor([KNOWN.index(each) for each in text])
    with torch.no_grad():
        logits = model(ids[:-1, None])[:, 0].double()
    return float(nn.functional.cross_entropy(logits, ids[1:]))


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("options", [{}, {"layers": 1}, {"layers": 3, "bias": False}, {"embedding": 8}])
def test_a_model_of_plain_torch_has_equal_scores(cell: str, options: dict[str, Any]) -> None:
    """What nextchar scores after START is what the modules score after a line break."""
    model = foreign(cell, **options)
    lm = nextchar.import_weights(model.state_dict(), list(KNOWN))
    assert lm.network.architecture.cell == cell.lower()
    assert lm.vocabulary == LETTERS
    assert lm.score(TEXT).nats_per_char == pytest.approx(nats(model, "\n" + TEXT), abs=1e-6)


def test_any_character_can_stand_for_start() -> None:
    """`start` is what the text seems to follow."""
    model = foreign()
    lm = nextchar.import_weights(model.state_dict(), list(KNOWN), start="é")
    assert lm.score(TEXT).nats_per_char == pytest.approx(nats(model, "é" + TEXT), abs=1e-6)


@pytest.mark.parametrize(("known", "start"), [(list(KNOWN), ""), (list("ba .é€"), None)])
def test_start_can_be_nothing(known: list[str], start: str | None) -> None:
    """An empty start, or a vocabulary without a line break, gives an input of zeros."""
    lm = nextchar.import_weights(foreign().state_dict(), known, start=start)
    table = to_file(lm).arrays["embedding.weight"]
    assert len(table) == len(KNOWN) + 1
    assert not table[-1].any()


def test_a_row_for_start_is_taken() -> None:
    """An embedding with one more row than characters has START; asking for another is a contradiction."""
    state = foreign().state_dict()
    state["encoder.weight"] = torch.cat([state["encoder.weight"], torch.full((1, 5), 7.0)])
    lm = nextchar.import_weights(state, list(KNOWN))
    assert (to_file(lm).arrays["embedding.weight"][-1] == 7).all()
    with pytest.raises(ConfigError, match="has a row for START"):
        nextchar.import_weights(state, list(KNOWN), start="\n")


class OneHot(nn.Module):
    """A model without an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.core = nn.GRU(len(KNOWN), 8, 2)
        self.out = nn.Linear(8, len(KNOWN), bias=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Return the logits of ids `(T, 1)`."""
        logits: Tensor = self.out(self.core(nn.functional.one_hot(ids, len(KNOWN)).float())[0])
        return logits


def test_one_hot_input_is_recognised() -> None:
    """Without an embedding the input is one-hot, and an output layer may have no bias."""
    torch.manual_seed(0)
    model = OneHot()
    lm = nextchar.import_weights(model.state_dict(), list(KNOWN))
    assert lm.score(TEXT).nats_per_char == pytest.approx(nats(model, "\n" + TEXT), abs=1e-6)
    plain = nextchar.import_weights(model.state_dict(), list(KNOWN), start="")
    assert plain.network.architecture.embedding == 0
    with torch.no_grad():
        logits = plain.network(torch.tensor([[1], [2]]), plain.network.empty_state(1))[0]
        expected = model(torch.tensor([[KNOWN.index(chr(LETTERS.codes[id_]))] for id_ in (1, 2)]))
    order = [KNOWN.index(chr(code)) for code in LETTERS.codes]
    torch.testing.assert_close(logits, expected[..., order], rtol=0, atol=1e-6)


@pytest.mark.parametrize("units", ["characters", "bytes"])
@pytest.mark.parametrize(
    "shape",
    [
        {"cell": "lstm"},
        {"cell": "gru", "layers": 3, "sum_outputs": False},
        {"cell": "rnn", "embedding": 0, "layers": 11},
    ],
)
def test_export_and_import_are_a_round_trip(tmp_path: Path, shape: dict[str, Any], units: str) -> None:
    """Weights, shape and vocabulary come back to the bit, and so do scores."""
    vocabulary = LETTERS if units == "characters" else Vocabulary("bytes", (10, 65, 200))
    lm = make_model(vocabulary, **shape)
    nextchar.export(lm, tmp_path / "a.pt")
    again = nextchar.import_weights(tmp_path / "a.pt")
    assert again.network.architecture == lm.network.architecture
    assert again.vocabulary == vocabulary
    one, other = to_file(lm).arrays, to_file(again).arrays
    assert all(np.array_equal(one[name], other[name]) for name in one)
    text = TEXT if units == "characters" else b"AA\n\xc8A"
    assert again.score(text) == lm.score(text)


@pytest.mark.parametrize("ending", ["json", "ids.json", "txt", "editor.txt"])
def test_vocabularies_are_read_from_files(tmp_path: Path, shell: Callable[..., SimpleNamespace], ending: str) -> None:
    """A list, ids by character, and the characters themselves, with or without the line end of an editor."""
    model = foreign()
    save_file(model.state_dict(), tmp_path / "weights.safetensors")
    contents = {
        "json": json.dumps(list(KNOWN)),
        "ids.json": json.dumps({each: number for number, each in reversed(list(enumerate(KNOWN)))}),
        "txt": KNOWN,
        "editor.txt": KNOWN + "\n",
    }
    (tmp_path / f"known.{ending}").write_text(contents[ending], encoding="utf-8", newline="")
    words = ("--vocabulary", tmp_path / f"known.{ending}", "-o", tmp_path / "new" / "a.safetensors")
    said = shell("import", tmp_path / "weights.safetensors", *words, "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out) == {
        "model": str(tmp_path / "new" / "a.safetensors"),
        "cell": "lstm",
        "layers": 2,
        "hidden": 8,
        "embedding": 5,
        "sum_outputs": False,
        "vocabulary": 6,
        "units": "characters",
    }
    assert "a.safetensors: lstm 2x8, embedding 5, 6 characters\n" in said.err
    assert nextchar.evaluate(tmp_path / "new" / "a.safetensors", TEXT).nats_per_char == pytest.approx(
        nats(model, "\n" + TEXT), abs=1e-6
    )
    assert "elsewhere; imported from weights.safetensors\n" in shell("info", tmp_path / "new" / "a.safetensors").out
    assert shell("sample", tmp_path / "new" / "a.safetensors", "-n", 5).code == 0


def test_bare_weights_of_a_sum_need_their_flag(tmp_path: Path, shell: Callable[..., SimpleNamespace]) -> None:
    """A state dict alone does not say what its output layer reads; the file of export does."""
    lm = make_model(LETTERS)
    nextchar.export(lm, tmp_path / "a.pt")
    bare = torch.load(tmp_path / "a.pt", weights_only=True)["state_dict"]
    save_file(bare, tmp_path / "a.safetensors")
    (tmp_path / "known.txt").write_text(LETTERS.decode(range(len(LETTERS))), encoding="utf-8", newline="")
    words = (
        "import",
        tmp_path / "a.safetensors",
        "--vocabulary",
        tmp_path / "known.txt",
        "-o",
        tmp_path / "b.safetensors",
    )
    assert shell(*words, "--sum-outputs").code == 0
    assert nextchar.evaluate(tmp_path / "b.safetensors", TEXT) == lm.score(TEXT)
    assert shell(*words).code == 0
    assert nextchar.evaluate(tmp_path / "b.safetensors", TEXT) != lm.score(TEXT)


def test_an_imported_model_can_be_trained(
    tmp_path: Path, lm: LanguageModel, text_file: Path, shell: Callable[..., SimpleNamespace]
) -> None:
    """A run can start from it."""
    nextchar.export(lm, tmp_path / "a.pt")
    nextchar.import_weights(tmp_path / "a.pt").save(tmp_path / "a.safetensors")
    words = ("train", text_file, "-o", tmp_path / "run", "--init-from", tmp_path / "a.safetensors", "--steps", 1)
    assert shell(*words, "--batch-size", 2).code == 0
    assert nextchar.read_model(tmp_path / "run").architecture == lm.network.architecture


def changed(**changes: Any) -> dict[str, Tensor]:
    """Return the weights of a model, some of them changed; those of None are missing."""
    given = {name.replace("__", "."): value for name, value in changes.items()}
    return {name: value for name, value in {**foreign().state_dict(), **given}.items() if value is not None}


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (lambda: foreign(bidirectional=True).state_dict(), "is of a bidirectional layer"),
        (lambda: foreign(proj_size=3).state_dict(), r"is not of a plain LSTM, GRU or RNN \(proj_size"),
        (lambda: changed(rnn__bias_hh_l1=None), "a recurrent layer has no bias_hh"),
        (lambda: changed(rnn__weight_ih_l0=None), "a recurrent layer has no weight_ih"),
        (lambda: changed(rnn__weight_hh_l0=torch.zeros(40, 8)), "is neither an LSTM, a GRU nor an RNN"),
        (lambda: changed(rnn__weight_hh_l1=torch.zeros(24, 8)), r"layers.1.weight_hh would have shape \(24, 8\)"),
        (lambda: changed(norm__weight=torch.zeros(8)), "norm.weight is of no embedding, recurrent or output layer"),
        (lambda: changed(decoder__weight=None, decoder__bias=None), "the weights have no output layers"),
        (
            lambda: changed(other__weight=torch.zeros(6, 8), other__bias=torch.zeros(6)),
            "the weights have 2 output layers",
        ),
        (lambda: changed(encoder__weight=None), "there is no embedding, and the first layer reads 5 values, not 6"),
        (lambda: changed(encoder__weight=torch.zeros(9, 5)), "embedding.weight would have shape"),
        (lambda: changed(decoder__bias=torch.full((6,), float("nan"))), "the weights in decoder.bias are not finite"),
        (lambda: {"a": torch.zeros(3)}, "the weights have no LSTM, GRU or RNN"),
        (dict, "the weights have no LSTM, GRU or RNN"),
        (lambda: {"epoch": 3}, "the weights have 'epoch', which is no tensor"),
    ],
)
def test_other_models_are_refused(weights: Callable[[], dict[str, Any]], message: str) -> None:
    """What does not fit is named in one sentence."""
    with pytest.raises(ModelFileError, match=message) as error:
        nextchar.import_weights(weights(), list(KNOWN))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (None, "the weights come without a vocabulary"),
        (list("abc"), "the vocabulary has 3 characters, but the output layer predicts 6"),
        (list("abcdea"), r"the vocabulary has 'a' \(U\+0061\) twice"),
        ([*"abcde", "<unk>"], "the vocabulary has '<unk>', but each entry must be one character"),
        ([*"abcde", 7], "the vocabulary has 7, but each entry must be one character"),
        ({"a": 1, "b": 2}, "are not 0, 1, 2"),
        (set("abcdef"), "a vocabulary is a list of characters, but set was given"),
        (Path("gone.txt"), "the vocabulary gone.txt cannot be read"),
    ],
)
def test_vocabularies_that_do_not_fit_are_refused(known: Any, message: str) -> None:
    """A vocabulary must have one entry, a character, for each output."""
    with pytest.raises(ConfigError, match=message):
        nextchar.import_weights(foreign().state_dict(), known)


@pytest.mark.parametrize("start", ["x", "ab"])
def test_a_start_must_be_a_character(start: str) -> None:
    """One that the vocabulary lacks is refused."""
    with pytest.raises(ConfigError, match=f"the start is '{start}', which is not one of the characters"):
        nextchar.import_weights(foreign().state_dict(), list(KNOWN), start=start)


class Code:
    """What must never be run."""

    def __reduce__(self) -> tuple[Any, ...]:
        return pytest.fail, ("code was run",)


def test_files_that_hold_more_or_less_than_weights_are_refused(
    tmp_path: Path, lm: LanguageModel, shell: Callable[..., SimpleNamespace]
) -> None:
    """Code in a pickle is not run; damaged files and models of nextchar are told apart."""
    torch.save({"weights": Code()}, tmp_path / "code.pt")
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps(Code()))
    (tmp_path / "text.pt").write_text("It was the best of times", encoding="utf-8")
    (tmp_path / "empty.pt").touch()
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{")
    torch.save([1], tmp_path / "list.pt")
    nextchar.save(lm, tmp_path / "model.safetensors")
    damaged = "is damaged, or holds more than weights"
    for name, message in {
        "code.pt": damaged,
        "pickle.pt": damaged,
        "text.pt": damaged,
        "empty.pt": damaged,
        "cut.safetensors": damaged,
        "list.pt": "holds a list, not the state dict of a model",
        "model.safetensors": "is a model of nextchar; every command reads it as it is",
        "gone.pt": "there is no file",
    }.items():
        said = shell("import", tmp_path / name, "-o", tmp_path / "out.safetensors")
        assert said.code == 1
        assert message in said.err
        assert said.err.count("\n") == 1
    assert not (tmp_path / "out.safetensors").exists()


def test_what_is_read_is_not_overwritten(tmp_path: Path, shell: Callable[..., SimpleNamespace]) -> None:
    """The weights stay as they are."""
    save_file(foreign().state_dict(), tmp_path / "a.safetensors")
    before = (tmp_path / "a.safetensors").read_bytes()
    said = shell("import", tmp_path / "a.safetensors", "-o", tmp_path / "a.safetensors")
    assert "is what is read; name another file" in said.err
    assert (tmp_path / "a.safetensors").read_bytes() == before
