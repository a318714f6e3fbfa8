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
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from cyclopts import App

import nextchar
from nextchar import SampleOptions, SamplingParams, evaluate, keywords
from nextchar.cli.flags import DEFAULTS
from nextchar.cli.main import COMMANDS, LONG, main
from nextchar.cli.mistakes import ANSWERS
from nextchar.config import PRESETS, Config

HERE = Path(__file__).parent
KEYWORDS = Path(keywords.__file__)
BEGIN = "<!-- written by docs/generate.py: from here -->\n"
END = "<!-- to here -->\n"


# Flags of other projects: those of training, and those of sampling.
PEERS = {
    "char-rnn, torch-rnn": (
        (
            "checkpoint_dir max_epochs model model_type num_layers rnn_size wordvec_size dropout batch_size seq_length "
            "learning_rate learning_rate_decay learning_rate_decay_after grad_clip eval_val_every val_frac init_from seed "
            "decay_rate train_frac gpuid gpu opencl"
        ),
        "primetext start_text length temperature seed sample",
    ),
    "nanoGPT": (
        (
            "out_dir max_iters n_layer block_size batch_size dropout learning_rate warmup_iters weight_decay beta1 beta2 "
            "grad_clip eval_interval device n_head n_embd dtype"
        ),
        "start max_new_tokens temperature top_k num_samples seed",
    ),
    "transformers": (
        (
            "output_dir num_train_epochs max_steps learning_rate warmup_steps weight_decay adam_beta1 adam_beta2 "
            "max_grad_norm eval_steps seed bf16"
        ),
        (
            "max_new_tokens temperature top_k top_p min_p num_return_sequences stop_strings max_length do_sample num_beams "
            "repetition_penalty"
        ),
    ),
    "textgenrnn, PyTorch": (
        "num_epochs epochs rnn_size hidden_size nhid rnn_layers num_layers nlayers embedding_dim emsize bptt lr clip",
        "prefix max_gen_length temperature top_n",
    ),
}


def help_text(*words: str, flag: str = "--help") -> str:
    """Return the help of a command as a code block, for a terminal of 80 columns."""
    os.environ["COLUMNS"] = "80"
    out = StringIO()
    with redirect_stdout(out):
        main([*words, flag])
    shown = "\n".join(map(str.rstrip, out.getvalue().strip().splitlines()))
    return f"```text\n$ nextchar {' '.join([*words, flag])}\n{shown}\n```\n"


def flags(command: str) -> dict[str, str]:
    """Return every flag of a command, and the first name of its option."""
    app = App(default_parameter=DEFAULTS)
    app.command(import_module(f"nextchar.cli.{command}").command, name=command)
    arguments = app[command].assemble_argument_collection(parse_docstring=False)
    return {name: argument.names[0] for argument in arguments for name in argument.names}


def peers_table(command: str, place: int) -> str:
    """Return the table of what options of a command are called in other projects."""
    known = flags(command)
    rows = [f"| `nextchar {command}` | {' | '.join(PEERS)} |", "|---|" + "---|" * len(PEERS)]
    cells: dict[str, list[list[str]]] = {option: [[] for _ in PEERS] for option in dict.fromkeys(known.values())}
    for column, theirs in enumerate(PEERS.values()):
        for name in theirs[place].split():
            flag = "--" + name.replace("_", "-")
            if flag in known:
                cells[known[flag]][column].append(f"`{name}`")
    rows += [f"| `{name}` | {' | '.join(map(', '.join, cell))} |" for name, cell in cells.items() if any(cell)]
    return "\n".join(rows) + "\n"


def answers_table() -> str:
    """Return the table of options of other projects that have no equal, and of what there is instead."""
    known = {**flags("train"), **flags("sample")}
    missing = {name for places in PEERS.values() for names in places for name in names.replace("_", "-").split()}
    rows = ["| theirs | here |", "|---|---|"]
    for names, answer in ANSWERS["flags"].items():
        if shown := [
            f"`{name.replace('-', '_')}`" for name in names.split() if name in missing and f"--{name}" not in known
        ]:
            quoted = re.sub("--[a-z0-9-]+", r"`\g<0>`", answer)
            rows.append(f"| {', '.join(shown)} | {quoted} |")
            missing -= set(names.split())
    unexplained = {f"--{name}" for name in missing} - known.keys()
    assert not unexplained, unexplained
    return "\n".join(rows) + "\n"


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
    """Return a type as it is written for the keyword of a caller: a `str` is one of several, pairs may be a mapping."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return f"Literal[{', '.join(map(json.dumps, inner))}]"
    if origin in (UnionType, Union):
        return " | ".join(dict.fromkeys(map(spelled, inner)))
    if origin is tuple and inner[-1] is ...:
        if get_origin(inner[0]) is tuple:
            return f"Mapping[{', '.join(map(spelled, get_args(inner[0])))}] | Sequence[{spelled(inner[0])}]"
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
        "from collections.abc import Mapping, Sequence\nfrom typing import Literal, TypedDict\n"
    )
    parts = [head]
    for name, what, entries in (
        ("TrainKeywords", "The options of `train`: the fields of `Config`.", options),
        ("SampleKeywords", "The options of `sample` and `stream`, of `SampleOptions` and `SamplingParams`.", drawing),
        ("ScoreKeywords", "The options of `LanguageModel.score` and `evaluate`.", keywords_of(evaluate)),
        ("InspectKeywords", "The options of `LanguageModel.inspect` and `inspect`.", keywords_of(nextchar.inspect)),
    ):
        lines = [f'    {key}: {spelled(kind)}\n    """{meaning}"""\n' for key, kind, meaning in entries]
        parts.append(f'\n\nclass {name}(TypedDict, total=False):\n    """{what}"""\n\n' + "".join(lines))
    return "".join(parts)


def pages() -> dict[Path, str]:
    """Return the up-to-date content of every file that is generated, or has a generated part."""
    contents = {
        HERE / f"{name}.md": help_text(name, flag="--help-all" if name in LONG else "--help") for name in COMMANDS
    }
    contents[HERE / "options.md"] = "\n".join(
        (
            options_table(),
            "## Coming from another project\n",
            peers_table("train", 0),
            peers_table("sample", 1),
            "These have no equal:\n",
            answers_table(),
            "## Presets\n",
            presets(),
        )
    )
    return {path: between(path, content) for path, content in contents.items()} | {KEYWORDS: keywords_module()}


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content, encoding="utf-8", newline="")
        print(path.name, file=sys.stderr)  # noqa: T201
