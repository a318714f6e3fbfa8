"""Writes the generated parts of the documentation: the help of each command, and the table of options.

Run it as `make docs`, or `python docs/generate.py` without make. A test fails if a page is out of date.
"""

import os
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

from nextchar.cli.main import COMMANDS, main
from nextchar.config import PRESETS, Config

HERE = Path(__file__).parent
BEGIN = "<!-- written by docs/generate.py: from here -->\n"
END = "<!-- to here -->\n"


def help_text(*words: str) -> str:
    """Return the help of a command as a code block, for a terminal of 80 columns."""
    os.environ["COLUMNS"] = "80"
    out = StringIO()
    with redirect_stdout(out):
        main([*words, "--help"])
    return f"```text\n$ nextchar {' '.join([*words, '--help'])}\n{out.getvalue().strip()}\n```\n"


def bounds(schema: dict[str, object]) -> str:
    """Return the type and bounds of an option from its JSON schema."""
    kinds = schema.get("anyOf", [schema])
    kind = next(each for each in kinds if each.get("type") != "null")  # type: ignore[attr-defined]
    if "enum" in kind:
        return ", ".join(kind["enum"])
    words = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = [f"{sign} {kind[key]:g}" for key, sign in words.items() if key in kind and kind[key] < 2**63]
    return f"{kind['type']}, {' and '.join(limits)}" if limits else str(kind["type"])


def options_table() -> str:
    """Return the table of all training options."""
    schema = Config.model_json_schema()["properties"]
    rows = ["| option | group | type and bounds | default | meaning |", "|---|---|---|---|---|"]
    for name, info in Config.model_fields.items():
        extra = info.json_schema_extra
        group = extra["group"] if isinstance(extra, dict) else ""
        default = "chosen" if info.default is None else "none" if info.default == () else f"`{info.default}`"
        flag = "--" + name.replace("_", "-")
        rows.append(f"| `{flag}` | {group} | {bounds(schema[name])} | {default} | {info.description} |")
    return "\n".join(rows) + "\n"


def presets() -> str:
    """Return the table of what every preset sets."""
    rows = ["| preset | options |", "|---|---|"]
    rows += [
        f"| `{name}` | " + ", ".join(f"`{k} = {v}`" for k, v in values.items()) + " |"
        for name, values in PRESETS.items()
    ]
    return "\n".join(rows) + "\n"


def between(path: Path, content: str) -> str:
    """Return the content of a page with its generated part replaced."""
    page = path.read_text(encoding="utf-8")
    head, _, rest = page.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return head + BEGIN + "\n" + content + "\n" + END + tail


def pages() -> dict[Path, str]:
    """Return the up-to-date content of every page with a generated part."""
    contents = {HERE / f"{name}.md": help_text(name) for name in COMMANDS}
    contents[HERE / "options.md"] = options_table() + "\n## Presets\n\n" + presets()
    return {path: between(path, content) for path, content in contents.items()}


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content, encoding="utf-8", newline="")
        print(path.name, file=sys.stderr)  # noqa: T201
