"""One HTML file: its engine draws what Python's draws."""

from typing import Any

import numpy as np
import pytest

from conftest import make_model
from exporting.node import NODE, ids, run
from nextchar.architecture import WeightKind
from nextchar.exporting.html import engine_data
from nextchar.kernels.cpu import HAS_FMA
from nextchar.sampling.compiled import CompiledNetwork
from nextchar.sampling.sample import sample
from nextchar.storage import to_file
from nextchar.text.vocabulary import Vocabulary

in_node = pytest.mark.skipif(NODE is None, reason="node is not installed")
fused = pytest.mark.skipif(not HAS_FMA, reason="without fused multiply-add Python rounds otherwise")

LETTERS = Vocabulary("characters", tuple(map(ord, "\n abcdefghijé€🙂")))
BYTES = Vocabulary("bytes", tuple(range(256)))
SHAPES: list[dict[str, Any]] = [
    {"cell": "lstm", "layers": 2, "hidden": 40},
    {"cell": "lstm", "layers": 1, "hidden": 17, "embedding": 0, "sum_outputs": False},
    {"cell": "gru", "layers": 3, "hidden": 33, "sum_outputs": False},
    {"cell": "gru", "layers": 2, "hidden": 32, "embedding": 0},
    {"cell": "rnn", "layers": 2, "hidden": 70},
]
LENGTH = 1500
DRAWS: list[dict[str, Any]] = [
    {"temperature": 0, "seed": 0},
    {"seed": 0},
    {"seed": 2**31 - 1, "temperature": 0.7},
    {"seed": 2**150 + 5, "temperature": 1.5, "top_k": 4},
    {"seed": 3, "top_p": 0.8},
    {"seed": 4, "min_p": 0.1, "temperature": 2},
    {"seed": 5, "top_k": 9, "top_p": 0.95, "min_p": 0.02, "temperature": 1e-3},
]


def call(prompt: str, **options: object) -> dict[str, Any]:
    """Return the call of the page for options of `sample`."""
    names = {"top_k": "topK", "top_p": "topP", "min_p": "minP"}
    given = {names.get(name, name): value for name, value in options.items()}
    return {"task": "generate", "prompt": prompt, "length": LENGTH, **given, "seed": str(given.get("seed", 0))}


@in_node
@fused
@pytest.mark.slow
@pytest.mark.parametrize("weights", ["int8", "fp32"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_same_seed_gives_the_same_text(shape: dict[str, Any], weights: WeightKind) -> None:
    """Every cell, with all ways of drawing, with a prompt: the same characters as `nextchar.sample`, and their ln p."""
    file = to_file(make_model(LETTERS, **shape))
    replies, checked = run(engine_data(file, weights), [call("aé🙂\n", **options) for options in DRAWS])
    for options, reply in zip(DRAWS, replies, strict=True):
        expected = sample(file, "aé🙂\n", length=LENGTH, weights=weights, **options)
        assert "".join(chr(LETTERS.codes[id_]) for id_ in ids(reply)) == expected.text
        assert -np.array([step["logprob"] for step in reply["steps"]]) == pytest.approx(expected.nats, abs=2e-6)
    assert checked["checked"]["characters"] == 200
    assert checked["checked"]["largest"] < 2e-6


@in_node
@fused
@pytest.mark.parametrize("vocabulary", [LETTERS, BYTES], ids=["characters", "bytes"])
def test_a_text_is_scored_with_alternatives_and_neurons(vocabulary: Vocabulary) -> None:
    """Every character of a text with its ln p, those of the likeliest in order, and what the chosen neurons hold after it."""
    file = to_file(make_model(vocabulary))
    chosen = [(0, 3), (1, 7)]
    text = "a bé🙂€\n"
    (reply,), _ = run(engine_data(file, "int8", chosen), [{"task": "score", "text": text, "alternatives": 3}])
    network = CompiledNetwork(file, "int8")
    given = vocabulary.encode(text)
    assert ids(reply) == given.tolist()
    nats, _ = network.read(given)
    assert [step["logprob"] for step in reply["steps"]] == pytest.approx((-nats).tolist(), abs=2e-6)
    for place, step in enumerate(reply["steps"]):
        _, state = network.read(given[: place + 1])
        memory = state.memory.reshape(2, -1)
        assert step["neurons"] == pytest.approx([np.tanh(memory[at]) for at in chosen], abs=1e-6)
        before = network.read(given[:place])[1] if place else network.start
        logits = before.logits[0, : len(vocabulary)].astype(np.float64)
        order = np.argsort(-logits, kind="stable")[:3]
        assert [id_ for id_, _ in step["alternatives"]] == order.tolist()
        logprobs = logits - np.log(np.exp(logits).sum())
        assert [each for _, each in step["alternatives"]] == pytest.approx(logprobs[order].tolist(), abs=1e-6)


@in_node
@fused
def test_a_text_ends_before_a_stop_string() -> None:
    """The first stop string ends it, of two that end together the longer; one with an unknown character never comes."""
    file = to_file(make_model(LETTERS))
    whole = sample(file, "", length=LENGTH, weights="int8").text
    cases = [(whole[40:43],), (whole[31:33], whole[30:33]), ("z",), ("az", whole[100:104]), (whole[-3:],)]
    calls = [call("", stop=list(stop)) for stop in cases]
    for stop, reply in zip(cases, run(engine_data(file, "int8"), calls)[0], strict=True):
        expected = sample(file, "", length=LENGTH, weights="int8", stop=stop).text
        assert "".join(chr(LETTERS.codes[id_]) for id_ in ids(reply)) == expected
        assert len(expected) < LENGTH or stop == ("z",)


@in_node
def test_what_is_unknown_is_named() -> None:
    """A prompt or a text with characters that the model does not have is refused in one sentence."""
    calls = [call("aZ\t"), {"task": "score", "text": "Z"}, {"task": "score", "text": "a"}]
    replies, _ = run(engine_data(to_file(make_model(LETTERS)), "int8"), calls)
    assert [reply.get("error") for reply in replies] == [
        "The text has characters that this model has never seen: 'Z' (U+005A), (U+0009).",
        "The text has characters that this model has never seen: 'Z' (U+005A).",
        None,
    ]


@in_node
def test_damaged_weights_are_found() -> None:
    """What cannot be unpacked is reported; other numbers differ from the stored log-probabilities."""
    data = engine_data(to_file(make_model(LETTERS)), "int8")
    arrays = data["arrays"]
    cut = run({**data, "arrays": {**arrays, "first": arrays["first"][:-8]}})[1]
    assert cut["damaged"]
    other = engine_data(to_file(make_model(LETTERS, seed=1)), "int8")["arrays"]
    assert run({**data, "arrays": {**arrays, "head": other["head"]}})[1]["checked"]["largest"] > 0.01
