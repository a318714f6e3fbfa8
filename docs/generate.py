"""Writes what is generated: the help of each command, the table of options, and the types of keywords.

Run it as `make docs`, or `python docs/generate.py` without make. A test fails if a page is out of date.
"""

import inspect
import json
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from nextchar import SampleOptions, SamplingParams, evaluate, keywords, report
from nextchar.cli.main import COMMANDS, main
from nextchar.config import PRESETS, Config

HERE = Path(__file__).parent
KEYWORDS = Path(keywords.__file__)
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


def spelled(kind: Any) -> str:
    """Return a type as it is written for the keyword of a caller: a `str` is one of several."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"Literal[{', '.join(map(json.dumps, inner))}]"
    if origin in (UnionType, Union):
        return " | ".join(dict.fromkeys(map(spelled, inner)))
    if origin is tuple and inner[-1] is ...:
        return f"{spelled(inner[0])} | Sequence[{spelled(inner[0])}]"
    if origin:
        return f"{origin.__name__}[{', '.join(map(spelled, inner))}]"
    return "None" if kind is type(None) else str(kind.__name__)


def explained(documented: object, heading: str) -> dict[str, str]:
    """Return the entries below a heading of a docstring, each as one line."""
    section = (inspect.getdoc(documented) or "").partition(f"{heading}:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", section, re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def fields_of(cls: type, *, without: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield name, type and meaning of the fields of a dataclass."""
    meaning = explained(cls, "Attributes")
    return ((name, kind, meaning[name]) for name, kind in get_type_hints(cls).items() if name != without)


def keywords_of(function: Callable[..., object]) -> Iterator[tuple[str, Any, str]]:
    """Yield name, type and meaning of the parameters of a function that are given by keyword."""
    meaning = explained(function, "Args")
    given = (each for each in inspect.signature(function).parameters.values() if each.kind is each.KEYWORD_ONLY)
    return ((each.name, each.annotation, meaning[each.name]) for each in given)


def keywords_module() -> str:
    """Return the source of `nextchar/keywords.py`."""
    hints = get_type_hints(Config)
    options = [(name, hints[name], str(info.description)) for name, info in Config.model_fields.items()]
    drawing = [*fields_of(SampleOptions, without="params"), *fields_of(SamplingParams)]
    head = (
        '"""Options by keyword, with their types: for type checkers and editors.\n\n'
        'Written by docs/generate.py from the declarations; a test fails if it is out of date.\n"""\n\n'
        "from collections.abc import Sequence\nfrom typing import Literal, TypedDict\n"
    )
    parts = [head]
    for name, what, entries in (
        ("TrainKeywords", "The options of `train`: the fields of `Config`.", options),
        ("SampleKeywords", "The options of `sample` and `stream`, of `SampleOptions` and `SamplingParams`.", drawing),
        ("ScoreKeywords", "The options of `LanguageModel.score` and `evaluate`.", keywords_of(evaluate)),
        ("InspectKeywords", "The options of `LanguageModel.inspect` and `report`.", keywords_of(report)),
    ):
        lines = [f'    {key}: {spelled(kind)}\n    """{meaning}"""\n' for key, kind, meaning in entries]
        parts.append(f'\n\nclass {name}(TypedDict, total=False):\n    """{what}"""\n\n' + "".join(lines))
    return "".join(parts)


def pages() -> dict[Path, str]:
    """Return the up-to-date content of every file that is generated, or has a generated part."""
    contents = {HERE / f"{name}.md": help_text(name) for name in COMMANDS}
    contents[HERE / "options.md"] = options_table() + "\n## Presets\n\n" + presets()
    return {path: between(path, content) for path, content in contents.items()} | {KEYWORDS: keywords_module()}


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content, encoding="utf-8", newline="")
        print(path.name, file=sys.stderr)  # noqa: T201
