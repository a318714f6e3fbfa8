"""Documents and help texts: generated parts are current, links resolve, examples run, lines are short."""

import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from types import ModuleType

import pytest
from cyclopts import App

import nextchar
from nextchar.cli.main import COMMANDS, main

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
# What a reader copies commands from.
COPIED = ("README.md", *(f"docs/{name}.md" for name in ("index", "tour", *COMMANDS)))
PICTURE = {".png": 200_000, ".svg": 300_000}  # bytes
LINE = 120  # characters of a line of Markdown, without the targets of links
COLUMNS = 80  # of a terminal that shows a help text

# Where a rule is still broken. An entry whose page or command keeps the rule fails, so the lists can only shrink.
LONG_LINES: set[str] = set()
INCOMPLETE_HELP: set[str] = set()


def name_of(path: Path) -> str:
    """Return the path of a page from the root of the repository, the same on every system."""
    return path.relative_to(ROOT).as_posix()


def long_lines(page: str) -> list[str]:
    """Return the lines of a Markdown page that are too long; tables, code blocks and targets of links do not count."""
    text = re.sub(r"^ *(```+)(?!`).*?^ *\1 *$", "", page, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"\]\([^)\n]*\)|<?https?://[^\s)>]+>?", "]()", text)
    return [line for line in text.splitlines() if len(line) > LINE and not line.lstrip().startswith("|")]


def help_faults(text: str) -> list[str]:
    """Return what is wrong with a help text: wide lines, a default of None, options that have no sentence."""
    faults = [line for line in text.splitlines() if len(line) > COLUMNS]
    rows: list[str] = []
    for line in text.splitlines():
        inside = line.strip("│ ") if line.startswith("│") else ""
        starts = re.match(r"│ (?:\*  |   )?(?:--[a-z]|[A-Z]{2,})", line)
        if starts:
            rows.append(inside)
        elif inside and rows:
            rows[-1] += " " + inside
    for row in rows:
        sentence = re.sub(r"\[(?:default|choices|required|env)[^]]*\]|--?[a-z][\w-]*|\b[A-Z_]{2,}\b(?:\.{3})?", "", row)
        if "[default: None]" in row or len(sentence.split()) < 2:
            faults.append(row)
    return faults


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
    stale = [path.name for path, page in generator.pages().items() if path.read_text(encoding="utf-8") != page]
    assert stale == []


def test_every_command_has_its_page() -> None:
    """One command, one page."""
    assert all((ROOT / "docs" / f"{name}.md").exists() for name in COMMANDS)


def pages_of(entries: list[dict[str, object]]) -> Iterator[str]:
    """Yield the pages of a navigation, which is a list of `{title: page}` and `{title: [...]}`."""
    for entry in entries:
        for value in entry.values():
            if isinstance(value, str):
                yield value
            elif isinstance(value, list):
                yield from pages_of(value)


def test_every_page_is_in_the_navigation() -> None:
    """The site's navigation names every page of docs/ once, and no other."""
    site = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    assert sorted(pages_of(site["project"]["nav"])) == sorted(pages)


def test_the_api_page_has_every_public_name() -> None:
    """Every name of `nextchar.__all__` has its entry in the API reference."""
    page = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^::: nextchar\.(\w+)$", page, re.MULTILINE)) == nextchar.__all__


def commands_of(page: str) -> list[list[str]]:
    """Return the words of every `nextchar` command in a page's blocks of code, up to a pipe or another command."""
    found = []
    for line in re.findall(r"^ *(?:\$ )?nextchar (.+)$", page, re.MULTILINE):
        words = shlex.split(line, comments=True)
        found.append(list(takewhile(lambda word: word not in {"|", ">", "<", "&&", ";", "&"}, words)))
    return found


@pytest.mark.parametrize("page", [ROOT / page for page in COPIED], ids=name_of)
def test_commands_in_documents_are_understood(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every command line of a page to copy from has flags and values that the program accepts; nothing is run."""
    parse = App.parse_args

    def parse_only(app: App, *given: object, **options: object) -> object:
        _, bound, unused = parse(app, *given, **options)
        return lambda *_, **__: 0, bound, unused

    monkeypatch.setattr(App, "parse_args", parse_only)
    commands = commands_of(page.read_text(encoding="utf-8"))
    assert [words for words in commands if main(words)] == []


def anchors_of(page: Path) -> set[str]:
    """Return the anchors that GitHub makes of the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_resolve(page: Path) -> None:
    """Every relative link of a document is to a file that exists, and its anchor to a heading of that file."""
    broken = []
    for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in anchors_of(target)):
            broken.append(link)
    assert broken == []


@pytest.mark.slow
@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "docs" / "tour.md"], ids=lambda path: path.name)
def test_python_in_documents_runs(page: Path, tmp_path: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python code in README and tour runs, with a few steps in place of the minutes."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text(text + "Once upon a time " * 20, encoding="utf-8")
    for block in re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL):
        small = re.sub(r"\bminutes=[\d.]+", "steps=3, hidden=8", block)
        assert small != block
        exec(compile(small, page.name, "exec"), {})  # noqa: S102


def first_python(page: Path) -> str:
    """Return the first block of Python in a page."""
    block = re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert block
    return block[1]


def test_the_notebook_of_the_readme_is_the_one_that_is_tested() -> None:
    """README and the page of the Python API begin with the same lines; tests/api runs those in a notebook."""
    assert first_python(ROOT / "README.md") == first_python(ROOT / "docs" / "api.md")


def test_pictures_of_the_readme_are_small_and_need_no_script() -> None:
    """A PNG has at most 200 kB, an SVG 300 kB; an SVG neither runs a script nor loads anything."""
    pictures = [ROOT / path for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", (ROOT / "README.md").read_text("utf-8"))]
    assert {path.suffix: path.stat().st_size <= PICTURE[path.suffix] for path in pictures} == {
        ".png": True,
        ".svg": True,
    }
    for path in pictures:
        if path.suffix == ".svg":
            drawing = path.read_text(encoding="utf-8")
            assert drawing.count("http") == drawing.count('xmlns="http') == 1
            assert "<script" not in drawing


def test_the_version_is_one() -> None:
    """The package and the citation name the same version."""
    assert f"version: {nextchar.__version__}\n" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_lines_of_markdown_are_short(page: Path) -> None:
    """A line of prose has at most 120 characters."""
    found = long_lines(page.read_text(encoding="utf-8"))
    assert bool(found) == (name_of(page) in LONG_LINES), found


def test_long_lines_are_found() -> None:
    """Prose counts, with the text of its links; tables, code and targets of links do not."""
    link = f"[a page]({'x' * 200})"
    page = f"{'short ' * 15}{link}\n| {'cell ' * 40}|\n```text\n{'y' * 200}\n```\n<https://a.org/{'z' * 200}>\n"
    assert long_lines(page) == []
    assert long_lines(page + "word " * 30 + "\n") == ["word " * 30]


@pytest.mark.parametrize("flag", ["--help", "--help-all"])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_texts_are_complete(generator: ModuleType, command: str, flag: str) -> None:
    """A help text fits 80 columns, explains every option, and shows no default of None."""
    faults = help_faults(generator.help_text(*filter(None, [command]), flag=flag))
    assert bool(faults) == (command in INCOMPLETE_HELP), faults


def test_faults_of_help_texts_are_found() -> None:
    """Each of the three rules finds its violation, also where the terminal's width breaks the line."""
    good = "│ --count -n INT   How many samples. [default: 1]  │\n│ *  MODEL  A run folder. [required] │\n"
    assert help_faults(good) == []
    broken = (
        "│ --minutes FLOAT  Minutes to train. [default:     │\n│                  None]                           │\n"
    )
    assert help_faults(good + broken) == ["--minutes FLOAT  Minutes to train. [default: None]"]
    assert help_faults("│ --hidden --hidden-size INT  [default: 2] │\n") == ["--hidden --hidden-size INT  [default: 2]"]
    assert help_faults("x" * 81) == ["x" * 81]
