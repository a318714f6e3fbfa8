"""A network with weights set by hand, so that its units follow from equations."""

import math

import torch

from nextchar.architecture import Architecture
from nextchar.language_model import LanguageModel
from nextchar.model.network import Network
from nextchar.text.vocabulary import Vocabulary

LATCH, DEPTH, COLUMN, W, WW, WWW = range(6)
DISTRACTORS = 61
TEXT = "see [the (a (b) c) link]\nand www. or ww w [x]\n\n((deep) in [brackets (w)]) wwww\n"
VOCABULARY = Vocabulary("characters", tuple(sorted(set(map(ord, TEXT)))))
FULL = 20.0  # a gate whose sum is so large is open to the last bit of float32, and shut to 2e-9


def golden_model() -> LanguageModel:
    """Return an lstm of one layer that reads one-hot characters: six units set by hand, and 61 random ones."""
    hidden = 6 + DISTRACTORS
    network = Network(Architecture(layers=1, hidden=hidden, embedding=0), len(VOCABULARY))
    random = torch.Generator().manual_seed(0)
    (layer,) = network.layers
    assert isinstance(layer, torch.nn.ParameterDict)
    inputs, recurrent = (w.detach().view(4, hidden, -1) for w in (layer.weight_ih, layer.weight_hh))
    bias = layer.bias_ih.detach().view(4, hidden)
    i, f, g, o = range(4)
    inputs[:, 6:] = torch.randn(inputs[:, 6:].shape, generator=random)
    recurrent[:, 6:] = 0.25 * torch.randn(recurrent[:, 6:].shape, generator=random)
    bias[f, 6:] = 1.5
    bias[i, :6], bias[f, :6], bias[g, :6], bias[o, :6] = -FULL, FULL, FULL, FULL

    def on(gate: int, unit: int, characters: str, value: float) -> None:
        for character in characters:
            inputs[gate, unit, VOCABULARY.codes.index(ord(character))] = value

    on(i, LATCH, "[", 2 * FULL)
    on(f, LATCH, "]", -2 * FULL)
    bias[g, DEPTH] = 0
    on(i, DEPTH, "()", 2 * FULL)
    on(g, DEPTH, "(", math.atanh(0.1))
    on(g, DEPTH, ")", -math.atanh(0.1))
    everything = "".join(map(chr, VOCABULARY.codes))
    bias[g, COLUMN] = math.atanh(0.01)
    on(i, COLUMN, everything.replace("\n", ""), 2 * FULL)
    on(f, COLUMN, "\n", -2 * FULL)
    bias[f, W : WWW + 1] = -FULL
    on(i, W, "w", 2 * FULL)
    for unit in (WW, WWW):  # opens on w, and only if the unit before it is on: h = tanh(1)
        bias[i, unit] = -3 * FULL
        on(i, unit, "w", 2 * FULL)
        recurrent[i, unit, unit - 1] = 2 * FULL / math.tanh(1)
    network.head.weight.detach().normal_(generator=random)
    return LanguageModel(network, VOCABULARY)


def expected_cells(text: str) -> list[list[float]]:
    """Return what the six cells hold after each character, by counting: `(T, 6)`."""
    rows, inside, depth, column, run = [], 0.0, 0, 0, 0
    for character in text:
        inside = inside + 1.0 if character == "[" else 0.0 if character == "]" else inside
        depth += {"(": 1, ")": -1}.get(character, 0)
        column = 0 if character == "\n" else column + 1
        run = run + 1 if character == "w" else 0
        rows.append([inside, 0.1 * depth, 0.01 * column, *(float(run >= n) for n in (1, 2, 3))])
    return rows
