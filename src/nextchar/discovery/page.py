"""The page of the claims: one HTML file that needs no network; each claim with its text, its nulls drawn and its effects."""

from typing import Any

import numpy as np

from nextchar.discovery.claims import Claim, Claims
from nextchar.discovery.features import Feature
from nextchar.discovery.search import Found
from nextchar.inspection.page import asset
from nextchar.inspection.page import page as put_together
from nextchar.inspection.strip import glyph

EXCERPT = 640  # characters of text a claim is shown on
STEPS = 63  # what a value of 1 is in the page


def page(
    claims: Claims,
    found: Found,
    *,
    title: str = "",
    births: dict[str, Any] | None = None,
    inspected: str = "",
) -> str:
    """Return the page as HTML.

    Args:
        claims: What is shown.
        found: The text and the states behind it.
        title: What the model and the text are.
        births: Of `births_of`, if there are checkpoints.
        inspected: Address of a page of `nextchar inspect` of the same units, to link to.
    """
    features = {feature.name: feature for feature in found.features}
    data = {
        "title": title,
        **claims.as_dict(),
        "births": births or {},
        "inspected": inspected,
        "steps": STEPS,
        "excerpts": [_excerpt(claim, features[claim.feature], found) for claim in claims.claims],
    }
    body, style, program = (asset(f"claims.{kind}", "nextchar.discovery") for kind in ("html", "css", "js"))
    return put_together(data, body, style, [program])


def _excerpt(claim: Claim, feature: Feature, found: Found) -> dict[str, Any]:
    """Return held-out text in which a feature comes and goes, with what the unit held and where the feature is on."""
    begin = _where(feature, found)
    places = np.arange(begin, min(begin + EXCERPT, len(found.text)))
    row = found.states.units.index(claim.unit)
    values, labels = found.states.values([row], places)[0], feature.values[places]
    low, high = (float(edge) for edge in (feature.values.min(), np.quantile(feature.values, 0.99)))
    scaled = np.clip((labels - low) / (high - low if high > low else 1), 0, 1)
    return {
        "begin": begin,
        "text": [glyph(ord(c)) for c in found.text[begin : begin + len(places)]],
        "values": np.rint(np.clip(values, -1, 1) * STEPS).astype(int).tolist(),
        "labels": np.rint(scaled * 9).astype(int).tolist(),
    }


def _where(feature: Feature, found: Found) -> int:
    """Return where the held-out text begins that has the feature on most nearly half of the time."""
    held = found.halves.held
    starts = [run[::EXCERPT] for run in np.split(held, np.flatnonzero(np.diff(held) > 1) + 1)]
    places = np.concatenate([each[:-1] if len(each) > 1 else each for each in starts])
    places = places[places + EXCERPT <= len(found.text)]
    middle = np.median(feature.values)
    on = feature.positive if feature.kind == "binary" else feature.values > middle
    shares = np.array([on[at : at + EXCERPT].mean() for at in places])
    return int(places[np.argmin(np.abs(shares - 0.5))]) if len(places) else int(held[0])
