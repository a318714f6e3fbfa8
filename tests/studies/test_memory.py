"""The measures of the study of memory, on texts and networks with known answers."""

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
    """Only brackets that close their own kind count, at the distance of their opening bracket."""
    places, kinds, distances = reach.closers("([)](x){ }")
    assert places.tolist() == [6, 9]
    assert kinds.tolist() == [0, 2]
    assert distances.tolist() == [2, 2]


def test_ngrams_find_the_kind_of_a_bracket_nearby() -> None:
    """On a repetitive text the table finds every kind."""
    corpus = Corpus.from_text(TEXT)
    ids = corpus.take(0, len(corpus))
    places, kinds, distances = reach.closers(TEXT)
    wanted = reach.closing_ids(make_model(corpus.vocabulary))
    guesses = reach.kinds_by_ngram(NGram(ids, len(corpus.vocabulary), order=6), wanted, ids, places[3:])
    assert (guesses == kinds[3:]).all()
    assert reach.accuracy_by_distance(guesses == kinds[3:], distances[3:])[0][3] == 1.0


def test_a_network_predicts_before_it_reads_the_bracket() -> None:
    """The prediction at a position does not depend on the character at that position."""
    corpus = Corpus.from_text(TEXT)
    lm = make_model(corpus.vocabulary, hidden=16)
    ids = corpus.take(0, 40)
    before = reach.kinds_by_network(lm, ids, np.array([5, 6]))
    changed = ids.copy()
    changed[6] = (ids[6] + 1) % len(corpus.vocabulary)
    assert (reach.kinds_by_network(lm, changed, np.array([5, 6])) == before).all()
    with pytest.raises(ValueError, match="three kinds"):
        reach.closing_ids(make_model(Corpus.from_text("abc()").vocabulary))


@pytest.mark.slow
def test_words_recur_where_there_is_a_topic() -> None:
    """A text that repeats its rare word scores high at every distance, one with a new word each time does not."""
    names = [f"name{index}" for index in range(400)]
    topical = ["".join(f"{names[number]} is here. " for _ in range(300)) for number in range(4)]
    mixed = ["".join(f"{names[(37 * number + at) % 400]} is here. " for at in range(300)) for number in range(4)]
    counts = Counter(names * 2)
    assert min(reach.recurrence_of_words(topical, counts, 5)) > 10
    assert reach.recurrence_of_words(mixed, counts, 5)[1] <= 1
    assert reach.rare_below(Counter({"the": 70, "a": 28, "b": 1, "c": 1}), 0.3) == 28


def test_recall_texts_ask_for_their_first_symbol() -> None:
    """A symbol, distractors of other kinds, the question."""
    ids, symbols = recall.batch(7, 5, torch.Generator().manual_seed(0))
    assert ids.shape == (9, 5)
    assert (ids[0] == symbols).all()
    assert ((ids[1:-1] >= recall.SYMBOLS) & (ids[1:-1] < recall.QUESTION)).all()
    assert (ids[-1] == recall.QUESTION).all()


@pytest.mark.slow
def test_recall_is_learned_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An lstm recalls across three distractors; results in the log are not made again."""
    monkeypatch.setattr(recall, "CHECK_EVERY", 20)
    results = list(recall.recall(tmp_path / "log.jsonl", (3,), 1, FIVE))
    assert results[0].accuracy > 0.99
    assert json.loads((tmp_path / "log.jsonl").read_text(encoding="utf-8"))["distance"] == 3
    assert list(recall.recall(tmp_path / "log.jsonl", (3,), 1, FIVE)) == results
    assert "100.0 %, 1 of 1" in recall.recall_table(results)


def test_recall_stops_where_no_seed_learns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond `FARTHEST`, the first distance at which all seeds fail is the last one."""
    monkeypatch.setattr(recall, "FARTHEST", 1)
    monkeypatch.setattr(recall, "learn", lambda *place: recall.Recall(*place, float(place[1] < 2), 1, 0.0))
    tried = [each.distance for each in recall.recall(tmp_path / "log.jsonl", (1, 2, 3, 4), 1, FIVE)]
    assert tried == [1, 2]


def test_gradients_fade_faster_without_gates() -> None:
    """At 60 steps an rnn's gradient has vanished, that of an lstm with an open forget gate has not."""
    rnn = recall.gradient_norms("rnn", 0.0, distance=60, hidden=32)
    lstm = recall.gradient_norms("lstm", 5.0, distance=60, hidden=32)
    assert rnn[0] == lstm[0] == 1
    assert rnn[60] < 1e-4 < lstm[60]
