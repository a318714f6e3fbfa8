"""The notebooks of examples/: they run from the top without a network, in short trainings, and are stored small."""

from pathlib import Path
from typing import Any

import pytest

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")

import notebooks  # noqa: E402  it imports both

ROOT = Path(__file__).parents[2]
NAMES = ["names", "shakespeare", "your_text"]
MINUTES = 0.1


def read(name: str) -> Any:
    """Return a notebook."""
    return nbformat.read(ROOT / "examples" / f"{name}.ipynb", as_version=4)


def test_these_are_all() -> None:
    """Every notebook is tested, and named in the documentation."""
    assert sorted(path.stem for path in (ROOT / "examples").glob("*.ipynb")) == NAMES
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert [name for name in NAMES if f"examples/{name}.ipynb" not in page] == []


@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_is_stored_small_and_clean(name: str) -> None:
    """With outputs that a reader can see without running it, none of them an error or a whole page."""
    path = ROOT / "examples" / f"{name}.ipynb"
    assert path.stat().st_size <= notebooks.LARGEST
    notebook = read(name)
    nbformat.validate(notebook)
    codes = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in codes] == list(range(1, len(codes) + 1))
    outputs = [output for cell in codes for output in cell.outputs]
    assert {output.output_type for output in outputs} <= {"stream", "display_data", "execute_result"}
    assert not [output for output in outputs if output.get("name") == "stderr"]
    assert "<iframe" not in path.read_text(encoding="utf-8")
    cleaned = nbformat.from_dict(notebook)
    notebooks.clean(cleaned)
    assert cleaned == notebook


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_a_notebook_runs_from_the_top(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network, on the texts that every Python has, and without a warning."""
    for variable in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # nothing answers there
    notebook = read(name)
    notebooks.clear(notebook)
    notebooks.run(notebook, tmp_path, MINUTES)
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert not [output.text for output in outputs if output.get("name") == "stderr"]
    shown = [output.data for output in outputs if "data" in output]
    assert any("<svg" in data.get("text/html", "") or "done" in data.get("text/plain", "") for data in shown)
    said = "".join(output.get("text", "") for output in outputs)
    assert "instead" in said
    frames = [data for data in shown if data.get("text/html", "").startswith("<iframe")]
    assert len(frames) == {"shakespeare": 2}.get(name, 0)


def test_minutes_are_replaced_and_frames_left_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """`run` changes only that line; `clean` keeps the one-line form of a page."""
    cell = nbformat.v4.new_code_cell("import x\nMINUTES = 5\nprint(MINUTES)")
    page = {"text/html": '<iframe srcdoc="">', "text/plain": "<Page>"}
    cell.outputs = [nbformat.v4.new_output("execute_result", data=page, execution_count=1)]
    notebook = nbformat.v4.new_notebook(cells=[cell])
    monkeypatch.setattr(notebooks.NotebookClient, "execute", lambda _: None)
    notebooks.run(notebook, tmp_path, 0.5)
    assert notebook.cells[0].source == "import x\nMINUTES = 0.5\nprint(MINUTES)"
    notebooks.clean(notebook)
    assert notebook.cells[0].outputs[0].data == {"text/plain": "<Page>"}
