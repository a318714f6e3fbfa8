"""What the study of memory measures, on texts and networks whose answer is known."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

import reach
import recall
from conftest import make_model
from nextchar.evaluation.ngram import NGram
from nextchar.text.corpus import Corpus

FIVE = ["lstm, forget bias 5"]
TEXT = "f(a[0]) { g(b) } " * 60


def test_closing_brackets_are_paired() -> None:
    """Only brackets that close their own kind count, at the distance of the one they close."""
    places, kinds, distances = reach.closers("([)](x){ }")
    assert places.tolist() == [6, 9]
    assert kinds.tolist() == [0, 2]
    assert distances.tolist() == [2, 2]


def test_ngrams_know_the_kind_of_a_bracket_nearby() -> None:
    """On a text that repeats itself a table finds every kind, as the whole table's costs have it."""
    corpus = Corpus.from_text(TEXT)
    ids = corpus.take(0, len(corpus))
    places, kinds, distances = reach.closers(TEXT)
    wanted = reach.closing_ids(make_model(corpus.vocabulary))
    guesses = reach.kinds_by_ngram(NGram(ids, len(corpus.vocabulary), order=6), wanted, ids, places[3:])
    assert (guesses == kinds[3:]).all()
    assert reach.accuracy_by_distance(guesses == kinds[3:], distances[3:])[0][3] == 1.0


def test_a_network_is_asked_before_it_reads_the_bracket() -> None:
    """The guess at a place does not change with the character that stands there."""
    corpus = Corpus.from_text(TEXT)
    lm = make_model(corpus.vocabulary, hidden=16)
    ids = corpus.take(0, 40)
    before = reach.kinds_by_network(lm, ids, np.array([5, 6]))
    changed = ids.copy()
    changed[6] = (ids[6] + 1) % len(corpus.vocabulary)
    assert (reach.kinds_by_network(lm, changed, np.array([5, 6])) == before).all()
    with pytest.raises(ValueError, match="three kinds"):
        reach.closing_ids(make_model(Corpus.from_text("abc()").vocabulary))


def test_words_come_again_where_there_is_a_topic() -> None:
    """A text that keeps to its rare word scores high at every distance, one with a new word each time does not."""
    names = [f"name{index}" for index in range(400)]
    topical = ["".join(f"{names[number]} is here. " for _ in range(300)) for number in range(4)]
    mixed = [
        "".join(f"{names[(37 * number + at) % 400]} is here. " for at in range(300)) for number in range(4)
    ]
    counts = Counter(names * 2)
    assert min(reach.words_that_come_again(topical, counts, 5)) > 10
    assert reach.words_that_come_again(mixed, counts, 5)[1] <= 1
    assert reach.rare_below(Counter({"the": 70, "a": 28, "b": 1, "c": 1}), 0.3) == 28


def test_recall_texts_ask_for_their_first_symbol() -> None:
    """A symbol, distractors of other kinds, the question."""
    ids, symbols = recall.batch(7, 5, torch.Generator().manual_seed(0))
    assert ids.shape == (9, 5)
    assert (ids[0] == symbols).all()
    assert ((ids[1:-1] >= recall.SYMBOLS) & (ids[1:-1] < recall.QUESTION)).all()
    assert (ids[-1] == recall.QUESTION).all()


def test_recall_is_learnt_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An lstm recalls across three distractors; what is in the log is not trained again."""
    monkeypatch.setattr(recall, "CHECK_EVERY", 20)
    results = list(recall.recall(tmp_path / "log.jsonl", (3,), 1, FIVE))
    assert results[0].accuracy > 0.99
    assert json.loads((tmp_path / "log.jsonl").read_text(encoding="utf-8"))["distance"] == 3
    assert list(recall.recall(tmp_path / "log.jsonl", (3,), 1, FIVE)) == results
    assert "100.0 %, 1 of 1" in recall.recall_table(results)


def test_recall_gives_up_on_what_no_seed_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the farthest distance that is always tried, the first one at which all fail is the last."""
    monkeypatch.setattr(recall, "FARTHEST", 1)
    monkeypatch.setattr(recall, "learn", lambda *place: recall.Recall(*place, float(place[1] < 2), 1, 0.0))
    tried = [each.distance for each in recall.recall(tmp_path / "log.jsonl", (1, 2, 3, 4), 1, FIVE)]
    assert tried == [1, 2]


def test_gradients_fade_faster_without_gates() -> None:
    """An rnn's gradient is gone where that of an lstm with an open forget gate is not."""
    rnn = recall.gradient_norms("rnn", 0.0, distance=60, hidden=32)
    lstm = recall.gradient_norms("lstm", 5.0, distance=60, hidden=32)
    assert rnn[0] == lstm[0] == 1
    assert rnn[60] < 1e-4 < lstm[60]
