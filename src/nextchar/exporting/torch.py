"""Weights for torch: what `torch.nn.Embedding`, `LSTM`, `GRU`, `RNN` and `Linear` load, with the vocabulary."""

from io import BytesIO

import numpy as np
import torch

from nextchar.architecture import WeightKind
from nextchar.storage import ModelFile

PARTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def encode(file: ModelFile, weights: WeightKind) -> bytes:
    """Return a file for `torch.load`, which holds tensors, texts and numbers, and no code.

    The state dict fits an `nn.Embedding` with the name embedding, an `nn.ModuleList` of recurrent layers with the name
    layers, and an `nn.Linear` with the name head.
    """
    del weights  # there is one kind
    shape, vocabulary = file.architecture, file.vocabulary
    # One-hot input is an embedding too: row k has a 1 at k, and that of START none.
    one_hot = np.eye(len(vocabulary) + 1, len(vocabulary), dtype=np.float32)
    arrays = {"embedding.weight": file.arrays.get("embedding.weight", one_hot)}
    for layer in range(shape.layers):
        arrays |= {f"layers.{layer}.{part}_l0": file.arrays[f"layers.{layer}.{part}"] for part in PARTS}
    arrays |= {name: file.arrays[name] for name in ("head.weight", "head.bias")}
    known = [code if vocabulary.units == "bytes" else chr(code) for code in vocabulary.codes]
    content = {
        "state_dict": {name: torch.tensor(array) for name, array in arrays.items()},
        **{name: getattr(shape, name) for name in ("cell", "layers", "hidden", "sum_outputs")},
        "embedding": arrays["embedding.weight"].shape[1],
        "units": vocabulary.units,
        "vocabulary": known,
    }
    out = BytesIO()
    torch.save(content, out)
    return out.getvalue()
