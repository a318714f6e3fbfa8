"""The model card: what a model is, what it was trained on, how good it is, and what it copies, as Markdown for the Hub."""

import math
from dataclasses import dataclass
from pathlib import Path

from nextchar.errors import TextError
from nextchar.evaluation.novelty import WINDOW, Training
from nextchar.evaluation.report import part_of_text
from nextchar.sampling.sample import sample
from nextchar.storage import ModelFile
from nextchar.text.display import visible

SAMPLES, LENGTH, TEMPERATURE, SEED = 10, 1000, 0.8, 0
SHOWN = 600  # characters of the sample
COPY = 200  # characters of the longest copy
TEXTS = 20  # rows of the table
MARK = "<!-- Written by `nextchar push`, which replaces this card as long as it has this line. -->"
PROTOCOLS = {
    "stream": "every character is scored once, in order, and the state is carried from an empty start",
    "windows": "the text is cut into windows that do not overlap, and each is scored from the empty state",
}
LIMITATIONS = """\
- It continues text in the manner of what it was trained on, and does nothing else: it knows no facts, follows no
  instructions and answers no questions. Names, quotations and numbers that it writes are made up, or copied.
- It can reproduce passages of its training text, and with them errors, prejudice and personal data, if the text has any.
- It knows {characters}; a text with others is refused, unless they are skipped.
- What it wrote some hundred characters ago it has largely forgotten, so longer texts lose their thread."""


@dataclass(frozen=True, slots=True)
class Writing:
    """What a model writes, and how much of it is copied.

    Attributes:
        text: The first sample.
        copied: In words; empty if the training text was not at hand.
    """

    text: str
    copied: str


def training_text(file: ModelFile, path: Path) -> str:
    """Return the training part of the text of a run, or "" if it is not at hand."""
    try:
        return file.vocabulary.decode(part_of_text(file, path, "train"))
    except TextError:
        return ""


def write(file: ModelFile, training: str) -> Writing:
    """Generate samples, and compare them with the training text, if it is given."""
    texts = [each.text for each in sample(file, length=LENGTH, temperature=TEMPERATURE, seed=SEED, count=SAMPLES)]
    if not training:
        return Writing(texts[0], "")
    copies = Training(training).copies(texts)
    share = sum(found for found, _ in copies.windows) / max(sum(total for _, total in copies.windows), 1)
    copied = (
        f"In {SAMPLES} samples of {LENGTH:,} characters at temperature {TEMPERATURE:g}, {share:.1%} of all passages of "
        f"{WINDOW} characters occur in the training text. The longest copied passage has {copies.longest:,} characters"
    )
    return Writing(texts[0], f"{copied}:\n\n{fenced(copies.text[:COPY])}" if copies.longest else f"{copied}.")


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


def card(file: ModelFile, repository: str, licence: str, writing: Writing) -> str:
    """Return the card of a model, with the metadata that the Hub reads.

    Args:
        file: The model.
        repository: USER/NAME on the Hub.
        licence: By the identifier that the Hub uses.
        writing: What it writes.
    """
    shape, vocabulary, origin = file.architecture, file.vocabulary, file.provenance
    tags = ["nextchar", "char-rnn", "character-level", shape.cell]
    size, units = len(vocabulary), vocabulary.units
    listed = "".join(f"- {tag}\n" for tag in tags)
    head = f"library_name: nextchar\npipeline_tag: text-generation\nlicense: {licence}\ntags:\n{listed}"
    about = (
        f"A character-level language model: it predicts the next of {size:,} {units}, and so writes text of the kind it "
        f"was trained on. {shape.cell.upper()} with {shape.layers} layers of {shape.hidden:,} units, "
        f"{shape.parameters(size):,} parameters, trained with nextchar."
    )
    use = (
        f"```sh\npip install 'nextchar[hub]'\nnextchar sample hf://{repository} --length 500\n```\n\n"
        f'```python\nimport nextchar\nprint(nextchar.sample("hf://{repository}", length=500))\n```'
    )
    chance = f"The first one, not a chosen one: seed {SEED}, temperature {TEMPERATURE:g}, no prompt."
    spent = f"{origin.get('step', 0):,} steps, {origin.get('epochs', 0):.2f} times through the text."
    sections = {
        "Use": use,
        "A sample": f"{chance}\n\n{fenced(writing.text[:SHOWN])}",
        "What is copied": writing.copied or "Not measured: the training text was not at hand.",
        "How well it predicts": _score(file),
        "What it was trained on": f"{_texts(origin.get('texts', []))}\n\n{spent}{_started(origin.get('init_from', ''))}",
        "Limitations": LIMITATIONS.format(characters=f"{size:,} {units}"),
    }
    parts = [f"---\n{head}---\n{MARK}", f"# {repository.partition('/')[2]}", about]
    parts += [f"## {title}\n\n{content}" for title, content in sections.items()]
    return "\n\n".join(parts) + "\n"


def _started(address: str) -> str:
    return f" It started from the weights of {code(address)}." if address else ""


def _score(file: ModelFile) -> str:
    """Return the score on the validation part, with its unit and its protocol in words."""
    valid = file.provenance.get("valid")
    if not valid:
        return "Not measured: no part of the text was held out."
    guess = math.log2(len(file.vocabulary))
    return (
        f"**{valid['bits_per_char']:.3f} bits per character** on {valid['chars']:,} characters that were held out from "
        f"training, but used to choose the best moment of it. 0 is certain; a uniform guess over "
        f"{len(file.vocabulary):,} {file.vocabulary.units} is {guess:.2f}; lower is better.\n\n"
        f"Protocol *{valid['protocol']}*: {PROTOCOLS.get(valid['protocol'], 'see the documentation')}."
    )


def _texts(texts: list[dict[str, object]]) -> str:
    """Return a table of texts with their digests."""
    if not texts:
        return "A text in memory, of which nothing was recorded."
    rows = [f"| {code(str(each['name']))} | {each['bytes']:,} | `{each['sha256']}` |" for each in texts[:TEXTS]]
    more = f"\n\nand {len(texts) - TEXTS:,} more files" if len(texts) > TEXTS else ""
    return "\n".join(["| text | bytes | SHA-256 |", "|---|---|---|", *rows]) + more


def code(name: str) -> str:
    """Return a name as code in a line or a cell of a table; what would end either is replaced."""
    return f"`{visible(name).replace('`', chr(0x2BC)).replace('|', chr(0xA6)).replace(chr(10), ' ')}`"
