"""The layout of the source: which file may import which, and how long files and functions may be."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import nextchar
from size import function_lengths, lines_of_code, room_of

SOURCE = Path(nextchar.__file__).parent
LINES = 17000
FILE_LINES = 300
FUNCTION_LINES = 80

# From the bottom up. A file may import from its own room and from rooms on floors below.
FLOORS = [
    {"errors", "keywords"},
    {"architecture"},
    {"config"},
    {"recipe", "device"},
    {"text", "kernels"},
    {"model", "notebook"},
    {"language_model"},
    {"storage", "features"},
    {"pages"},
    {"evaluation", "sampling", "inspection"},
    {"training", "parsing", "discovery"},
    {"serving", "exporting"},
    {"benchmark"},
    {"cli", "integrations"},
]
# Who may `import nextchar`, and so reach what is above through the lazy table of public names, and nothing else: the
# command line, and the methods of a language model, each of which calls the public function of the same purpose.
PUBLIC_ONLY = ("main.py in cli imports nextchar itself", "language_model.py in language_model imports nextchar itself")
PUBLIC_ONLY += ("serve.py in cli imports nextchar itself",)  # for the version
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def files() -> Iterator[Path]:
    """Yield every source file."""
    return (path for path in sorted(SOURCE.rglob("*.py")))


def imported_rooms(tree: ast.AST) -> Iterator[str]:
    """Yield the rooms that a file imports from; "" stands for `import nextchar`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "nextchar":
            yield node.module.split(".")[1] if "." in node.module else ""
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "nextchar":
                    yield alias.name.split(".")[1] if "." in alias.name else ""


def violations(path: Path, tree: ast.AST) -> list[str]:
    """Return the imports of a file that are not from floors below its own."""
    room = room_of(path, SOURCE)
    return [
        f"{path.name} in {room} imports {other or 'nextchar itself'}"
        for other in imported_rooms(tree)
        if other != room and (other not in FLOOR or FLOOR[other] >= FLOOR[room])
    ]


def test_every_room_has_a_floor() -> None:
    """Every file belongs to a room, and every room has a floor."""
    assert {room_of(path, SOURCE) for path in files()} - {"__init__", "__main__"} == set(FLOOR)


def test_the_map_names_every_room() -> None:
    """CONTRIBUTING.md lists every room as a file or a folder."""
    page = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert [room for room in FLOOR if f"`{room}.py`" not in page and f"`{room}/`" not in page] == []


@pytest.mark.parametrize(
    "path", [p for p in files() if room_of(p, SOURCE) in FLOOR], ids=lambda p: str(p.relative_to(SOURCE))
)
def test_files_import_only_from_below(path: Path) -> None:
    """A file imports only from rooms on floors below its own."""
    found = violations(path, ast.parse(path.read_text(encoding="utf-8")))
    assert [line for line in found if line not in PUBLIC_ONLY] == []


def test_the_floors_test_sees_a_violation() -> None:
    """An import from a floor above is reported."""
    tree = ast.parse(
        "from nextchar.training.trainer import Trainer\nimport nextchar\nfrom nextchar.errors import TextError"
    )
    assert violations(SOURCE / "text" / "corpus.py", tree) == [
        "corpus.py in text imports training",
        "corpus.py in text imports nextchar itself",
    ]


def test_all_lists_every_public_name() -> None:
    """`__all__` is sorted and complete, and every name in it can be imported."""
    assert nextchar.__all__ == sorted(nextchar.__all__)
    assert set(nextchar.__all__) == set(nextchar._HOMES)
    for name in nextchar.__all__:
        assert getattr(nextchar, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        nextchar.nonsense  # noqa: B018


def test_the_package_defines_nothing_but_its_lazy_imports() -> None:
    """`nextchar/__init__.py` holds only the table of lazy imports."""
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    defined = [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    assert defined == ["__getattr__", "__dir__"]


def test_only_code_counts() -> None:
    """Docstrings, comments and blank lines do not count; a statement over two lines counts as two."""
    assert (
        lines_of_code('"""One\n\ntwo."""\n\n# three\nx = (1,\n  "a")\n\ndef f():\n    """Four."""\n    return x\n') == 4
    )


def test_source_files_and_functions_keep_to_their_limits() -> None:
    """The whole source, each file and each function have a limit on lines of code."""
    counts = {path: lines_of_code(path.read_text(encoding="utf-8")) for path in files()}
    assert sum(counts.values()) <= LINES
    assert {path.name: count for path, count in counts.items() if count > FILE_LINES} == {}
    long = {
        f"{path.name}:{name}": lines
        for path in files()
        for name, lines in function_lengths(path.read_text(encoding="utf-8"))
        if lines > FUNCTION_LINES
    }
    assert long == {}


@pytest.mark.parametrize("path", list(files()), ids=lambda p: str(p.relative_to(SOURCE)))
def test_every_file_opens_with_its_purpose(path: Path) -> None:
    """Every file starts with a docstring whose first line is a sentence."""
    purpose = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert purpose
    assert purpose.splitlines()[0][-1] in ".:?"


def test_one_file_escapes_html() -> None:
    """Every other file takes `escape` from notebook.py, so that all displayed texts are escaped in the same way."""
    named = re.compile(r"from html import .*\bescape\b|\bhtml\.escape\b")
    assert [path.name for path in files() if named.search(path.read_text(encoding="utf-8"))] == ["notebook.py"]
