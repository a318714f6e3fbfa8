import sys
from pathlib import Path

import pytest

import members


@pytest.mark.slow
def test_an_ensemble_stands_beside_one_network(
    tmp_path: Path, text_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """At toy size: three rows, of which the member and the ensemble have the same shape; a second call trains nothing."""
    real = members.nextchar

    def steps(words: list[str]) -> int:
        given = words.index("--minutes") if "--minutes" in words else None
        small = ["--steps", "3", "--hidden", "16", "--batch-size", "4", "--seq-length", "8", "--test", "0.2"]
        return real(words if given is None else [*words[:given], *small, *words[given + 2 :]])

    monkeypatch.setattr(members, "nextchar", steps)
    monkeypatch.setattr(sys, "argv", ["_", str(text_file), "--members", "2", "-o", str(tmp_path / "runs")])
    members.main()
    first = capsys.readouterr().out
    assert [line.split("|")[1:3] for line in first.strip().splitlines()[4:]] == [
        [" one network ", " 2x16 "],
        [" one member ", " 2x16 "],
        [" ensemble of 2 ", " 2 of 2x16 "],
    ]
    members.main()
    again = capsys.readouterr()
    assert again.out == first
    assert "this run is finished" in again.err
