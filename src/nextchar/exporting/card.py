"""The model card: what a model is, what it was trained on, how good it is, and what it copies, as Markdown for the Hub."""

import math
from importlib.resources import files
from pathlib import Path
from typing import Any

from nextchar.errors import NextcharError
from nextchar.evaluation.novelty import WINDOW, Training
from nextchar.evaluation.report import part_of_text
from nextchar.sampling.sample import sample as generate
from nextchar.storage import ModelFile
from nextchar.text.display import visible

SAMPLES, LENGTH, TEMPERATURE, SEED = 10, 1000, 0.8, 0
SHOWN = 600  # characters of the sample
COPY = 200  # characters of the longest copy
TEXTS = 20  # rows of the table
UNKNOWN = "Not measured: the training text was not at hand."
MARK = "<!-- Written by `nextchar push`, which replaces this card as long as it has this line. -->"
PROTOCOLS = {
    "stream": "every character is scored once, in order, and the state is carried from an empty start",
    "windows": "the text is cut into windows that do not overlap, and each is scored from the empty state",
}


def training_text(file: ModelFile, path: Path) -> str:
    """Return the training part of the text of a run, or "" if it is not at hand."""
    try:
        return file.vocabulary.decode(part_of_text(file, path, "train"))
    except NextcharError:
        return ""


def write(file: ModelFile, training: str) -> tuple[str, str]:
    """Generate samples; return the first, and in words how much of all is copied, or "" without a training text."""
    texts = [each.text for each in generate(file, length=LENGTH, temperature=TEMPERATURE, seed=SEED, count=SAMPLES)]
    if not training:
        return texts[0], ""
    copies = Training(training).copies(texts)
    share = sum(found for found, _ in copies.windows) / max(sum(total for _, total in copies.windows), 1)
    copied = (
        f"In {SAMPLES} samples of {LENGTH:,} characters at temperature {TEMPERATURE:g}, {share:.1%} of all passages of "
        f"{WINDOW} characters occur in the training text. The longest copied passage has {copies.longest:,} characters"
    )
    shown = f":\n\n{fenced(copies.text[:COPY])}" if copies.text.strip() else f"{', all blanks' * bool(copies.text)}."
    return texts[0], copied + shown


def fenced(text: str) -> str:
    """Return a text as a block of code that it cannot end.

    Example:
        >>> print(fenced("a ``` b"))
        ````text
        a ``` b
        ````
    """
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{visible(text)}\n{fence}"


def card(file: ModelFile, repository: str, licence: str, sample: str, copied: str) -> str:
    """Return the card of a model, with the metadata that the Hub reads.

    Args:
        file: The model.
        repository: USER/NAME on the Hub.
        licence: By the identifier that the Hub uses.
        sample: What it writes.
        copied: In words, how much of that is copied.
    """
    size, origin = len(file.vocabulary), {"step": 0, "epochs": 0.0, "init_from": "", **file.provenance}
    values: dict[str, Any] = {
        "repository": repository,
        "name": repository.partition("/")[2],
        "licence": licence,
        "mark": MARK,
    }
    values |= {"sample": fenced(sample[:SHOWN]), "copied": copied or UNKNOWN, "score": _score(file), "origin": origin}
    values |= {"seed": SEED, "temperature": TEMPERATURE, "texts": _texts(origin.get("texts", []))}
    values |= {
        "started": f" It started from the weights of {code(str(origin['init_from']))}." * bool(origin["init_from"])
    }
    values |= {"shape": file.architecture, "parameters": file.architecture.parameters(size), "size": size}
    template = (files("nextchar.exporting") / "assets" / "card.md").read_text(encoding="utf-8")
    return template.format(units=file.vocabulary.units, cell=file.architecture.cell.upper(), **values)


def _score(file: ModelFile) -> str:
    """Return the score on the validation part, with its unit and its protocol in words."""
    valid = file.provenance.get("valid")
    if not valid:
        return "Not measured: no part of the text was held out."
    guess = math.log2(len(file.vocabulary))
    return (
        f"**{valid['bits_per_char']:.3f} bits per character** on {_count(valid.get('chars'))} characters that were held out from "
        f"training, but used to choose the best moment of it. 0 is certain; a uniform guess over "
        f"{len(file.vocabulary):,} {file.vocabulary.units} is {guess:.2f}; lower is better.\n\n"
        f"Protocol *{valid['protocol']}*: {PROTOCOLS.get(valid['protocol'], 'see the documentation')}."
    )


def _texts(texts: list[dict[str, object]]) -> str:
    """Return a table of texts with their digests."""
    if not texts:
        return "A text in memory, of which nothing was recorded."
    rows = [
        f"| {code(str(each['name']))} | {_count(each.get('bytes'))} | {code(str(each.get('sha256', '?')))} |"
        for each in texts[:TEXTS]
    ]
    more = f"\n\nand {len(texts) - TEXTS:,} more files" if len(texts) > TEXTS else ""
    return "\n".join(["| text | bytes | SHA-256 |", "|---|---|---|", *rows]) + more


def _count(value: object) -> str:
    """Return a number with its thousands apart; a model from elsewhere may give none."""
    return f"{value:,}" if isinstance(value, int) else "?"


def code(name: str) -> str:
    """Return a name as code in a line or a cell of a table; what would end either is replaced."""
    return f"`{visible(name).replace('`', chr(0x2BC)).replace('|', chr(0xA6)).replace(chr(10), ' ')}`"
