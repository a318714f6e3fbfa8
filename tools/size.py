"""Counts lines of code by room, and the lengths of functions: `make size`, and the limits in tests/laws.

A line of code is one that is not blank, a comment or a docstring.
"""

import ast
import io
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "src" / "nextchar"
LONGEST_SHOWN = 10

_NOT_CODE = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}


def lines_of_code(source: str) -> int:
    """Count the lines of a Python source that are not blank, a comment or a docstring."""
    lines: set[int] = set()
    statement_begins = True
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in _NOT_CODE:
            statement_begins = statement_begins or token.type == tokenize.NEWLINE
        else:
            if not (statement_begins and token.type == tokenize.STRING):
                lines.update(range(token.start[0], token.end[0] + 1))
            statement_begins = False
    return len(lines)


def function_lengths(source: str) -> Iterator[tuple[str, int]]:
    """Yield the name of every function and the number of lines of its body, without its docstring."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            yield node.name, (node.end_lineno or 0) - body[0].lineno + 1


def room_of(path: Path, source: Path = SOURCE) -> str:
    """Return the room of a source file: its folder under `src/nextchar`, or its own name if it is in none."""
    return path.relative_to(source).parts[0].removesuffix(".py")


def main(source: Path = SOURCE) -> None:
    """Print code lines by room, the 95th percentile of function lengths, and the longest functions."""
    rooms: Counter[str] = Counter()
    functions: list[tuple[int, str]] = []
    for path in sorted(source.rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        rooms[room_of(path, source)] += lines_of_code(text)
        functions += [
            (lines, f"{path.relative_to(source).as_posix()}:{name}") for name, lines in function_lengths(text)
        ]
    functions.sort(reverse=True)
    for room, count in [*rooms.most_common(), ("in all", rooms.total())]:
        print(f"{count:7,}  {room}")
    print(f"\n{len(functions):,} functions, 95 % of at most {functions[len(functions) // 20][0]} lines. The longest:")
    for lines, name in functions[:LONGEST_SHOWN]:
        print(f"{lines:7,}  {name}")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
