"""benchmarks/exported.py runs."""

import sys
from pathlib import Path

import pytest

from conftest import make_model
from exporting.node import NODE
from nextchar.text.vocabulary import Vocabulary


@pytest.mark.slow
@pytest.mark.skipif(NODE is None, reason="node is not installed")
def test_the_exported_file_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The table names both engines, of those that are there."""
    import exported as script

    make_model(Vocabulary("characters", tuple(map(ord, "\n abc")))).save(tmp_path / "model.safetensors")
    monkeypatch.setattr(sys, "argv", ["_", str(tmp_path / "model.safetensors"), "--chars", "100"])
    script.main()
    table = capsys.readouterr().out
    assert "2x8, 5 characters, int8, 100 characters" in table
    assert table.count("characters/s") == 1 + (script.BROWSER is not None)
