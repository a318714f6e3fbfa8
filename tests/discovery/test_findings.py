"""Findings: duplicates are one, and each is said in words that its numbers bear out."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from conftest import make_model
from discovery.golden import discovered
from inspection.handset import LATCH
from nextchar.cli.discover import _show
from nextchar.discovery.ablation import Effect
from nextchar.discovery.claims import Claims, Finding
from nextchar.discovery.findings import findings_of, merge
from nextchar.discovery.steering import Steering
from nextchar.errors import ConfigError
from nextchar.inspection.naming import read_names
from nextchar.inspection.report import neuron_page

EFFECT = Effect(
    on_bits=0.25, off_bits=0.01, closing_bits=None, ratio=25.0, percentile=100.0, controls=60, controls_99=0.02,
    characters_on=900, passes=True,
)  # fmt: skip
STEERING = Steering([-1.0, 0.0, 1.0], [0.02, 0.3, 0.64], [2.0, 1.5, 2.1], 1.0, ["", "", ""])


def found(claims: Claims, feature: str) -> Finding:
    """Return the finding of a feature."""
    return next(each for each in claims.findings if each.feature == feature)


@pytest.mark.slow
def test_the_planted_latch_is_said_in_words() -> None:
    """The name, the score beside both nulls, and what turns the neuron on and off are those of the equations."""
    _, claims = discovered()
    latch, claim = found(claims, "brackets"), claims["brackets"]
    assert (latch.unit, latch.name) == (f"0:{LATCH}", "knows it is inside [ ]")
    assert "tells which is which 100\u00a0% of the time" in latch.numbers
    assert f"an untrained network: {50 + 50 * claim.nulls.untrained:.1f}\u00a0%" in latch.numbers
    assert (
        f"the last {claim.evidence.suffix.k} characters: {50 + 50 * claim.evidence.suffix.best:.1f}\u00a0%"
        in latch.numbers
    )
    assert {turn["after"][-1] for turn in latch.rises} == {"["}
    assert {turn["after"][-1] for turn in latch.falls} == {"]"}
    assert all(turn["change"] > 0.5 and turn["times"] > 0 for turn in latch.rises)
    assert latch.held == "Causal test skipped: the neuron was not held."


@pytest.mark.slow
def test_no_neuron_and_no_kind_of_span_is_found_twice() -> None:
    """Claims of one neuron, or of one kind of span, are one finding, which names the others; weak claims are none."""
    study, claims = discovered()
    groups = merge(study, claims.claims)
    assert len(claims.findings) == min(8, len(groups))
    assert len({each.unit for each in claims.findings}) == len(claims.findings)
    assert len({each.feature.split(".")[0] for each in claims.findings}) == len(claims.findings)
    together = next(group for group in groups if "brackets" in {claim.feature for claim in group})
    assert len(found(claims, "brackets").also) == min(3, len(together) - 1) > 0
    assert {claim.verdict for group in groups for claim in group} <= {"detects", "tracks", "uses"}


@pytest.mark.slow
def test_what_holding_a_neuron_does_is_said() -> None:
    """Steering and ablation are a sentence each; what has no effect says so."""
    study, claims = discovered()
    study = replace(study, search=replace(study.search, causal=True))

    def held(**more: object) -> str:
        (finding,) = findings_of(study, [replace(claims["brackets"], **more)])  # type: ignore[arg-type]
        return finding.held

    said = held(effect=EFFECT, steer=STEERING)
    assert "64\u00a0% of the text comes out as if it were inside [ ]; held at its value for no, 2\u00a0%." in said
    assert "costs +0.250 bits per character where that is so and +0.010 elsewhere" in said
    assert said.endswith("more than for 100\u00a0% of similar neurons: the network uses it.")
    assert held(effect=replace(EFFECT, passes=False)).endswith(": little depends on this neuron alone.")
    assert held().startswith("Causal test skipped")


@pytest.mark.slow
@pytest.mark.parametrize("width", [60, 80, 120])
def test_findings_fit_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No line of findings and features is longer than the terminal is wide; a file has one line for each feature."""
    _, claims = discovered()
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    _show(claims)
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= width
    assert f"\n\n0:{LATCH} knows it is inside [ ]\n" in shown
    monkeypatch.setattr(sys.stdout, "isatty", lambda: False)
    _show(claims)
    _, _, table = capsys.readouterr().out.partition(f"\nAll {len(claims.claims)} features")
    assert len(table.splitlines()) == 2 + len(claims.claims)


@pytest.mark.slow
def test_nothing_found_says_what_to_try() -> None:
    """Without findings there is a sentence with the flags to change."""
    _, claims = discovered()
    shown = " ".join(replace(claims, findings=[]).in_words(60).split())
    assert shown.startswith("What this network noticed by itself Nothing yet: ")
    assert shown.endswith("text (--last-chars 200000).")


@pytest.mark.slow
def test_inspect_takes_the_names(tmp_path: Path) -> None:
    """What was found names the neurons of a page of `inspect`, for the same model only."""
    study, claims = discovered()
    claims.save(tmp_path / "claims.json")
    names = read_names(tmp_path, study.lm)
    assert [f"{each.layer}:{each.unit} {each.phrase}" for each in names] == [
        f"{each.unit} {each.name}" for each in claims.findings
    ]
    assert f"0:{LATCH} knows it is inside [ ] (balanced accuracy 1.00)" in map(str, names)
    page = neuron_page(study.lm, study.ids[:2000], named=names)
    assert '"phrase":"knows it is inside [ ]","score":1.0' in page
    other = make_model(study.lm.vocabulary)
    for path, lm, said in (
        (tmp_path / "claims.json", other, "is about another model"),
        (tmp_path / "none", study.lm, "holds no findings; give the folder that nextchar discover wrote"),
    ):
        with pytest.raises(ConfigError, match=said):
            read_names(path, lm)
