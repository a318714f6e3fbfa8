"""The page of the claims: one HTML file that needs no network, with the text, the nulls and the effects of every claim."""

from typing import Any

import numpy as np

from nextchar.discovery.claims import NOTHING, Claim, Claims
from nextchar.discovery.study import Study
from nextchar.features.feature import Feature
from nextchar.pages.page import asset
from nextchar.pages.page import page as build_page
from nextchar.text.glyphs import glyph

EXCERPT = 400  # characters of text shown with a claim
STRIDE = 20  # characters between the places where one may begin
SNAP = 80  # characters within which it begins at the start of a line
STEPS = 63  # integer that stands for a value of 1 in the page
LABEL_STEPS = 9  # integer that stands for the largest label


def claims_page(
    claims: Claims, study: Study, *, title: str = "", births: dict[str, Any] | None = None, inspected: str = ""
) -> str:
    """Return the page as HTML.

    Args:
        claims: What is shown.
        study: The text and the states behind the claims.
        title: Name of the model and the text.
        births: Of `emergence`, if there are checkpoints.
        inspected: Address of a page of `nextchar inspect` with the same units, to link to.
    """
    features = {feature.name: feature for feature in study.features}
    data = {
        "title": title,
        **claims.as_dict(),
        "births": births or {},
        "inspected": inspected,
        "steps": STEPS,
        "explained": claims.explained(),
        "nothing": NOTHING,
        "excerpts": [_excerpt(claim, features[claim.feature], study) for claim in claims.claims],
    }
    body, style, program = (asset(f"claims.{kind}", "nextchar.discovery") for kind in ("html", "css", "js"))
    return build_page(data, body, style, [asset("strip.js"), program])


def _excerpt(claim: Claim, feature: Feature, study: Study) -> dict[str, Any]:
    """Return held-out text with a feature on and off, with the values of the unit and the labels."""
    begin = _excerpt_start(feature, study)
    places = np.arange(begin, min(begin + EXCERPT, len(study.text)))
    row = study.states.units.index(claim.unit)
    values, labels = study.states.values([row], places)[0], feature.values[places]
    low, high = (float(edge) for edge in (feature.values.min(), np.quantile(feature.values, 0.99)))
    scaled = np.clip((labels - low) / (high - low if high > low else 1), 0, 1)
    return {
        "begin": begin,
        "text": [c if c in " \t\n" else glyph(ord(c)) for c in study.text[begin : begin + len(places)]],
        "values": np.rint(np.clip(values, -1, 1) * STEPS).astype(int).tolist(),
        "labels": np.rint(scaled * LABEL_STEPS).astype(int).tolist(),
    }


def _excerpt_start(feature: Feature, study: Study) -> int:
    """Return the start of the held-out excerpt of which, and of whose first half, the feature is on nearest to half."""
    held = study.halves.held
    places = held[::STRIDE]
    places = places[places + EXCERPT + SNAP <= len(study.text)]
    on = feature.positive if feature.kind == "binary" else feature.values > np.median(feature.values)
    sums = np.concatenate([[0], np.cumsum(on)])
    away = sum(np.abs((sums[places + size] - sums[places]) / size - 0.5) for size in (EXCERPT // 2, EXCERPT))
    best = int(places[np.argmin(away)]) if len(places) else int(held[0])
    return best + 1 + study.text[best : best + SNAP].find("\n")  # the start of a line, if one is near
