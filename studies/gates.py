"""How saturated the gates of trained networks are, as in figure 3 of arXiv 1506.02078, and how long units remember.

    nextchar train warpeace_input.txt --hidden 512 --layers 2 --minutes 15 -o runs/warpeace
    nextchar train linux_kernel.txt --hidden 512 --layers 2 --minutes 15 -o runs/linux
    python studies/gates.py runs/warpeace runs/linux -o docs/studies

Each run's model reads the beginning of the validation part of its own text, which it never trained on.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.config import read_toml
from nextchar.inspection.gates import GateRow, gate_rows
from nextchar.inspection.summary import summarize
from nextchar.inspection.trace import pieces
from nextchar.language_model import LanguageModel
from nextchar.storage import CONFIG, load
from nextchar.text.corpus import open_corpus
from plots import save, subplots
from tables import argument_parser, markdown, measured_on, write_page

PAPER = """The paper shows its gates as scatter plots, with the same two thresholds, and gives no numbers for them. It says that
some forget gates are right-saturated at nearly every character, so that their units keep their values for long, and that
the first layer differs from the layers above it."""


@dataclass(frozen=True, slots=True)
class Read:
    """The gates of one run: its name, a description, the table, and its forget gates' (left, right) shares by layer."""

    name: str
    about: str
    rows: list[GateRow]
    points: dict[int, npt.NDArray[Any]]


def read(run: Path, characters: int) -> Read:
    """Read the beginning of a run's validation part with its model."""
    lm = load(run)
    _, texts = read_toml(run / CONFIG)
    corpus = open_corpus(texts, units=lm.vocabulary.units).in_vocabulary(lm.vocabulary)
    ids = corpus.part("valid", lm.config["valid"], lm.config["test"]).take(0, characters)
    summaries = summarize(pieces(lm, ids))
    points = {layer: np.stack(summary.saturation("f")) for layer, summary in summaries.items()}
    return Read(run.name, about(lm, len(ids)), gate_rows(summaries), points)


def about(lm: LanguageModel, characters: int) -> str:
    """Describe the model, its training and its score."""
    shape, known = lm.network.architecture, lm.provenance
    trained = f"{known['step']:,} steps, {known['epochs']:.2f} epochs"
    score = f"{known['valid']['bits_per_char']:.3f} bits per character on its validation part"
    return f"{shape.layers}x{shape.hidden} {shape.cell}, {trained}, {score}; {characters:,} characters read"


def table(reads: list[Read]) -> str:
    """Return a table with a row for each gate of each layer of each run."""
    lines = []
    for each in reads:
        for row in each.rows:
            shares = (row.left, row.right, row.always_left, row.always_right)
            times = (row.timescale, row.course, row.agreement)
            numbers = [f"{100 * share:.1f} %" for share in shares]
            numbers += ["" if time is None else f"{time:.2f}" for time in times]
            lines.append([each.name, row.layer, row.gate, *numbers])
    head = ["run", "layer", "gate", "below 0.1", "above 0.9", "units always below", "units always above"]
    return markdown([*head, "τ by gate", "τ by course", "agreement"], lines, left=3)


def draw(reads: list[Read], path: Path) -> None:
    """Plot the forget gates of every layer as the paper does: a dot for each unit, left against right saturation."""
    columns = max(len(each.points) for each in reads)
    shared = {"squeeze": False, "sharex": True, "sharey": True}
    figure, grid = subplots(2.6 * columns, 2.7 * len(reads), len(reads), columns, **shared)
    for line, each in zip(grid, reads, strict=True):
        for axes, (layer, (left, right)) in zip(line, each.points.items(), strict=False):
            axes.plot(left, right, ".", color="#2166ac", alpha=0.4, markersize=5)
            axes.plot([0, 1], [1, 0], color="#cccccc", linewidth=0.8)
            axes.set_title(f"{each.name}, layer {layer}", fontsize=9)
            axes.set_box_aspect(1)
        line[0].set_ylabel("share above 0.9")
    for axes in grid[-1]:
        axes.set_xlabel("share below 0.1")
    save(figure, path)


def page(reads: list[Read], command: str) -> str:
    """Return the page of the study."""
    models = "\n".join(f"- {each.name}: {each.about}" for each in reads)
    return f"""# The gates of trained networks

`{command}`: {measured_on()}; one seed each.

{models}

{PAPER}

![Forget gates](gates.svg)

{table(reads)}
The first two shares are means over the units of a layer; a unit's gate is *always* below or above if it is so at more
than 90 % of the characters. τ are medians over the units, in characters: by the gate -1 / E[ln f], by the course the lag
at which the autocorrelation of tanh(c) first falls below 1/e. Agreement is Spearman's rank correlation of the two over
the units.
"""


def main() -> None:
    """Read the command line and the models, write table, figure and page."""
    parser = argument_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, help="run folders of lstms")
    parser.add_argument("--characters", type=int, default=50_000)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/gates"))
    options = parser.parse_args()
    reads = [read(run, options.characters) for run in options.runs]
    options.output.mkdir(parents=True, exist_ok=True)
    draw(reads, options.output / "gates.svg")
    command = f"python studies/gates.py {' '.join(f'runs/{run.name}' for run in options.runs)}"
    if options.characters != parser.get_default("characters"):
        command += f" --characters {options.characters}"
    write_page(options.output / "gates.md", page(reads, command))
    print(table(reads))


if __name__ == "__main__":
    main()
