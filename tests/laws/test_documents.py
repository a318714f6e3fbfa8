"""Documents that the program can check."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

import nextchar
from nextchar.cli.main import COMMANDS

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.fixture
def generator() -> ModuleType:
    """Return docs/generate.py as a module."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_reference_pages_are_what_the_program_says(generator: ModuleType) -> None:
    """Every page with a generated part is up to date; `make docs` writes them."""
    stale = [
        path.name for path, page in generator.pages().items() if path.read_text(encoding="utf-8") != page
    ]
    assert stale == []


def test_every_command_has_its_page() -> None:
    """One command, one page."""
    assert all((ROOT / "docs" / f"{name}.md").exists() for name in COMMANDS)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link of a document leads to a file that is there."""
    targets = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "tour.md"], ids=lambda path: path.name)
def test_python_in_documents_runs(
    page: Path, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python of README and tour does what it says, with a small budget in place of the minutes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text(text + "Once upon a time " * 20, encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        small = re.sub(r"Config\(minutes=\w+\)", "Config(steps=3, hidden=8)", block)
        exec(compile(small, page.name, "exec"), {})  # noqa: S102


def test_the_version_is_one() -> None:
    """The package and the citation name the same version."""
    assert f"version: {nextchar.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")
