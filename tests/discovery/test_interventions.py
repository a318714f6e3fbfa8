"""Edits of a network that reads: what each does, and that nothing else moves."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from discovery.golden import golden_text
from inspection.handset import DEPTH, LATCH, golden_model
from nextchar.discovery import ablation, steering
from nextchar.discovery.feature_sets import labeller
from nextchar.discovery.interventions import Edit, NewValues, clamp, intervening, patch
from nextchar.discovery.states import States, quantize, read_states
from nextchar.errors import ConfigError
from nextchar.features.feature import Feature, binary
from nextchar.features.profiles import general
from nextchar.language_model import LanguageModel
from nextchar.model.recurrence import reference
from nextchar.text.corpus import Corpus


def read(lm: LanguageModel, text: str, edits: list[Edit], lanes: int = 1) -> torch.Tensor:
    """Return the logits `(T, N, V)` of a text under edits."""
    ids = torch.from_numpy(lm.vocabulary.encode(text).astype(np.int64))[:, None].expand(-1, lanes)
    layers = lm.network.architecture.layers
    with torch.no_grad():
        return lm.network(ids, lm.network.empty_state(lanes), recurrence=intervening(edits, layers=layers))[0]


def test_doing_nothing_changes_no_bit(lm: LanguageModel, text: str) -> None:
    """An edit that leaves values as they are gives the reference's logits to the bit, at cells and at outputs."""
    ids = torch.from_numpy(lm.vocabulary.encode(text[:200]).astype(np.int64))[:, None]
    with torch.no_grad():
        plain = lm.network(ids, lm.network.empty_state(1), recurrence=reference)[0]
    for place in ("cell", "output"):
        edit = Edit(0, (1, 3), lambda now, _: now, place=place)  # type: ignore[arg-type]
        assert torch.equal(read(lm, text[:200], [edit]), plain)


@pytest.mark.parametrize("set_to", [clamp(0.0), clamp(0.7), patch(torch.full((80, 1, 1), 0.3))])
def test_an_edit_is_seen_from_its_step_on(lm: LanguageModel, text: str, set_to: NewValues) -> None:
    """Before the first step of an edit nothing differs, from then on something does."""
    begin = 30
    edit = Edit(1, (2,), set_to, steps=lambda step: step >= begin)
    there, plain = read(lm, text[:80], [edit]), read(lm, text[:80], [])
    assert torch.equal(there[:begin], plain[:begin])
    assert not torch.allclose(there[begin:], plain[begin:])


def test_output_zero_is_outgoing_weights_zero(lm: LanguageModel, text: str) -> None:
    """Setting a unit's output to 0 is the same as cutting everything that reads it: its own layer, the next, the head."""
    unit = 5
    there = read(lm, text[:100], [Edit(0, (unit,), clamp(0.0), place="output")])
    with torch.no_grad():
        for name, weight in lm.network.named_parameters():
            if name in ("layers.0.weight_hh", "layers.1.weight_ih"):
                weight[:, unit] = 0
    # The head reads the sum of both layers, so the lower one's share of it is cut where it is made.
    cut = read(lm, text[:100], [Edit(0, (unit,), clamp(0.0), place="output", steps=lambda _: True)])
    torch.testing.assert_close(there, cut)


def test_lanes_are_edited_one_by_one(lm: LanguageModel, text: str) -> None:
    """Units paired with lanes are each edited in their lane alone, as if they were read alone."""
    edit = Edit(0, (1, 4), clamp(torch.tensor([[0.5], [-0.5]])), rows=(0, 2), paired=True)
    together = read(lm, text[:60], [edit], lanes=3)
    torch.testing.assert_close(together[:, 0], read(lm, text[:60], [Edit(0, (1,), clamp(0.5))])[:, 0])
    torch.testing.assert_close(together[:, 1], read(lm, text[:60], [])[:, 0])
    torch.testing.assert_close(together[:, 2], read(lm, text[:60], [Edit(0, (4,), clamp(-0.5))])[:, 0])


def test_a_clamped_cell_is_held(lm: LanguageModel, text: str) -> None:
    """The state after every step has the clamped value, whatever the gates would do."""
    ids = torch.from_numpy(lm.vocabulary.encode(text[:50]).astype(np.int64))[:, None]
    edits = [Edit(0, (3,), clamp(1.25))]
    with torch.no_grad():
        _, state = lm.network(ids, lm.network.empty_state(1), recurrence=intervening(edits, layers=2))
    assert float(state[0][1][0, 3]) == 1.25


def test_a_layer_that_is_not_there_is_refused() -> None:
    """The layers are named in the refusal."""
    with pytest.raises(ConfigError, match="no layer 2; the model's layers are 0 to 1"):
        intervening([Edit(2, (0,), clamp(0.0))], layers=2)


def latched() -> tuple[LanguageModel, str, Feature]:
    """Return a golden network that writes `]` as soon as its latch is on, and little else of interest."""
    lm = golden_model()
    close = lm.vocabulary.codes.index(ord("]"))
    with torch.no_grad():
        lm.network.head.weight.zero_()
        lm.network.head.bias.zero_()
        lm.network.head.weight[close, LATCH] = 4.0
        lm.network.head.bias[close] = -2.0
    text = golden_text(12_000)
    return lm, text, next(each for each in general(text) if each.name == "brackets")


@pytest.mark.slow
def test_ablating_the_latch_costs_where_it_is_on() -> None:
    """The latch is the unit whose ablation moves the expectation of `]`, and the depth counter is not."""
    lm, text, feature = latched()
    ids = lm.vocabulary.encode(text)
    states = read_states(lm, ids)
    starts = ablation.choose_windows([feature], np.arange(2000, 12_000), 8)
    rows = np.arange(60)
    ablations = ablation.ablate(lm, ids, states, rows, starts)
    moved = np.abs(ablations.bits).mean(1)
    assert int(np.argmax(moved)) == LATCH
    assert moved[DEPTH] < 1e-4
    pool = np.array([row for row in rows if row not in (LATCH, DEPTH)])
    effect = ablation.effect(ablations, feature, LATCH, states, pool)
    assert effect
    assert effect.controls == 58
    assert effect.closing_bits is not None


def test_stretches_do_not_touch(random: np.random.Generator) -> None:
    """What stands at the end of one stretch says nothing of the beginning of the next."""
    places = np.concatenate([np.arange(100, 200), np.arange(300, 400)])
    bits = random.normal(size=(3, 200)).astype(np.float32)
    codes, levels = quantize(random.normal(size=(3, 500)))
    states = States(((0, 0), (0, 1), (0, 2)), codes, levels, np.zeros(500))
    on = binary("on", np.arange(500) < 250)
    ablations = ablation.Ablations(places, np.arange(3), bits)
    effect = ablation.effect(ablations, on, 0, states, np.array([1, 2]))
    assert effect
    assert effect.characters_on == 100
    assert effect.closing_bits is None
    assert effect.on_bits == pytest.approx(bits[0, :100].mean())
    assert effect.off_bits == pytest.approx(bits[0, 100:].mean())


def test_what_an_ablation_says_in_words() -> None:
    """A unit that tracks is told what kept it from `uses`, also where it was not ablated."""
    effect = ablation.Effect(
        on_bits=0.1,
        off_bits=0.07,
        closing_bits=None,
        ratio=1.4,
        percentile=99.0,
        controls=100,
        controls_99=0.1,
        characters_on=500,
        passes=False,
    )
    word, why = ablation.verdict(None)
    assert word == "tracks"
    assert "causal test skipped" in why
    assert "1.4 times" in ablation.verdict(effect)[1]
    assert "only 50 %" in ablation.verdict(replace(effect, percentile=50.0))[1]
    assert ablation.verdict(replace(effect, passes=True)) == ("uses", "")


@pytest.mark.parametrize(
    ("profile", "name", "text"),
    [
        ("c", "c_comment", "a /* b */ c\n/* d */"),
        ("c", "c_string", 'f("a", "b c");\ng("");'),
        ("c", "parentheses", "f(a(b)c)d(e)"),
        ("general", "quotes", 'he--"Oh," said she. "No--" and\n"Well," (\n"so")'),
        ("latex", "math", "Let $x$ be ($y$), $z$-free."),
        ("wiki", "wiki_link", "a [[b]] c [[d]]"),
        ("python", "python_docstring", 'def f():\n    """A.\n\n    B.\n    """\n    """C."""'),
    ],
)
def test_implied_spans_are_the_spans_of_a_balanced_text(profile: str, name: str, text: str) -> None:
    """Where every mark has its other, reading from the end finds the spans that reading from the beginning finds."""
    feature = next(each for each in labeller(profile, text)[1](text) if each.name == name)
    found = steering.implied_inside(text, feature.opener, feature.closer)
    np.testing.assert_array_equal(found, feature.values != 0)


def test_a_text_without_its_other_marks_is_told_by_what_comes() -> None:
    """What is closed and was never opened was written inside, what is opened and forgotten was not."""

    def shown(text: str, *marks: str) -> str:
        return "".join(str(int(on)) for on in steering.implied_inside(text, *marks))

    assert shown("b*/c*/d", "/*", "*/") == "1111100"
    assert shown("/*b/*c", "/*", "*/") == "000000"
    assert shown("a)b(c)d)e", "(", ")") == "111111100"
    assert shown('he, " she" so', '"', '"') == "1111111110000"


def test_shares_are_of_what_was_written_as_if_inside(lm: LanguageModel) -> None:
    """By its marks where a feature has two, else by its label; each text by itself, its beginning left out."""
    lm = replace(lm, vocabulary=Corpus.from_text("/* x}{;#\n").vocabulary)
    written = ("/* " + "x" * 97, "x" * 98 + "*/", "#" + "x" * 99)
    texts = np.stack([lm.vocabulary.encode(each) for each in written]).astype(np.int64)
    label = labeller("c", "")[1]
    features = {each.name: each for each in label("/* */ #x\n")}
    share = steering._share(lm, texts, label, features["c_comment"])
    assert share == pytest.approx(35 / 36 / 3)
    assert steering._share(lm, texts, label, features["preprocessor"]) == 0
    assert steering._share(lm, texts, label, features["punctuation"]) == pytest.approx(2 / 36 / 3)


@pytest.mark.slow
def test_steering_goes_with_the_feature_whichever_way_the_unit_does() -> None:
    """A unit that is low where the feature is on has falling doses and rising shares, and that is monotone."""
    lm, _, _ = latched()

    def label(text: str) -> Iterator[Feature]:
        yield binary("open", np.array([c != "]" for c in text]))

    doses = np.array([0.75, 0.0, -0.5])
    assert steering.steer(lm, (0, LATCH), doses, label, next(label("]"))).monotone == pytest.approx(1)


def test_patching_the_latch_brings_the_bracket_back() -> None:
    """In a text without `[`, the latch's cell alone gives `]` its whole chance back, and no other unit any of it."""
    lm, text, feature = latched()
    pairs = steering.minimal_pairs(lm, lm.vocabulary.encode(text), feature, np.arange(len(text)))
    assert pairs is not None
    found = steering.patch_unit(lm, pairs, (0, LATCH), [(0, DEPTH), (0, 20)])
    assert found.recovered == pytest.approx(1, abs=1e-4)
    assert found.others_largest == pytest.approx(0, abs=1e-4)
    assert found.nats > 1


@pytest.mark.slow
def test_steering_the_latch_writes_more_brackets() -> None:
    """The more the latch is held on while writing, the more `]` there are; the dose with no hold costs least."""
    lm, _, _ = latched()
    doses = np.linspace(-0.5, 0.75, 4)

    def label(text: str) -> Iterator[Feature]:
        yield Feature("closing", "binary", np.array([c == "]" for c in text], np.float32), np.ones(len(text), np.bool_))

    wanted = next(label("]"))
    steered = steering.steer(lm, (0, LATCH), doses, label, wanted)
    assert steered.monotone == pytest.approx(1)
    assert steered.shares[-1] > 2 * steered.shares[0]
    assert [len(each) for each in steered.samples] == [steering.SHOWN] * 4
    assert steered.samples[-1].count("]") > steered.samples[0].count("]")
