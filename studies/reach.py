"""How far a trained model remembers: closing brackets, loss by length of context, words that recur."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from nextchar.evaluation.errors import SPANS
from nextchar.evaluation.ngram import NGram
from nextchar.evaluation.novelty import WORD
from nextchar.evaluation.score import nats_of
from nextchar.language_model import LanguageModel
from nextchar.model.reading import Chunk, Reader, shift
from nextchar.text.vocabulary import UNKNOWN

OPENING, CLOSING = "([{", ")]}"
LONGEST = 2048
NEAR = (0, 50, 100, 200, 400, 800, 1600, 3200)
Ids = npt.NDArray[Any]


def closers(text: str) -> tuple[Ids, Ids, Ids]:
    """Return the positions of brackets that close one of their kind, their kinds (0 to 2), and the distances to the opening."""
    stack: list[tuple[str, int]] = []
    found = []
    for place, character in enumerate(text):
        if character in OPENING:
            stack.append((character, place))
        elif character in CLOSING and stack:
            opening, before = stack.pop()
            kind = CLOSING.index(character)
            if OPENING.index(opening) == kind:
                found.append((place, kind, place - before))
    places, kinds, distances = np.array(found, np.int64).reshape(-1, 3).T
    return places, kinds, distances


def closing_ids(lm: LanguageModel) -> Ids:
    """Return the ids of the three closing brackets.

    Raises:
        ValueError: The vocabulary lacks one of them.
    """
    ids = lm.vocabulary.find(np.array([ord(bracket) for bracket in CLOSING], np.uint32))
    if (ids == UNKNOWN).any():
        raise ValueError("the text does not have all three kinds of brackets")
    return ids.astype(np.int64)


def kinds_by_network(lm: LanguageModel, ids: Ids, places: Ids) -> Ids:
    """Return the kind of closing bracket that a network finds most likely at each position, reading in order."""
    wanted = torch.from_numpy(closing_ids(lm))
    best = np.empty(len(ids), np.int64)

    def visit(chunk: Chunk) -> None:
        best[chunk.index] = chunk.logits[..., wanted].argmax(-1).numpy()

    Reader(lm.network).read_text(shift(ids, lm.vocabulary.start), lm.network.empty_state(1), visit)
    return best[places]


def kinds_by_ngram(table: NGram, wanted: Ids, ids: Ids, places: Ids) -> Ids:
    """Return the kind of closing bracket that an n-gram table finds most likely at each position."""
    before = table.order - 1
    padded = np.concatenate([np.zeros(before, np.int64), ids.astype(np.int64)])
    contexts = padded[places[:, None] + np.arange(before)]
    losses = []
    for bracket in wanted:
        # The last character of each snippet has its whole context within the snippet.
        snippets = np.concatenate([contexts, np.full((len(places), 1), bracket)], axis=1)
        losses.append(table.nats(snippets.reshape(-1)).reshape(snippets.shape)[:, -1])
    return np.argmin(losses, axis=0)


def accuracy_by_distance(correct: npt.NDArray[np.bool_], distances: Ids) -> list[tuple[int, int, int, float]]:
    """Return (least distance, greatest distance, number, correct share) for each interval of distances."""
    rows = []
    for least, most in zip((1, *(span + 1 for span in SPANS)), (*SPANS, 1 << 30), strict=True):
        inside = (distances >= least) & (distances <= most)
        if inside.any():
            rows.append((least, most, int(inside.sum()), float(correct[inside].mean())))
    return rows


def loss_by_context(lm: LanguageModel, ids: Ids) -> list[tuple[int, int, float]]:
    """Return (least context, greatest context, mean nats) for each interval of context lengths.

    The text is cut into windows of 2,048 characters, each read from the empty state.
    """
    whole = ids[: len(ids) // LONGEST * LONGEST]
    network, start = lm.network, lm.vocabulary.start
    nats = np.concatenate(list(nats_of(network, whole, start, protocol="windows", window=LONGEST)))
    of_place = nats.reshape(-1, LONGEST).mean(0)
    edges = [0, *(2**power for power in range(12))]
    return [(least, most - 1, float(of_place[least:most].mean())) for least, most in pairwise(edges)]


def recurrence_of_words(samples: Sequence[str], counts: Mapping[str, int], rare: int) -> list[float]:
    """Return, for each interval of `NEAR`, how much more likely a rare word is to recur than to occur by chance.

    That is the share of rare words that occur again so many characters later, divided by the share that occur at the
    same positions of the next sample. It is 1 for text without a topic.
    """
    words = [
        [(match.start(), match[0]) for match in WORD.finditer(sample) if 0 < counts.get(match[0], 0) <= rare]
        for sample in samples
    ]
    own, other, of = (np.zeros(len(NEAR) - 1) for _ in range(3))
    for number, mine in enumerate(words):
        theirs = words[(number + 1) % len(words)]
        for place, word in mine:
            for span, (least, most) in enumerate(pairwise(NEAR)):
                if place + most > len(samples[number]):
                    break
                of[span] += 1
                own[span] += any(place + least < at <= place + most and word == each for at, each in mine)
                other[span] += any(place + least < at <= place + most and word == each for at, each in theirs)
    return [float(a / b) if b else float("nan") for a, b in zip(own, np.maximum(other, 0.5), strict=True)]


def rare_below(counts: Counter[str], share: float = 0.3) -> int:
    """Return the largest count among the rarest words that together are a share of all words."""
    sizes = np.sort(np.array(list(counts.values())))
    return int(sizes[np.searchsorted(sizes.cumsum(), share * sizes.sum())])
