"""The study of seven kinds of text: its log of results, curves and page."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

import universality
from cache import ResultLog
from nextchar.parsing.sweep import svg
from universality import Result, Trained

BRACKETS = "functions with balanced brackets"


def result(corpus: str, minutes: float, share: float = 50.0, **more: Any) -> Result:
    """Return a result on a corpus."""
    measures = {BRACKETS: (share, share - 5, share + 5)}
    given: dict[str, Any] = {
        "seconds": 60.0,
        "network": "2x128",
        "chars": 1000,
        "epochs": 1.5,
        "bits": 2.0,
        "ngram_bits": 2.5,
        "temperature": 0.8,
        "structure": dict.fromkeys(("real text", "model", "8-grams"), measures),
        "longest": {"real text": 30, "model": 20, "8-grams": 25},
        "sample": "int main(void)",
        "cpu": "one machine",
        "date": "2026-01-01",
    }
    return Result(corpus, minutes, **given | more)


@pytest.fixture
def options(tmp_path: Path) -> Namespace:
    """Return the parsed command line for a folder with one corpus."""
    (tmp_path / "linux").mkdir()
    (tmp_path / "linux" / "linux_kernel.txt").write_text("int x;\n" * 20, encoding="utf-8")
    found = {"data": tmp_path, "cache": tmp_path, "output": tmp_path, "samples": 100}
    return Namespace(corpora=["linux", "names"], minutes=[15.0], **found)


def test_minutes_make_a_curve(options: Namespace) -> None:
    """Every row has its minutes, the section is of the longest training, and each machine is named."""
    rows = [result("linux", 5, 40), result("linux", 15, 91.5, cpu="another machine", sample="the last")]
    for row in rows:
        universality.spent(options.cache).add(Trained(row.corpus, row.minutes, 60 * row.minutes))
    page = universality.page(rows, options)
    assert "`python studies/universality.py --data FOLDER --corpora linux --minutes 5`: 6 minutes on one" in page
    assert "--minutes 15`: 16 minutes on another machine, 2026-01-01" in page
    assert "| 90, not reached | 5 | 40.0 (35.0 to 45.0) |" in page
    assert "| 90, reached | 15 | 91.5 (86.5 to 96.5) |" in page
    assert page.count("## Linux C") == 1
    assert "the last" in page
    assert "universality-minutes.svg" in page
    assert "universality-minutes.svg" not in universality.page(rows[1:], options)
    assert universality.several([result("names", 5), result("names", 15), *rows]) == ["linux"]
    figure = universality.curves(rows)
    assert "<svg" in svg(figure)
    assert "Linux C" in svg(figure)


def test_results_in_the_log_are_not_made_again(options: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Results come from the log; a missing corpus is left out; a small one is trained once, for its longest time."""
    log = ResultLog(options.cache / "universality.jsonl", Result)
    log.add(result("linux", 15))
    log.add(result("names", 15))
    made: list[tuple[str, float, bool]] = []

    def measure(name: str, _corpus: Any, _model: Any, minutes: float, _options: Namespace, *, shown: bool) -> Result:
        made.append((name, minutes, shown))
        return result(name, minutes)

    monkeypatch.setattr(universality, "measure", measure)
    monkeypatch.setattr(universality, "train", lambda *_: None)
    options.minutes = [5.0, 15.0, 30.0]
    rows = list(universality.results(options, log))
    assert [(each.corpus, each.minutes) for each in rows] == [("linux", 5), ("linux", 15), ("linux", 30)]
    assert made == [("linux", 5, False), ("linux", 30, True)]
    (options.data / "names").mkdir()
    (options.data / "names" / "names.txt").write_text("ann\n", encoding="utf-8")
    assert list(universality.results(options, log))[3:] == [result("names", 15)] * 3
    assert len(made) == 2
