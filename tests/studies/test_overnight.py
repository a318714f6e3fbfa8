"""The study of long trainings: what is kept at each budget, also across an interruption, and its page."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest

import overnight
from cache import ResultLog
from nextchar.config import Config
from nextchar.storage import read_model
from nextchar.text.corpus import Corpus
from nextchar.training.run import Run
from studies.test_universality import result
from universality import Result

MINUTES = [1.0, 2.0, 4.0]
CORPUS = Corpus.from_text("int f(int a) { return a; }\n" * 200)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a folder in which a small training of 40 steps is planned."""
    folder = tmp_path / "linux"
    options: dict[str, Any] = {"hidden": 16, "layers": 1, "batch_size": 4, "seq_length": 16, "eval_every": 5}
    Run(folder, Config.make({**options, "steps": 40, "valid": 0.1})).trainer(CORPUS)
    return folder


@pytest.mark.slow
def test_models_are_kept_at_the_shares_of_the_steps(run: Path) -> None:
    """After a quarter, a half and all steps; a training that stopped goes on, and a finished one is left alone."""
    lines = overnight.train(run, CORPUS, MINUTES)
    assert next(lines) == "linux: 1 minutes' worth of steps, 10 of 40"
    lines.close()  # type: ignore[attr-defined]
    assert [overnight.kept(run, each).exists() for each in MINUTES] == [True, False, False]
    assert len(list(overnight.train(run, CORPUS, MINUTES))) == 2
    steps = [read_model(overnight.kept(run, each)).provenance["step"] for each in MINUTES]
    assert steps[0] <= 10 < steps[1] <= 20 < steps[2] <= 40
    overnight.kept(run, 4.0).unlink()
    assert list(overnight.train(run, CORPUS, MINUTES)) == []
    assert overnight.kept(run, 4.0).exists()


def test_the_page_has_every_budget_and_target(tmp_path: Path) -> None:
    """A share below its target is "not reached" unless a later budget reaches it; results come from the log."""
    rows = [result("linux", 15, 40), result("linux", 150, 91.5, sample="the last")]
    page = overnight.page(rows, "python studies/overnight.py")
    assert (
        "| Linux C | functions with balanced brackets | 90, reached | 40.0 (35.0 to 45.0) | 91.5 (86.5 to 96.5) |"
        in page
    )
    assert "| Linux C | functions without a parse error | 65, not reached | - | - | - |" in page
    assert page.count("## Linux C") == 1
    assert "the last" in page
    log = ResultLog(tmp_path / "overnight.jsonl", Result)
    for row in rows:
        log.add(row)
    options = Namespace(cache=tmp_path, minutes=[15.0, 150.0])
    assert list(overnight.measured("linux", CORPUS, options, log)) == []
