"""Run the notebooks of examples/ as they are, and store what they show; or clear it.

    python tools/notebooks.py                       # all of them: some six minutes
    python tools/notebooks.py examples/names.ipynb --clear

Frames with whole pages are left out, because a stored notebook must be small; numbers depend on the machine.
"""

import argparse
import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parent.parent
LARGEST = 300_000  # bytes of a stored notebook
SECONDS = 1200  # for a cell


def run(notebook: Any, folder: Path, minutes: float | None = None) -> None:
    """Execute a notebook in a folder, from the top.

    Args:
        notebook: Its outputs are replaced.
        folder: Where it runs.
        minutes: Of training, in place of its own.
    """
    if minutes is not None:
        for cell in notebook.cells:
            cell.source = "\n".join(
                f"MINUTES = {minutes}" if line.startswith("MINUTES = ") else line for line in cell.source.split("\n")
            )
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(folder)}}).execute()


def clean(notebook: Any) -> None:
    """Leave out what is large, and what differs from one run to the next without a meaning."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells):
        cell.id, cell.metadata = f"cell-{number}", {}
        for output in cell.get("outputs", []):
            output.pop("transient", None)
            if "data" in output and output.data.get("text/html", "").startswith("<iframe"):
                del output.data["text/html"]


def clear(notebook: Any) -> None:
    """Remove all outputs."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None


def main() -> int:
    """Run, or clear, the notebooks that are named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, default=sorted((ROOT / "examples").glob("*.ipynb")))
    parser.add_argument("--clear", action="store_true", help="remove outputs, and run nothing")
    given = parser.parse_args()
    for path in given.notebooks:
        notebook = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
        clear(notebook)
        if not given.clear:
            with TemporaryDirectory() as folder:
                run(notebook, Path(folder))
        clean(notebook)
        content = nbformat.writes(notebook) + "\n"  # type: ignore[no-untyped-call]
        if len(content.encode()) > LARGEST:
            sys.exit(f"{path} has {len(content.encode()):,} bytes, and at most {LARGEST:,} are stored")
        path.write_text(content, encoding="utf-8", newline="")
        print(f"{path}: {os.path.getsize(path):,} bytes")  # noqa: PTH202
    return 0


if __name__ == "__main__":
    sys.exit(main())
