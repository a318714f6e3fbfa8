"""The War and Peace table of "Visualizing and Understanding Recurrent Networks" (arXiv 1506.02078), trained again.

    python studies/karpathy2015.py warpeace_input.txt --sizes 64 128 --layers 1 2 --epochs 10 -o docs/studies

Every network of the grid is trained twice for the same number of epochs, with the preset `karpathy2015` and with default
options, and scored on the test part beside the published number. Units are bytes, as in the paper; the split is 80 % training,
10 % validation, 10 % test. Results are kept, and the page has all networks of as many epochs, so that an interrupted study
continues where it stopped and the grid can be run in parts.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from cache import ResultLog, train
from nextchar.evaluation.ngram import NGram
from nextchar.evaluation.score import score_ids
from nextchar.storage import to_language_model
from nextchar.text.corpus import Corpus, open_corpus
from tables import argument_parser, best_bold, markdown, measured_on, write_page

VALID = TEST = 0.1
RECIPES = {"2015": "karpathy2015", "ours": None}

# Table 1 of the paper, War and Peace: test nats per character after 50 epochs, by cell and hidden units, 1 to 3 layers.
PUBLISHED = {
    ("lstm", 64): (1.449, 1.442, 1.540),
    ("lstm", 128): (1.277, 1.227, 1.279),
    ("lstm", 256): (1.189, 1.137, 1.141),
    ("lstm", 512): (1.161, 1.092, 1.082),
    ("rnn", 64): (1.446, 1.401, 1.396),
    ("rnn", 128): (1.417, 1.286, 1.277),
    ("rnn", 256): (1.342, 1.256, 1.239),
    ("gru", 64): (1.398, 1.373, 1.472),
    ("gru", 128): (1.230, 1.226, 1.253),
    ("gru", 256): (1.198, 1.164, 1.138),
    ("gru", 512): (1.170, 1.201, 1.077),
}
# Table 2: modified Kneser-Ney.
PUBLISHED_NGRAM = {5: 1.232, 6: 1.203, 7: 1.194, 8: 1.194}


@dataclass(frozen=True, slots=True)
class Cell:
    """One trained network of the grid; nats per byte of the test part, *stream*."""

    recipe: str
    cell: str
    layers: int
    hidden: int
    epochs: float
    parameters: int
    seconds: float
    nats: float

    @property
    def key(self) -> tuple[object, ...]:
        """What identifies the network."""
        return self.recipe, self.cell, self.layers, self.hidden, self.epochs


def train_and_score(corpus: Corpus, recipe: str, shape: tuple[str, int, int], epochs: float) -> Cell:
    """Train one network, and score its best weights on validation."""
    options = dict(zip(("cell", "layers", "hidden"), shape, strict=True))
    trained = train(corpus, RECIPES[recipe], **options, epochs=epochs, valid=VALID, test=TEST, units="bytes")
    lm = to_language_model(trained.model)
    ids = corpus.part("test", VALID, TEST).take(0, len(corpus))
    nats = score_ids(lm.network, ids, lm.vocabulary).nats_per_char
    return Cell(recipe, *shape, epochs, lm.network.size(), round(trained.seconds, 1), nats)


def study(corpus: Corpus, options: argparse.Namespace, log: ResultLog[Cell]) -> Iterator[Cell]:
    """Yield every network of the grid, the smallest first; those in the log are not trained again."""
    for hidden, layers, cell, recipe in product(options.sizes, options.layers, options.cells, RECIPES):
        key = recipe, cell, layers, hidden, options.epochs
        shape = cell, layers, hidden
        yield log.get(key) or log.add(train_and_score(corpus, recipe, shape, options.epochs))


def table(cells: list[Cell]) -> str:
    """Return the grid as a table; the better recipe is bold."""
    nats = {(each.cell, each.hidden, each.layers, each.recipe): each.nats for each in cells}
    rows = []
    for one in sorted(cells, key=lambda each: (each.cell, each.hidden, each.layers)):
        if one.recipe != "ours":  # the second of a pair
            continue
        shown = best_bold([nats[one.cell, one.hidden, one.layers, recipe] for recipe in RECIPES])
        paper = PUBLISHED.get((one.cell, one.hidden), ())
        published = f"{paper[one.layers - 1]:.3f}" if one.layers <= len(paper) else "-"
        rows.append((f"{one.cell} {one.layers}x{one.hidden}", f"{one.parameters:,}", *shown, published))
    return markdown(["network", "parameters", "2015 recipe", "ours", "published, 50 epochs"], rows)


def ngrams(corpus: Corpus) -> str:
    """Return a table of n-gram scores beside the published ones."""
    train_ids, test_ids = (corpus.part(name, VALID, TEST).take(0, len(corpus)) for name in ("train", "test"))
    rows = []
    for order, published in PUBLISHED_NGRAM.items():
        table = NGram(train_ids, len(corpus.vocabulary), order=order)
        nats = table.score(test_ids, corpus.vocabulary).nats_per_char
        rows.append((order, f"{nats:.3f}", f"{published:.3f}"))
    return markdown(["n", "ours", "published"], rows, left=0)


def page(cells: list[Cell], corpus: Corpus, command: str) -> str:
    """Return the page of the study."""
    hours = sum(each.seconds for each in cells) / 3600
    return f"""# War and Peace, ten years later

`{command}`: {measured_on()};
{hours:.1f} hours of training, all networks together. Test part in nats per byte, *stream*, one seed each; the split is
80 / 10 / 10 of the paper's file, and the model kept is the best on validation.

{table(cells)}
Both recipes trained for {cells[0].epochs:g} epochs, with no option but the network's shape; the paper's networks trained for 50 epochs, in
batches of 100 sequences of 100 characters, with a dropout chosen for each on the validation part. The preset has the
defaults of char-rnn: batches of 50 sequences of 50 characters, no dropout. Published numbers: arXiv 1506.02078, table 1.

N-grams, modified Kneser-Ney, counted on the training part:

{ngrams(corpus)}"""


def main() -> None:
    """Read the command line, train what is missing, write the page."""
    parser = argument_parser(__doc__)
    parser.add_argument("text", help="the paper's warpeace_input.txt")
    parser.add_argument("--cells", nargs="+", default=["lstm", "gru", "rnn"], choices=["lstm", "gru", "rnn"])
    parser.add_argument("--layers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--epochs", type=float, default=10.0)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/karpathy2015"))
    options = parser.parse_args()
    corpus = open_corpus([options.text], units="bytes")
    options.output.mkdir(parents=True, exist_ok=True)
    log = ResultLog(options.output / "karpathy2015.jsonl", Cell)
    for each in study(corpus, options, log):
        print(
            f"{each.recipe} {each.cell} {each.layers}x{each.hidden}: {each.nats:.4f} nats, {each.seconds:.0f} s",
            flush=True,
        )
    cells = [each for each in log.all() if each.epochs == options.epochs]
    command = f"python studies/karpathy2015.py {Path(options.text).name} --epochs {options.epochs:g}"
    write_page(options.output / "karpathy2015.md", page(cells, corpus, command))


if __name__ == "__main__":
    main()
