"""The notebook of docs/api.md, run by a kernel of its own: each line works as it is written, and shows its result."""

import re
import webbrowser
from pathlib import Path
from typing import Any

import pytest

import nextchar

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient")

PAGE = Path(__file__).parents[2] / "docs" / "api.md"
BOOK = "It was the best of times, it was the worst of times. " * 200


def lines() -> list[str]:
    """Return the lines of the first example of the page."""
    block = re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    return [line for line in block[1].splitlines() if line]


def results(cell: Any) -> dict[str, str]:
    """Return what a cell shows as its result, by kind."""
    return {
        kind: text for out in cell.outputs if out.output_type == "execute_result" for kind, text in out.data.items()
    }


@pytest.mark.slow
def test_the_notebook_works_as_it_is_written(tmp_path: Path) -> None:
    """One import and five lines train, sample, score, inspect and save; the model itself has a card."""
    (tmp_path / "book.txt").write_text(BOOK, encoding="utf-8")
    written = [*lines(), "lm", 'nextchar.load("book.safetensors").inspect("the best of times")']
    assert [line.split("(")[0] for line in written[1:6]] == [
        "lm = nextchar.train", "lm.sample", "lm.score", "lm.inspect", "lm.save"
    ]  # fmt: skip
    small = [re.sub(r"minutes=\d+", "steps=20, hidden=8", line) for line in written]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(line) for line in small])
    nbclient.NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    _, training, sample, score, inspected, _, model, page = notebook.cells
    assert "text/html" in training.outputs[0].data
    assert results(sample)["text/plain"].startswith("<Sample 500 characters, ")
    assert "<b>It was </b>" in results(sample)["text/html"]
    assert results(score)["text/plain"].endswith(" bits/char, stream, 51 characters>")
    assert "bits per character" in results(score)["text/html"]
    assert not inspected.outputs
    assert (tmp_path / "inspect.html").stat().st_size > 10_000
    assert results(model)["text/plain"].startswith("<LanguageModel lstm 2x8, ")
    assert "<polyline" in results(model)["text/html"]
    assert results(page)["text/html"].startswith("<iframe srcdoc=")
    nbformat.write(notebook, tmp_path / "notebook.ipynb")


@pytest.mark.slow
def test_what_people_type_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line of the page's table runs, one after the other, with a few steps in place of the minutes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two").mkdir()
    for name in ("book.txt", "one.txt", "two/three.txt"):
        (tmp_path / name).write_text(BOOK, encoding="utf-8")
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: not opened.append(address))
    rows = re.findall(r"^\| [a-z].* \| (.*`) ?.*\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    spans = [span for row in rows for span in re.findall(r"`([^`]+)`", row)]
    codes = [code for code in spans if re.match(r"lm\b|nextchar\.|corpus =|for ", code)]
    assert len(codes) > len(rows) >= 10
    known: dict[str, object] = {"nextchar": nextchar, "text": "It was the best of times"}
    for code in codes:
        small = re.sub(r"minutes=\d+|steps=\d+", "steps=3", code).replace("hidden=256", "hidden=8")
        exec(compile(small, code, "exec"), known)  # noqa: S102
    assert len(opened) == 1
    assert (tmp_path / "runs" / "book" / "model.safetensors").exists()
