"""The page of the claims: one HTML file that needs no network, with the text, the nulls and the effects of every claim."""

from typing import Any

import numpy as np

from nextchar.discovery.claims import Claim, Claims
from nextchar.discovery.study import Study
from nextchar.features.feature import Feature
from nextchar.inspection.page import asset
from nextchar.inspection.page import page as build_page
from nextchar.inspection.strip import glyph

EXCERPT = 640  # characters of text shown with a claim
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
        "excerpts": [_excerpt(claim, features[claim.feature], study) for claim in claims.claims],
    }
    body, style, program = (asset(f"claims.{kind}", "nextchar.discovery") for kind in ("html", "css", "js"))
    return build_page(data, body, style, [program])


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
        "text": [glyph(ord(c)) for c in study.text[begin : begin + len(places)]],
        "values": np.rint(np.clip(values, -1, 1) * STEPS).astype(int).tolist(),
        "labels": np.rint(scaled * LABEL_STEPS).astype(int).tolist(),
    }


def _excerpt_start(feature: Feature, study: Study) -> int:
    """Return the start of the held-out excerpt in which the feature is on most nearly half of the time."""
    held = study.halves.held
    starts = [run[::EXCERPT] for run in np.split(held, np.flatnonzero(np.diff(held) > 1) + 1)]
    places = np.concatenate([each[:-1] if len(each) > 1 else each for each in starts])
    places = places[places + EXCERPT <= len(study.text)]
    on = feature.positive if feature.kind == "binary" else feature.values > np.median(feature.values)
    shares = np.array([on[at : at + EXCERPT].mean() for at in places])
    return int(places[np.argmin(np.abs(shares - 0.5))]) if len(places) else int(held[0])
