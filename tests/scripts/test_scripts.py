import hashlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import corpora
import gates
import karpathy2015
import time_to_quality
import treebank
from nextchar.cli.main import main
from nextchar.config import Config, compose


@pytest.fixture
def text(tmp_path: Path) -> Path:
    """Return a text of about 10,000 characters."""
    path = tmp_path / "text.txt"
    path.write_text(inspect.getsource(json)[:10_000], encoding="utf-8")
    return path


@pytest.fixture
def short_trainings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the minutes of every training by ten steps of a small network."""
    small = {"steps": 10, "hidden": 16, "batch_size": 4, "seq_length": 16}

    def short(options: dict[str, Any], preset: str | None) -> tuple[Config, list[str]]:
        return compose({name: options[name] for name in options if name != "minutes"} | small, preset=preset)

    monkeypatch.setattr("cache.compose", short)


@pytest.mark.slow
@pytest.mark.usefixtures("short_trainings")
def test_time_to_quality_writes_its_page(text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every contender has a row and a curve, and its figures are beside the page."""
    monkeypatch.setattr("gpt.STEPS", 12)
    monkeypatch.setattr("gpt.LAYERS", 1)
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["_", str(text), "--minutes", "0.01", "-o", str(out)])
    time_to_quality.main()
    page = (out / "time_to_quality.md").read_text()
    runs = json.loads((out / "time_to_quality.json").read_text())["runs"]
    assert {run["contender"] for run in runs} == set(time_to_quality.COLORS)
    assert all(f"| {name} |" in page for name in time_to_quality.COLORS)
    assert (out / "time_to_quality.svg").read_text().count("<svg") == 1


def test_the_grid_of_2015_continues_where_it_stopped(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Networks in the log are not trained again; published numbers are beside them."""
    arguments = ["_", str(text), "--cells", "rnn", "--layers", "1", "--sizes", "64", "--epochs", "0.3"]
    monkeypatch.setattr(sys, "argv", [*arguments, "-o", str(tmp_path)])
    karpathy2015.main()
    page = (tmp_path / "karpathy2015.md").read_text()
    assert "| rnn 1x64 |" in page
    assert "1.446" in page
    monkeypatch.setattr(karpathy2015, "train_and_score", lambda *_: pytest.fail("trained again"))
    karpathy2015.main()
    assert (tmp_path / "karpathy2015.md").read_text() == page
    assert len((tmp_path / "karpathy2015.jsonl").read_text().splitlines()) == len(karpathy2015.RECIPES)


@pytest.mark.slow
@pytest.mark.usefixtures("short_trainings")
def test_every_text_has_a_row_in_its_units(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Texts of many characters are also read as bytes; rows in the log are not made again, even with `--only`."""
    folder, out = tmp_path / "texts", tmp_path / "out"
    (folder / "below").mkdir(parents=True)
    (folder / "below" / "plain.abc").write_text(text.read_text()[:6000])
    (folder / "wide.tex").write_text("".join(map(chr, range(0x4E00, 0x4F00))) * 24)
    (folder / "other.png").write_text("no text")
    words = ["_", str(folder), "--minutes", "0.01", "-o", str(out)]
    monkeypatch.setattr(sys, "argv", words)
    corpora.main()
    page = (out / "corpora.md").read_text()
    assert page.count("| characters |") == 2
    assert page.count("| wide.tex | bytes |") == 1
    assert "on the last 5 % of each text" in page
    assert page.count("**") == 6
    monkeypatch.setattr(corpora, "train_and_score", lambda *_: pytest.fail("trained again"))
    monkeypatch.setattr(sys, "argv", [*words, "--only", "below"])
    capsys.readouterr()
    corpora.main()
    assert (out / "corpora.md").read_text() == page
    assert capsys.readouterr().out.count("plain.abc | characters |") == 1
    monkeypatch.setattr(sys, "argv", [*words, "--only", "nothing"])
    with pytest.raises(SystemExit, match="no text that ends in"):
        corpora.main()


def test_the_gates_of_trained_runs_have_a_table(
    text: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every gate of every layer has a row, from the validation part of the run's text."""
    run = tmp_path / "run"
    words = ["train", str(text), "--steps", "3", "--hidden", "8", "-o", str(run)]
    assert main(words) == 0
    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["_", str(run), "--characters", "500", "-o", str(out)])
    gates.main()
    page = (out / "gates.md").read_text()
    assert all(f"| run | {layer} | {gate} |" in page for layer in (0, 1) for gate in "ifo")
    assert "500 characters read" in page
    assert "python studies/gates.py runs/run --characters 500" in page
    assert (out / "gates.svg").read_text().count("<svg") == 1
    assert "| run | 1 | o |" in capsys.readouterr().out


@pytest.mark.usefixtures("short_trainings")
def test_the_treebank_is_converted_and_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Characters are those of the usual file, regardless of spaces between words; another text is refused."""
    words = {"train": " aer banknote <unk>\n\n n years \n" * 60, "valid": "a bank n\n" * 30, "test": " years aer\n" * 9}
    digests = {}
    for part, text in words.items():
        (tmp_path / f"ptb.{part}.txt").write_text(text)
        spaced = [" ".join("_".join(line.split())) for line in text.split("\n")[:-1]]
        usual = "".join(line + (" \n " if line else "\n ") for line in spaced)
        digests[part] = hashlib.sha256(usual.encode()).hexdigest()
    arguments = ["_", str(tmp_path), "--minutes", "0.01", "--model", str(tmp_path / "model.safetensors")]
    monkeypatch.setattr(sys, "argv", [*arguments, "-o", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"the train part does not come to the usual ptb.char.train.txt"):
        treebank.main()
    monkeypatch.setattr(treebank, "DIGESTS", digests)
    treebank.main()
    static = (tmp_path / "treebank.md").read_text()
    monkeypatch.setattr(sys, "argv", [*sys.argv, "--dynamic"])
    treebank.main()
    page = (tmp_path / "treebank.md").read_text()
    assert "Test part (90 characters)" in page
    assert page.count("**") == static.count("**") + 2
    assert "| **nextchar, 2x" in page
    assert "1.175" in page
