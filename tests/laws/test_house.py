import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

import nextchar

SOURCE = Path(nextchar.__file__).parent
LINES = 10000
FILE_LINES = 300
FUNCTION_LINES = 80

# From the ground up. A file may import from floors below its own, and from its own room.
FLOORS = [
    {"errors"},
    {"architecture"},
    {"config", "device"},
    {"text", "kernels"},
    {"model"},
    {"language_model"},
    {"storage"},
    {"evaluation", "sampling", "inspection"},
    {"training", "parsing", "discovery"},
    {"benchmark"},
    {"cli"},
]
FLOOR = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}


def room_of(path: Path) -> str:
    """Return the room a file is in."""
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def files() -> Iterator[Path]:
    """Yield every source file."""
    return (path for path in sorted(SOURCE.rglob("*.py")))


def imported_rooms(tree: ast.AST) -> Iterator[str]:
    """Yield the rooms a file imports from; "" is the facade itself."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "nextchar":
            yield node.module.split(".")[1] if "." in node.module else ""
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "nextchar":
                    yield alias.name.split(".")[1] if "." in alias.name else ""


def violations(path: Path, tree: ast.AST) -> list[str]:
    """Return the imports of a file that go up or sideways."""
    room = room_of(path)
    return [
        f"{path.name} in {room} imports {other or 'the facade'}"
        for other in imported_rooms(tree)
        if other != room and (other not in FLOOR or FLOOR[other] >= FLOOR[room])
    ]


def test_every_room_has_a_floor() -> None:
    """No file stands outside the house."""
    assert {room_of(path) for path in files()} - {"__init__", "__main__"} == set(FLOOR)


@pytest.mark.parametrize(
    "path", [p for p in files() if room_of(p) in FLOOR], ids=lambda p: str(p.relative_to(SOURCE))
)
def test_files_import_only_from_below(path: Path) -> None:
    """A file imports only rooms on floors below its own; the command line may ask the facade for the version."""
    found = violations(path, ast.parse(path.read_text(encoding="utf-8")))
    assert [line for line in found if line != "main.py in cli imports the facade"] == []


def test_the_floors_test_sees_a_violation() -> None:
    """An import that goes up is named."""
    tree = ast.parse(
        "from nextchar.training.trainer import Trainer\nimport nextchar\nfrom nextchar.errors import TextError"
    )
    assert violations(SOURCE / "text" / "corpus.py", tree) == [
        "corpus.py in text imports training",
        "corpus.py in text imports the facade",
    ]


def test_the_facade_lists_what_it_has() -> None:
    """`__all__` is sorted, complete, and every name can be had."""
    assert nextchar.__all__ == sorted(nextchar.__all__)
    assert set(nextchar.__all__) == set(nextchar._HOMES)
    for name in nextchar.__all__:
        assert getattr(nextchar, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        nextchar.nonsense  # noqa: B018


def test_the_facade_defines_nothing() -> None:
    """The facade holds only the lazy table."""
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    defined = [node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    assert defined == ["__getattr__", "__dir__"]


def lines_of_code(source: str) -> int:
    """Count lines that are not blank, comment or docstring."""
    quiet = {
        tokenize.COMMENT,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
    lines: set[int] = set()
    begins = True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in quiet:
            begins = begins or token.type == tokenize.NEWLINE
        else:
            if not (begins and token.type == tokenize.STRING):
                lines.update(range(token.start[0], token.end[0] + 1))
            begins = False
    return len(lines)


def test_only_code_counts() -> None:
    """Docstrings, comments and blank lines are free, and a statement over two lines is two."""
    assert (
        lines_of_code(
            '"""One\n\ntwo."""\n\n# three\nx = (1,\n  "a")\n\ndef f():\n    """Four."""\n    return x\n'
        )
        == 4
    )


def test_the_house_stays_small() -> None:
    """The source, its files and its functions keep to the line budget, which counts code alone."""
    counts = {path: lines_of_code(path.read_text(encoding="utf-8")) for path in files()}
    assert sum(counts.values()) <= LINES
    assert {path.name: count for path, count in counts.items() if count > FILE_LINES} == {}
    long = {}
    for path in files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
                lines = (node.end_lineno or 0) - body[0].lineno + 1
                if lines > FUNCTION_LINES:
                    long[f"{path.name}:{node.name}"] = lines
    assert long == {}


@pytest.mark.parametrize("path", list(files()), ids=lambda p: str(p.relative_to(SOURCE)))
def test_every_file_opens_with_its_purpose(path: Path) -> None:
    """The first thing in a file is a sentence that says what it is for."""
    purpose = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
    assert purpose
    assert purpose.splitlines()[0][-1] in ".:?"
