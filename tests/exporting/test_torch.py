"""Weights for torch: the reader of the documentation computes the same logits from them."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import nextchar
from conftest import make_model
from nextchar.storage import to_file
from nextchar.text.vocabulary import Vocabulary

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
LETTERS = Vocabulary("characters", tuple(map(ord, "\n abé€")))
SHAPES: list[dict[str, Any]] = [
    {"cell": "lstm", "layers": 2},
    {"cell": "lstm", "layers": 1, "embedding": 0, "sum_outputs": False},
    {"cell": "gru", "layers": 3, "sum_outputs": False},
    {"cell": "gru", "layers": 1},
    {"cell": "rnn", "layers": 2, "embedding": 0},
]


def reader() -> str:
    """Return the reader of the documentation."""
    block = re.search(r"## Weights for torch.*?```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    return block[1]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_reader_of_the_documentation_computes_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shape: dict[str, Any]
) -> None:
    """The class in docs/export.md, run as it stands there, has the logits of the model, also over two pieces."""
    monkeypatch.chdir(tmp_path)
    lm = make_model(LETTERS, **shape)
    nextchar.export(lm, "book.pt")
    names: dict[str, Any] = {}
    exec(compile(reader(), PAGE.name, "exec"), names)  # noqa: S102
    ids = torch.tensor([[6, 6], [0, 5], [3, 1], [2, 2], [4, 0]])
    with torch.no_grad():
        expected, _ = lm.network(ids, lm.network.empty_state(2))
        first, states = names["model"](ids[:3], [None] * lm.network.architecture.layers)
        second, _ = names["model"](ids[3:], states)
        torch.testing.assert_close(torch.cat([first, second]), expected, rtol=0, atol=1e-6)
        start = lm.network(torch.tensor([[6]]), lm.network.empty_state(1))[0]
        torch.testing.assert_close(names["logits"], start, rtol=0, atol=1e-6)


def test_the_file_holds_the_vocabulary_and_no_code(tmp_path: Path) -> None:
    """The safe reader of torch opens it; characters are texts and bytes numbers, both in the order of ids."""
    lm = make_model(LETTERS)
    nextchar.export(lm, tmp_path / "one.pt")
    saved = torch.load(tmp_path / "one.pt", weights_only=True)
    assert saved["vocabulary"] == ["\n", " ", "a", "b", "é", "€"]
    assert {name: saved[name] for name in ("cell", "layers", "hidden", "embedding", "sum_outputs", "units")} == {
        **lm.network.architecture.as_dict(),
        "units": "characters",
    }
    for name, array in to_file(lm).arrays.items():
        assert np.array_equal(saved["state_dict"][name + "_l0" * name.startswith("layers")].numpy(), array)
    nextchar.export(make_model(Vocabulary("bytes", (0, 65, 255))), tmp_path / "two.pt")
    assert torch.load(tmp_path / "two.pt", weights_only=True)["vocabulary"] == [0, 65, 255]
