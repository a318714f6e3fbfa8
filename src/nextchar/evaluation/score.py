"""Exact scores: every character once, under a named protocol, summed in float64 and divided once.

*stream* reads the text in order with the state carried from an empty start. *windows* cuts it into non-overlapping
windows, each from the empty state. In both, the first character after an empty state is predicted from START.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from nextchar.errors import TextError, as_integer, check_choice
from nextchar.evaluation.options import ProtocolName
from nextchar.model import reading
from nextchar.model.reading import CHUNK, ROWS, Chunk, Doubles, Ids, Predictor, Reader, shift, surprisal, to_numpy
from nextchar.notebook import card
from nextchar.storage import ModelSource, to_networks
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Unknown, Vocabulary

WINDOW_ROWS = 256  # windows that are read in parallel
BLOCK = 1 << 20  # characters whose surprisals are in memory at a time


@dataclass(frozen=True, slots=True)
class Score:
    """How well a text is predicted.

    Attributes:
        protocol: "stream", "windows", "dynamic" or "ngram-ORDER".
        chars: Characters scored (bytes for a byte model).
        bytes: How many UTF-8 bytes they are.
        nats_per_char: Mean of -ln p over the characters.
        bits_per_char: The same in bits.
        bits_per_byte: Bits divided by bytes: comparable between vocabularies.
    """

    protocol: str
    chars: int
    bytes: int
    nats_per_char: float
    bits_per_char: float
    bits_per_byte: float

    def __str__(self) -> str:
        return f"{self.bits_per_char:.3f} bits per character, {self.protocol}, over {self.chars:,} characters"

    def __repr__(self) -> str:
        return f"<Score {self.bits_per_char:.3f} bits/char, {self.protocol}, {self.chars:,} characters>"

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, for JSON."""
        return asdict(self)

    def _repr_html_(self) -> str:
        facts = [
            ("nats", f"{self.nats_per_char:.4f} per character"),
            ("bytes", f"{self.bits_per_byte:.3f} bits per byte"),
            ("text", f"{self.chars:,} characters, {self.bytes:,} bytes, read by the protocol {self.protocol}"),
        ]
        return card(f"{self.bits_per_char:.3f} bits per character (0 is certain; lower is better)", facts)


def sum_up(protocol: str, blocks: Iterable[Doubles], ids: Ids, vocabulary: Vocabulary) -> Score:
    """Score ids `(T,)` by the surprisals of all of them in nats, block after block, each `(n,)`."""
    nats = 0.0
    for block in blocks:
        nats += math.fsum(block)
    bits, size = nats / math.log(2), vocabulary.size_in_bytes(ids)
    return Score(protocol, len(ids), size, nats / len(ids), bits / len(ids), bits / size)


def evaluate(
    models: ModelSource | Sequence[ModelSource],
    text: str | bytes,
    *,
    protocol: ProtocolName = "stream",
    window: int = 256,
    unknown: Unknown = "error",
) -> Score:
    """Score a text.

    Args:
        models: A model, its file or its path; or a list of several of one vocabulary, whose probabilities are averaged.
        text: At least one character that the model knows.
        protocol: "stream" or "windows".
        window: Characters of a window.
        unknown: "error", or "skip" to leave out characters that are not in the model's vocabulary.

    Raises:
        UnknownCharacterError: The text has characters that are not in the vocabulary.
        TextError: No character is left to score.
        ConfigError: The vocabularies differ, or an option has an invalid value.
    """
    networks, vocabulary = to_networks(models)
    ids = vocabulary.encode(text, unknown=unknown)
    return score_ids(networks, ids, vocabulary, protocol=protocol, window=window)


def score_ids(
    network: Predictor | Sequence[Predictor],
    ids: Ids,
    vocabulary: Vocabulary,
    *,
    protocol: ProtocolName = "stream",
    window: int = 256,
) -> Score:
    """Score ids `(T,)`."""
    blocks = nats_of(network, ids, vocabulary.start, protocol=protocol, window=window)
    return sum_up(protocol, blocks, ids, vocabulary)


def estimate(network: Predictor, ids: Ids, vocabulary: Vocabulary) -> Score:
    """Score a *stream* in bounded time: that of three readings; see `Reader.read_text` with `exact=False`."""
    return sum_up("stream", stream(network, ids, vocabulary.start, exact=False), ids, vocabulary)


def score_spread(network: Predictor, text: Corpus, vocabulary: Vocabulary, limit: int) -> Score:
    """Score a text, or, if it is longer than `limit`, stretches spread over it, each from the empty state.

    The beginning alone would be a biased sample: it follows the training text, so a loss there depends most on how
    recently the network read the end of that.
    """
    if len(text) <= limit:
        return estimate(network, text.take(0, len(text)), vocabulary)
    stretches = spread(text, limit)
    return score_ids(network, stretches.reshape(-1), vocabulary, protocol="windows", window=stretches.shape[1])


def spread(text: Corpus, limit: int) -> Ids:
    """Return stretches spread over a text that is longer than `limit`, `(N, W)`."""
    window = min(reading.MIN_DEPTH, max(1, limit // 4))
    starts = np.linspace(0, len(text) - window, limit // window).astype(int)
    return np.stack([text.take(start, start + window) for start in starts])


def nats_of(
    network: Predictor | Sequence[Predictor],
    ids: Ids,
    start: int,
    *,
    protocol: ProtocolName = "stream",
    window: int = 256,
) -> Iterator[Doubles]:
    """Yield the surprisal of every character in nats, block after block, in the order of the text.

    Args:
        network: Any predictor; or several, whose probabilities are averaged.
        ids: `(T,)`, at least one.
        start: The id of START.
        protocol: "stream" or "windows".
        window: Characters of a window.
    """
    if not len(ids):
        raise TextError("there is no character to score")
    check_choice("protocol", protocol, ProtocolName)
    window = as_integer("the window", window, "1 or more", 1)
    if isinstance(network, Sequence):
        parts = [nats_of(each, ids, start, protocol=protocol, window=window) for each in network]
        return (averaged(blocks) for blocks in zip(*parts, strict=True))
    return windows(network, ids, start, window) if protocol == "windows" else stream(network, ids, start)


def averaged(nats: Sequence[Doubles]) -> Doubles:
    """Return the surprisals under the mean of several models' probabilities, from those under each, all `(T,)`."""
    return math.log(len(nats)) - np.logaddexp.reduce([-each for each in nats], axis=0)


def windows(network: Predictor, ids: Ids, start: int, window: int) -> Iterator[Doubles]:
    """Score windows in parallel, each from the empty state; the last may be shorter."""
    whole = len(ids) - len(ids) % window
    together = max(1, min(WINDOW_ROWS, BLOCK // window)) * window
    for begin in range(0, len(ids), together):
        end = min(begin + together, whole) if begin < whole else len(ids)
        # The shorter window is read with the last batch of whole ones if that batch is not full.
        shorter = [] if end in (begin + together, len(ids)) else [(end, len(ids))]
        for first, last in [(begin, end), *shorter]:
            targets = ids[first:last].reshape(-1, min(window, last - first)).T
            state = network.empty_state(targets.shape[1])
            nats, _ = Reader(network).surprisals(shift(targets, start), targets, state)
            yield nats.T.reshape(-1)


def stream(network: Predictor, ids: Ids, start: int, *, rows: int = ROWS, exact: bool = True) -> Iterator[Doubles]:
    """Score a text in order, the state carried; see `Reader.read_text` for the last two arguments."""
    state, before = network.empty_state(1), start
    for begin in range(0, len(ids), BLOCK):
        block = ids[begin : begin + BLOCK]
        nats = np.empty(len(block))

        def visit(chunk: Chunk, nats: Doubles = nats, block: Ids = block) -> None:
            nats[chunk.index] = to_numpy(surprisal(chunk.logits, block[chunk.index]))

        reader = Reader(network, CHUNK)
        state = reader.read_text(shift(block, before), state, visit, rows=rows, exact=exact)
        yield nats
        before = int(block[-1])
