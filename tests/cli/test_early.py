"""Invalid options are refused before the work, not after it."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nextchar.cli.flags import must_be_writable
from nextchar.errors import ConfigError
from nextchar.storage import ModelFile, write_model

Shell = Callable[..., SimpleNamespace]


@pytest.fixture
def model(tmp_path: Path, model_file: ModelFile) -> Path:
    """Return a model file without a run."""
    write_model(tmp_path / "m.safetensors", model_file)
    return tmp_path / "m.safetensors"


def no_work(*_: Any, **__: Any) -> None:
    """Fail in place of the work."""
    pytest.fail("the work was begun")


def test_a_place_to_write_to(tmp_path: Path) -> None:
    """A folder is made; a folder or a device is not replaced by a file; nothing is left behind."""
    place = tmp_path / "new" / "file.csv"
    must_be_writable(place)
    assert list(tmp_path.rglob("*")) == [place.parent]
    place.write_text("old", encoding="utf-8")
    must_be_writable(place)
    assert place.read_text(encoding="utf-8") == "old"
    devices = filter(Path.exists, [Path("/dev/null")])
    for wrong in (tmp_path, *devices):
        with pytest.raises(ConfigError, match="is not a file to write to"):
            must_be_writable(wrong)
    with pytest.raises(OSError, match=r"exists|directory"):
        must_be_writable(place / "below.csv")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--per-char", "."], ". is not a file to write to"),
        (["--ngram", "0"], "the order of the n-grams is 0"),
        (["--ngram", "25"], "the order of the n-grams is 25"),
    ],
)
def test_evaluate_refuses_before_it_scores(
    model: Path, text_file: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    """A file that cannot be written and a table that cannot be counted are refused before the text is scored."""
    monkeypatch.setattr("nextchar.evaluation.report.nats_of", no_work)
    monkeypatch.setattr("nextchar.evaluation.report.part_of_text", lambda *_, **_options: range(9))
    result = shell("evaluate", model, text_file, *words)
    assert (result.code, result.out) == (1, "")
    assert message in result.err


@pytest.mark.parametrize("option", [["--ngram", "3"], ["--errors"]])
def test_evaluate_asks_for_the_training_part_first(
    model: Path, text_file: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, option: list[str]
) -> None:
    """A missing training text is reported before another is scored."""
    monkeypatch.setattr("nextchar.evaluation.report.nats_of", no_work)
    result = shell("evaluate", model, text_file, *option)
    assert result.code == 1
    assert "is missing" in result.err


def test_inspect_refuses_before_it_reads(
    model: Path, tmp_path: Path, text_file: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of the page's name is refused before the model is run."""
    monkeypatch.setattr("nextchar.inspection.files.read_model", no_work)
    (tmp_path / "page.html").mkdir()
    result = shell("inspect", model, text_file, "-o", tmp_path / "page.html")
    assert result.code == 1
    assert "page.html is not a file to write to" in result.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["-t", "0"], "the temperature is 0, but n-grams need more than 0; leave them out with --ngram 0"),
        (["--ngram", "30"], "the order of the n-grams is 30"),
        (["--keep", "small.txt"], "small.txt"),
        (["--sweep", "."], ". is not a file to write to"),
        (["--sweep", "a.svg", "--keep", "b"], "both --sweep and --keep were given"),
    ],
)
def test_structure_refuses_before_it_writes(
    model: Path, text_file: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    """Options that n-grams do not allow and paths that cannot be written are refused before the model generates."""
    monkeypatch.chdir(text_file.parent)
    monkeypatch.setattr("nextchar.parsing.compare.generate", no_work)
    result = shell("structure", model, "--as", "python", "--against", text_file, "-n", 200, *words)
    assert (result.code, result.out) == (1, "")
    assert message in result.err.splitlines()[-1]
