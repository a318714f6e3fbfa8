"""The study of the cells of 2015: from claims to its page."""

from pathlib import Path
from typing import Any

import pytest

import neurons


def claim(feature: str, verdict: str, **more: Any) -> dict[str, Any]:
    """Return a claim as claims.json has it."""
    return {
        "feature": feature,
        "unit": [0, 7],
        "verdict": verdict,
        "because": "",
        "evidence": {
            "strength": 0.9,
            "low": 0.8,
            "high": 0.95,
            "scores": {"mcc": 0.85},
            "suffix": {"k": 3, "best": 0.4},
        },
        "nulls": {"shifts_95": 0.1, "untrained": 0.3, "shuffled": 0.2, "rotation_largest": 0.5},
        "effect": {},
        "steer": {},
        **more,
    }


@pytest.fixture
def found() -> list[neurons.Found]:
    """Return what was found in one text."""
    steer = {"shares": [0.1, 0.5], "bits": [2.0, 3.0], "monotone": 1.0}
    steer |= {"doses": [-1.0, 1.0], "samples": ["int x;", "the lock */"]}
    effect = {"on_bits": 0.2, "off_bits": 0.01, "percentile": 100.0}
    claims = [claim("c_comment", "uses", steer=steer, effect=effect), claim("column", "detects")]
    dropped = {"c_string": "3 characters in 1 stretches"}
    return [neurons.Found("linux", "kernel.txt", "--minutes 30", claims, dropped, "some CPU, 2 cores", "2026-11-25")]


def test_every_claimed_cell_has_its_line(found: list[neurons.Found], tmp_path: Path) -> None:
    """What was found, what fell short and what was too rare is said, and the figure is drawn."""
    page = neurons.page(found, "python studies/neurons.py linux")
    lines = {line.split(" | ")[1]: line for line in page.splitlines() if line.startswith("| linux |")}
    assert "**uses**" in lines["comments"]
    assert "**detects**" in lines["position in line"]
    assert "too rare" in lines["strings"]
    assert "1 different features reach `tracks`" in page
    assert "10.0, 50.0" in page
    assert "linux, c_comment held on (+1.00):\n\n```text\nthe lock */\n```" in page
    assert "some CPU, 2 cores, 2026-11-25" in page
    neurons.figure(found, tmp_path / "neurons.svg")
    assert "<svg" in (tmp_path / "neurons.svg").read_text(encoding="utf-8")
