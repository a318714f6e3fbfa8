import numpy as np
import pytest
import torch

from conftest import make_model
from nextchar.architecture import CELLS, Cell
from nextchar.errors import ConfigError, TextError
from nextchar.evaluation import dynamic
from nextchar.evaluation.dynamic import CANDIDATES, Adaptation, Learner, evaluate_dynamic, gradient_rms, race
from nextchar.evaluation.score import evaluate, nats_of
from nextchar.kernels.optimizer_steps import rms_decay_update
from nextchar.language_model import LanguageModel
from nextchar.text.corpus import Corpus

QUICK = Adaptation(learning_rate=0.01, decay=0.01, epsilon=0.3, segment=16)


def _learner(lm: LanguageModel, corpus: Corpus, adaptation: Adaptation) -> Learner:
    usual = gradient_rms(lm.network, corpus.ids[:3000], lm.vocabulary.start, adaptation.segment)
    return Learner(lm.network, usual, lm.vocabulary.start, adaptation)


def _weights(lm: LanguageModel) -> list[torch.Tensor]:
    return [weight.detach().clone() for weight in lm.network.parameters()]


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_without_a_rate_the_score_is_the_static_one(corpus: Corpus, text: str, cell: Cell) -> None:
    """With a learning rate of 0 the dynamic surprisals are the static ones, to 1e-6."""
    lm = make_model(corpus.vocabulary, cell=cell)
    still = Adaptation(learning_rate=0, decay=0.5)
    result = evaluate_dynamic(lm, text[:1500], text, adaptation=still)
    assert result.dynamic.nats_per_char == pytest.approx(evaluate(lm, text[:1500]).nats_per_char, abs=1e-6)
    assert result.static == evaluate(lm, text[:1500])
    assert (result.dynamic.chars, result.dynamic.protocol) == (1500, "dynamic")
    assert (result.held_out, result.adaptations) == (None, (still,))


@pytest.mark.slow
@pytest.mark.parametrize("place", [0, 15, 16, 40, 63])
def test_no_character_is_learnt_from_before_it_is_scored(lm: LanguageModel, corpus: Corpus, place: int) -> None:
    """Another character changes no score before its own, and its own only by what it is; but it changes later ones."""
    ids = np.array(corpus.ids[:80])
    other = ids.copy()
    other[place] = (ids[place] + 1) % len(corpus.vocabulary)
    one, two = _learner(lm, corpus, QUICK), _learner(lm, corpus, QUICK)
    one.read(ids)
    two.read(other)
    np.testing.assert_array_equal(one.nats()[:place], two.nats()[:place])
    assert (one.nats()[place + 1 :] != two.nats()[place + 1 :]).any()
    assert len(one.nats()) == 80


def test_the_model_given_is_not_changed(lm: LanguageModel, text: str) -> None:
    """A copy learns: the weights are bitwise the same, and have no gradients."""
    before = _weights(lm)
    evaluate_dynamic(lm, text[:300], text[:2000], adaptation=QUICK)
    assert all(torch.equal(one, other) for one, other in zip(before, _weights(lm), strict=True))
    assert all(weight.grad is None for weight in lm.network.parameters())


@pytest.mark.slow
def test_a_text_that_repeats_itself_is_learnt(lm: LanguageModel, corpus: Corpus) -> None:
    """The loss on a repeated text falls far below that of the static network."""
    ids = np.tile(corpus.ids[:40], 50)
    reader = _learner(lm, corpus, QUICK)
    reader.read(ids)
    static = np.concatenate(list(nats_of(lm.network, ids, lm.vocabulary.start)))
    assert reader.nats()[-200:].mean() < 0.5 * static[-200:].mean()


@pytest.mark.slow
def test_reading_in_pieces_is_reading_at_once(lm: LanguageModel, corpus: Corpus) -> None:
    """Several calls on consecutive segments have the surprisals of one call."""
    whole, pieces = _learner(lm, corpus, QUICK), _learner(lm, corpus, QUICK)
    whole.read(corpus.ids[:100])
    for begin, end in ((0, 32), (32, 48), (48, 100)):
        pieces.read(corpus.ids[begin:end])
    np.testing.assert_array_equal(whole.nats(), pieces.nats())


def test_a_segment_moves_every_weight_as_the_paper_says(lm: LanguageModel, corpus: Corpus) -> None:
    """One segment's step is its gradient over the usual size of it, the smallest sizes raised (Krause et al.)."""
    ids = torch.from_numpy(corpus.ids[:16].astype(np.int64))
    usual = gradient_rms(lm.network, corpus.ids[:3000], lm.vocabulary.start, 16)
    reader = Learner(lm.network, usual, lm.vocabulary.start, QUICK)
    reader.read(ids.numpy())
    inputs = torch.cat([torch.tensor([lm.vocabulary.start]), ids[:-1]])
    logits, _ = lm.network(inputs[:, None], lm.network.empty_state(1))
    weights = list(lm.network.parameters())
    gradients = torch.autograd.grad(torch.nn.functional.cross_entropy(logits[:, 0], ids), weights)
    floor = QUICK.epsilon * torch.cat([size.flatten() for size in usual]).mean()
    for weight, size, gradient, found in zip(weights, usual, gradients, reader.network.parameters(), strict=True):
        expected = weight - QUICK.learning_rate * gradient / (size + floor)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_weights_fall_back_in_proportion_to_their_usual_gradients() -> None:
    """A weight goes its share of the way back to what was trained, never further, and then against its gradient."""
    weights, trained = np.float32([1, 1, 1]), np.float32([0, 2, 3])
    usual, gradient = np.float32([0.5, 1, 8]), np.float32([1, -1, 0])
    rms_decay_update(weights, trained, gradient, usual, np.float32([0.25, 0.1, 0.5]))
    np.testing.assert_allclose(weights, [1 - 0.125 - 0.1, 1 + 0.25 + 0.1 / 1.5, 3], rtol=1e-6)


@pytest.mark.slow
def test_a_race_is_won_by_the_best_predictions(
    lm: LanguageModel, corpus: Corpus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of settings that diverge, learn or do nothing, the learning one is left, and has read at most half."""
    ids = np.tile(corpus.ids[:40], 40)
    rates = (0.0, 1e4, 0.01, 0.0001)
    readers = [_learner(lm, corpus, Adaptation(rate, 0.01, 0.3, 16)) for rate in rates]
    best = race(readers, ids)
    assert best is readers[2]
    assert [len(reader.nats()) for reader in readers] == [400, 400, 800, 800]
    monkeypatch.setattr(dynamic, "MAX_RACE", 200)
    short = race([_learner(lm, corpus, Adaptation(rate, 0.01, 0.3, 16)) for rate in rates], ids)
    assert len(short.nats()) == 96


@pytest.mark.slow
def test_settings_are_chosen_on_the_first_half(lm: LanguageModel, text: str) -> None:
    """Without given settings, the second half is scored separately and does not affect their choice."""
    result = evaluate_dynamic(lm, text[:1200], text[:3000])
    assert result.held_out is not None
    assert [score.chars for score in result.held_out] == [600, 600]
    assert result.dynamic.chars == result.static.chars == 1200
    assert result.adaptations[0] in CANDIDATES
    assert result.held_out[0].nats_per_char == pytest.approx(result.nats[600:].mean())
    other = evaluate_dynamic(lm, text[:600] + text[5000:5600], text[:3000])
    assert other.adaptations == result.adaptations
    np.testing.assert_array_equal(other.nats[:600], result.nats[:600])
    again = evaluate_dynamic(lm, text[:1200], text[:3000], adaptation=result.adaptations[0])
    np.testing.assert_array_equal(again.nats, result.nats)


@pytest.mark.slow
def test_settings_can_be_chosen_on_another_text(lm: LanguageModel, text: str) -> None:
    """What was read to choose settings leaves nothing behind: the text is read as with these settings given."""
    tuned = evaluate_dynamic(lm, text[:500], text[:3000], tune_on=text[5000:6000])
    assert tuned.held_out is None
    given = evaluate_dynamic(lm, text[:500], text[:3000], adaptation=tuned.adaptations[0])
    np.testing.assert_array_equal(given.nats, tuned.nats)


@pytest.mark.slow
def test_several_learn_each_for_itself(corpus: Corpus, text: str) -> None:
    """The probabilities of several models, each of which learns separately, are averaged."""
    models = [make_model(corpus.vocabulary, seed) for seed in (0, 1)]
    together = evaluate_dynamic(models, text[:400], text[:2000], adaptation=QUICK)
    alone = [evaluate_dynamic(lm, text[:400], text[:2000], adaptation=QUICK).nats for lm in models]
    np.testing.assert_allclose(together.nats, -np.log(np.exp(-np.array(alone)).mean(0)), rtol=1e-12)
    assert together.static == evaluate(models, text[:400])
    assert together.adaptations == (QUICK, QUICK)
    assert isinstance(together.as_dict()["adaptation"], list)


@pytest.mark.parametrize("length", [1, 2, 31, 33])
def test_the_shortest_texts_have_a_score(lm: LanguageModel, text: str, length: int) -> None:
    """A text or a training text of a few characters is enough."""
    result = evaluate_dynamic(lm, text[:length], text[:length])
    assert result.dynamic.chars == length
    assert np.isfinite(result.nats).all()
    assert result.held_out is not None
    assert result.held_out[0].chars == length - length // 2


def test_what_cannot_be_is_refused(lm: LanguageModel, text: str) -> None:
    """A text of nothing, no training text, and settings out of bounds are named."""
    with pytest.raises(TextError, match="no character to score"):
        evaluate_dynamic(lm, "", text)
    with pytest.raises(TextError, match="no training text"):
        evaluate_dynamic(lm, text[:10], "")
    for name, value in (("learning_rate", -1.0), ("decay", 1.5), ("epsilon", 0.0), ("segment", 0)):
        with pytest.raises(ConfigError, match=f"^{name} is {value:g}, but must be "):
            Adaptation(**{"learning_rate": 0.1, "decay": 0.1, name: value})  # type: ignore[arg-type]


def test_the_settings_go_to_json_beside_the_score(lm: LanguageModel, text: str) -> None:
    """The contract's keys are the dynamic score's; the static score, the second half and the settings are beside them."""
    values = evaluate_dynamic(lm, text[:200], text[:1000]).as_dict()
    keys = ["protocol", "chars", "bytes", "nats_per_char", "bits_per_char", "bits_per_byte"]
    assert list(values) == [*keys, "static", "held_out", "adaptation"]
    assert list(values["static"]) == keys
    assert list(values["held_out"]) == ["dynamic", "static"]
    assert list(values["adaptation"]) == ["learning_rate", "decay", "epsilon", "segment"]
