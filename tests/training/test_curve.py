"""The curve of a run: its axes, its lines, and that it is an SVG."""

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from nextchar.training.curve import curve_svg, draw_curve

SVG = "{http://www.w3.org/2000/svg}"


def parts(svg: str, tag: str) -> list[ET.Element]:
    """Return the elements of a kind."""
    return list(ET.fromstring(svg).iter(SVG + tag))  # noqa: S314  our own output


def line(svg: str, name: str) -> list[tuple[float, float]]:
    """Return the points of a line."""
    (found,) = (each for each in parts(svg, "polyline") if each.get("class") == name)
    return [tuple(map(float, point.split(","))) for point in found.get("points", "").split()]  # type: ignore[misc]


def test_every_tenfold_of_steps_is_as_wide() -> None:
    """The early fall is visible: steps 1 to 10 take as much room as 100 to 1,000, and points fall with the loss."""
    training = [(step, 6.0 / step**0.2) for step in (1, 10, 100, 1000)]
    svg = curve_svg(training, [(100, 2.5), (1000, 2.0)], dropout=True)
    across, down = zip(*line(svg, "train"), strict=True)
    gaps = [b - a for a, b in pairwise(across)]
    assert gaps == pytest.approx([gaps[0]] * 3, abs=0.2)
    assert list(down) == sorted(down)
    texts = [each.text for each in parts(svg, "text")]
    assert {"1", "10", "100", "1,000", "bits per character", "step (logarithmic scale)"} <= set(texts)
    assert {"training (with dropout)", "validation, at best 2.000 at step 1,000"} <= set(texts)
    assert len(parts(svg, "circle")) == 2
    assert "prefers-color-scheme: dark" in svg


def test_many_points_become_one_a_pixel() -> None:
    """The file of a long run is as small as that of a short one, and its points are means."""
    svg = curve_svg([(step, 2.0 + step % 2) for step in range(1, 50_001)], [])
    assert len(line(svg, "train")) < 650
    assert len(svg) < 20_000
    _, down = zip(*line(svg, "train"), strict=True)
    assert max(down[-50:]) - min(down[-50:]) < 5
    assert "validation" not in svg


@pytest.mark.parametrize("training", [[(1, 3.0)], [(1, 3.0), (2, 3.0)], [(5, 0.0), (7, 0.0)]])
def test_little_is_drawn_too(training: list[tuple[int, float]]) -> None:
    """One point, a flat line and a loss of zero have axes."""
    svg = curve_svg(training, training)
    assert len([each for each in parts(svg, "text") if each.get("text-anchor") == "end"]) >= 2


def test_a_log_of_version_0_1_0_has_a_curve(tmp_path: Path) -> None:
    """A log that does not say whether there was dropout is drawn; one without progress is not."""
    entries = [
        {"event": "started", "step": 0},
        {"event": "progress", "step": 10, "loss": 2.0},
        {"event": "validated", "step": 10, "score": {"bits_per_char": 3.0}},
    ]
    draw_curve(entries, tmp_path / "c.svg")
    svg = (tmp_path / "c.svg").read_text(encoding="utf-8")
    assert "with dropout" not in svg
    assert len(line(svg, "valid")) == 1
    draw_curve(entries[:1], tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()
