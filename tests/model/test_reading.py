"""The reader: rows and texts, recording, gradients, threads, and the one place that makes log-probabilities."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import nextchar
from conftest import CountingNetwork, make_model
from nextchar.architecture import CELLS
from nextchar.language_model import LanguageModel
from nextchar.model import reading
from nextchar.model.reading import Chunk, Reader, in_parallel, log_probabilities, shift, surprisal, to_numpy
from nextchar.model.recurrence import reference
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Vocabulary

SOURCE = Path(nextchar.__file__).parent
VOCABULARY = Vocabulary("characters", tuple(map(ord, "abcdefg")))


def _ids(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, len(VOCABULARY), size).astype(np.uint8)


def _in_order(lm: LanguageModel, inputs: np.ndarray) -> tuple[torch.Tensor, list[dict[str, torch.Tensor]]]:
    """Read a text as one row, with all signals, in one call of the network."""
    layers: list[dict[str, torch.Tensor]] = []
    with torch.no_grad():
        logits, _ = lm.network(
            torch.from_numpy(inputs.astype(np.int64))[:, None],
            lm.network.empty_state(1),
            recurrence=partial(reference, record=layers),
        )
    return logits[:, 0], [{name: values[:, 0] for name, values in layer.items()} for layer in layers]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("length", [1, 40, 63, 64, 700])
def test_a_text_is_recorded_as_in_order(cell: str, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Read in parts and chunks, every input has the logits and signals of reading in order, and is recorded once."""
    monkeypatch.setattr(reading, "MIN_DEPTH", 128)
    monkeypatch.setattr(reading, "TOLERANCE", 1e-6)
    lm = make_model(VOCABULARY, cell=cell)
    inputs = shift(_ids(length), VOCABULARY.start)
    logits, layers = _in_order(lm, inputs)
    seen = np.zeros(length, int)

    def visit(chunk: Chunk) -> None:
        seen[chunk.index] += 1
        torch.testing.assert_close(chunk.logits, logits[torch.from_numpy(chunk.index)], rtol=0, atol=1e-4)
        for found, expected in zip(chunk.layers, layers, strict=True):
            assert found.keys() == expected.keys()
            for name, values in found.items():
                right = expected[name][torch.from_numpy(chunk.index)]
                torch.testing.assert_close(values, right, rtol=0, atol=1e-4)

    state = Reader(lm.network, 16, record=True).read_text(inputs, lm.network.empty_state(1), visit)
    assert seen.tolist() == [1] * length
    torch.testing.assert_close(state[-1][0][0], layers[-1]["h"][-1], rtol=0, atol=1e-4)


@settings(max_examples=25)
@given(length=st.integers(1, 1500), chunk=st.integers(1, 70), depth=st.integers(1, 300))
def test_no_cut_of_a_text_changes_the_state(length: int, chunk: int, depth: int) -> None:
    """A network that counts its inputs has counted each input once, whatever is read in parallel."""
    counts = np.zeros(length)

    def visit(seen: Chunk) -> None:
        counts[seen.index] = to_numpy(seen.logits.argmax(-1))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "MIN_DEPTH", depth)
        network = CountingNetwork(7)
        state = Reader(network, chunk).read_text(_ids(length), network.empty_state(1), visit)
    assert state[0][0].tolist() == [[length]]
    assert counts.tolist() == [count % 7 for count in range(1, length + 1)]


def test_rows_are_read_independently_in_order() -> None:
    """Rows side by side have the logits of each row alone; chunks come in order; the index selects them."""
    lm = make_model(VOCABULARY)
    inputs = _ids(60).reshape(20, 3)
    found = np.zeros((20, 3, 7))
    firsts = []

    def visit(chunk: Chunk) -> None:
        firsts.append(chunk.index[0].start)
        found[chunk.index] = to_numpy(chunk.logits)

    Reader(lm.network, 8).read(inputs, lm.network.empty_state(3), visit)
    assert firsts == [0, 8, 16]
    for row in range(3):
        np.testing.assert_allclose(found[:, row], _in_order(lm, inputs[:, row])[0], atol=1e-5)


def test_a_visitor_may_differentiate() -> None:
    """With gradients the state is detached between chunks, and weights that a visitor changes take effect at once."""
    lm = make_model(VOCABULARY)
    inputs, weights = _ids(24)[:, None], list(lm.network.parameters())
    losses = []

    def visit(chunk: Chunk) -> None:
        loss = surprisal(chunk.logits, np.roll(inputs[:4], -1, axis=0)).mean()
        gradients = torch.autograd.grad(loss, weights)
        with torch.no_grad():
            for weight, gradient in zip(weights, gradients, strict=True):
                weight.sub_(0.3 * gradient)
        losses.append(loss.item())

    reader = Reader(lm.network, 4, gradients=True)
    state = reader.read(np.tile(inputs[:4], (6, 1)), lm.network.empty_state(1), visit)
    assert not state[0][0].requires_grad
    assert len(losses) == 6
    assert losses[-1] < losses[0]
    plain: list[bool] = []
    Reader(lm.network).read(inputs, lm.network.empty_state(1), lambda chunk: plain.append(chunk.logits.requires_grad))
    assert plain == [False]


def test_a_recurrence_is_made_for_each_chunk() -> None:
    """The number of the first input of every chunk is passed on."""
    lm = make_model(VOCABULARY)
    firsts = []
    reader = Reader(lm.network, 8, recurrence=lambda first: firsts.append(first) or reference)
    reader.read(_ids(20)[:, None], lm.network.empty_state(1))
    assert firsts == [0, 8, 16]


def test_threads_are_given_back() -> None:
    """During a reading torch has one thread beside the compiled kernels, also in parallel; then as many as before."""
    before, during = torch.get_num_threads(), []
    lm = make_model(Corpus.from_text("abc").vocabulary, hidden=16)
    torch.set_num_threads(3)
    try:
        state = lm.network.empty_state(1)
        reader = Reader(lm.network)

        def work(first: int, last: int) -> None:
            for _ in range(first, last):
                reader.read(np.zeros((2, 1)), state, lambda _: during.append(torch.get_num_threads()))

        work(0, 1)
        in_parallel(work, 5)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert during == [1] * 6


def test_log_probabilities_and_surprisal_agree() -> None:
    """The surprisal of an id is minus its log-probability, whatever the shape and the type of the ids."""
    logits = torch.randn(4, 3, 7, generator=torch.Generator().manual_seed(0))
    ids = _ids(12).reshape(4, 3)
    log_p = log_probabilities(logits)
    assert log_p.dtype == torch.float64
    torch.testing.assert_close(log_p.exp().sum(-1), torch.ones(4, 3, dtype=torch.float64))
    for given_ids in (ids, torch.from_numpy(ids.astype(np.int64))):
        found = to_numpy(surprisal(logits, given_ids))
        picked = -log_p.gather(-1, torch.from_numpy(ids.astype(np.int64))[..., None])[..., 0]
        np.testing.assert_allclose(found, picked, atol=1e-6)
    assert surprisal(logits[0], ids[0]).shape == (3,)


def test_a_shifted_text_begins_with_start() -> None:
    """The inputs that predict a text are START and all its ids but the last, in each column."""
    assert shift(np.array([3, 1, 2], np.uint8), 300).tolist() == [300, 3, 1]
    assert shift(np.array([[3, 4], [1, 2]]), 9).tolist() == [[9, 9], [3, 4]]


# The law: what makes probabilities of logits, and who sets torch's threads for a network.
PROBABILITIES = {
    "model/reading.py": "the one place",
    "model/sampler.py": "the sampler's own weights, after temperature",
    "training/learner.py": "the loss of a training step",
    "sampling/cuda_graph.py": "inside a captured graph",
    "discovery/steering.py": "sampling under an intervention",
}
THREADS = {
    "model/reading.py": "every reading",
    "model/network.py": "defines the context",
    "model/compiled.py": "defines the setting",
    "training/learner.py": "the training step",
    "sampling/cuda_graph.py": "the prompt, and every block",
    "serving/observer.py": "one thread beside the scheduler's",
}


@pytest.mark.parametrize(
    ("pattern", "allowed"),
    [(r"log_softmax\(|cross_entropy\(|\bsoftmax\(", PROBABILITIES), (r"\.threads\(\)|own_threads\(", THREADS)],
)
def test_one_place_for_each(pattern: str, allowed: dict[str, str]) -> None:
    """No file besides those listed, each for a reason, makes probabilities of logits or sets threads."""
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if re.search(pattern, path.read_text(encoding="utf-8"))
    }
    assert found - allowed.keys() == set()
    assert "model/reading.py" in found
