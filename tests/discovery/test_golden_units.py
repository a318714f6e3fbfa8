"""Discovery on a network whose units were set by hand: it finds these, and makes nothing of the others."""

from pathlib import Path

import numpy as np
import pytest

from discovery.golden import LENGTH, SEARCH, discovered, golden_text
from inspection.handset import COLUMN, DEPTH, LATCH, WWW
from nextchar.discovery.judging import VERDICTS
from nextchar.discovery.nulls import p_values, shifted_best, shifts
from nextchar.discovery.pipeline import claims_of, discover
from nextchar.discovery.scores import design, signed
from nextchar.discovery.study import prepare
from nextchar.errors import ModelFileError
from nextchar.features.feature import Feature
from nextchar.storage import read_model, save

PLANTED = {"brackets": LATCH, "parentheses.depth": DEPTH, "column": COLUMN, "spells_www": WWW}


@pytest.mark.slow
@pytest.mark.parametrize("feature", PLANTED)
def test_every_planted_unit_is_found(feature: str) -> None:
    """The planted unit is the best for its feature, and as good as can be."""
    _, claims = discovered()
    claim = claims[feature]
    assert claim.unit == (0, PLANTED[feature])
    # A counter is read through tanh, which bends it a little.
    assert abs(claim.evidence.strength) > (0.98 if feature == "column" else 0.995)
    assert claim.nulls.q <= 0.05


@pytest.mark.slow
def test_long_memories_track_and_short_ones_do_not() -> None:
    """Latch, depth and column earn `tracks`; what three characters tell as well does not even earn `detects`."""
    _, claims = discovered()
    assert {claims[name].verdict for name in ("brackets", "parentheses.depth", "column")} == {"tracks"}
    assert claims["spells_www"].verdict == "significant"
    assert "a table of the last" in claims["spells_www"].because


@pytest.mark.slow
def test_no_distractor_is_taken_for_a_detector() -> None:
    """Random units know a good deal of the last characters, and chance alone does not stop them; the other nulls do."""
    _, claims = discovered()
    taken = [claim for claim in claims.claims if claim.unit[1] > WWW]
    assert taken
    assert {claim.feature for claim in taken if VERDICTS.index(claim.verdict) >= 3} == set()


@pytest.mark.slow
def test_labels_against_nothing_are_rarely_found() -> None:
    """Of 200 features that have nothing to do with the text but its rhythm, at most 5 % and two errors are significant."""
    study, _ = discovered()
    places = study.halves.held
    random = np.random.default_rng(1)
    features = []
    for _ in range(200):
        runs = random.geometric(1 / 25, LENGTH)
        values = np.repeat(np.arange(len(runs)) % 2, runs)[:LENGTH].astype(np.float32)
        features.append(Feature("nothing", "binary", values, np.ones(LENGTH, np.bool_)))
    ranks, scaled = study.states.ranks(places), study.states.standardized(places)
    best = shifted_best(ranks, scaled, features, places, shifts(len(places), 99, 0))
    there = np.abs(signed(ranks, scaled, design(features, places))).max(0)
    rate = (p_values(best, there) <= 0.05).mean()
    assert rate <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 200)
    # Permuted one by one, labels lose their runs, and chance looks rarer than it is: that null would be fooled.
    shuffled = [Feature("shuffled", "binary", random.permutation(f.values), f.known) for f in features[:20]]
    fooled = np.abs(signed(ranks, scaled, design(shuffled, places))).max()
    assert np.quantile(there, 0.5) > fooled


@pytest.mark.slow
def test_the_same_search_makes_the_same_claims() -> None:
    """What is written is the same to the letter when everything is done again."""
    study, claims = discovered()
    again = prepare(study.lm, golden_text(LENGTH), "general", SEARCH)
    assert claims_of(again, "general").as_dict() == claims.as_dict()


@pytest.mark.slow
def test_a_model_is_given_as_a_value_a_file_or_a_path(tmp_path: Path) -> None:
    """All three make the same claims; what is none of them is refused in one sentence."""
    study, claims = discovered()
    path = tmp_path / "golden.safetensors"
    save(study.lm, path)
    expected = claims.as_dict()
    for model in (study.lm, read_model(path), str(path)):
        assert discover(model, golden_text(LENGTH), "general", SEARCH).as_dict() == expected
    with pytest.raises(ModelFileError, match="a model is a LanguageModel, a ModelFile or a path, but int was given"):
        discover(3, golden_text(LENGTH))  # type: ignore[arg-type]
