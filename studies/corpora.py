"""Many texts, a few minutes each with default options, beside the recipe of 2015 and a table of 8-grams.

    python studies/corpora.py FOLDER --minutes 5 -o docs/studies

Every text of FOLDER is trained on with its first 90 % and scored on its last 5 %, each character once (*stream*); texts with
many characters beyond ASCII are also read as bytes. Close other programs first, because the budget is time. Results are kept
beside the page, so the study can be run in parts: `--only names ptb` takes the texts whose path contains one of these words.
"""

import argparse
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cache import ResultLog, train
from nextchar.benchmark.report import machine
from nextchar.evaluation.ngram import NGram
from nextchar.evaluation.score import Score, score_ids
from nextchar.storage import to_language_model
from nextchar.text.corpus import Corpus, open_corpus
from tables import argument_parser, best_bold, markdown, write_page

VALID = TEST = 0.05
ORDER = 8
PRESET = "karpathy2015"
SUFFIXES = (".txt", ".tex", ".xml", ".abc")
MANY = 128  # characters of a vocabulary from which on a text is also read as bytes
Units = Literal["characters", "bytes"]


@dataclass(frozen=True, slots=True)
class Row:
    """One text in one kind of units, with scores of the test part as (bits per unit, bits per byte)."""

    text: str
    units: Units
    minutes: float
    characters: int
    vocabulary: int
    network: str
    epochs: float
    ours: tuple[float, float]
    preset: tuple[float, float]
    ngram: tuple[float, float]
    cpu: str
    date: str

    @property
    def key(self) -> tuple[object, ...]:
        """What identifies the row."""
        return self.text, self.units, self.minutes


def bits(score: Score) -> tuple[float, float]:
    """Return a score as a row keeps it."""
    return score.bits_per_char, score.bits_per_byte


def train_and_score(corpus: Corpus, minutes: float, preset: str | None) -> tuple[str, float, Score]:
    """Train with default options; return the network's size, the epochs, and the score of the test part."""
    units = corpus.vocabulary.units
    trained = train(corpus, preset, minutes=minutes, units=units, valid=VALID, test=TEST)
    lm, trainer = to_language_model(trained.model), trained.trainer
    shape, epochs = lm.network.architecture, trainer.step / trainer.batches.steps_per_epoch
    test = corpus.part("test", VALID, TEST).take(0, len(corpus))
    return f"{shape.layers}x{shape.hidden}", round(epochs, 2), score_ids(lm.network, test, lm.vocabulary)


def measure(path: Path, units: Units, minutes: float) -> Row:
    """Train and score every contender on a text."""
    corpus = open_corpus([str(path)], units=units)
    network, epochs, ours = train_and_score(corpus, minutes, None)
    gc.collect()
    preset = train_and_score(corpus, minutes, PRESET)[2]
    gc.collect()
    train_ids, test_ids = (corpus.part(part, VALID, TEST).take(0, len(corpus)) for part in ("train", "test"))
    table = NGram(train_ids, len(corpus.vocabulary), order=ORDER)
    about = machine()
    return Row(
        path.name,
        units,
        minutes,
        len(corpus),
        len(corpus.vocabulary),
        network,
        epochs,
        bits(ours),
        bits(preset),
        bits(table.score(test_ids, corpus.vocabulary)),
        f"{about['cpu']}, {about['cores']} cores",
        about["date"],
    )


def study(options: argparse.Namespace, log: ResultLog[Row]) -> Iterator[Row]:
    """Yield a row for every text and kind of units; results in the log are not made again."""
    for path in sorted(options.data.rglob("*")):
        wanted = not options.only or any(word in str(path) for word in options.only)
        if path.suffix not in SUFFIXES or not wanted:
            continue
        many = len(open_corpus([str(path)]).vocabulary) >= MANY or path.name in options.bytes
        every: tuple[Units, ...] = ("characters", "bytes") if many else ("characters",)
        for units in every:
            key = path.name, units, options.minutes
            row = log.get(key) or log.add(measure(path, units, options.minutes))
            print(" | ".join(cells(row)), flush=True)
            yield row


def cells(row: Row) -> list[str]:
    """Return a row of the table; the best of the three is bold."""
    scores = best_bold([row.ours[0], row.preset[0], row.ngram[0]])
    network = f"{row.network}, {row.epochs:.2f} epochs"
    sizes = [f"{row.characters:,}", str(row.vocabulary)]
    return [row.text, row.units, network, *sizes, *scores, f"{row.ours[1]:.3f}", row.date]


def page(rows: list[Row], command: str) -> str:
    """Return the page of the study."""
    head = ["text", "units", "network chosen", "length", "V", "nextchar", "2015", f"{ORDER}-grams"]
    head += ["nextchar, bits per byte", "measured"]
    minutes = rows[0].minutes
    machines = "; ".join(sorted({row.cpu for row in rows}))
    better = sum(row.ours[0] < min(row.preset[0], row.ngram[0]) for row in rows)
    return f"""# Many texts, {minutes:g} minutes each

`{command}`: {machines}.
Bits per unit on the last {100 * TEST:g} % of each text, every unit scored once in order (*stream*), one seed each; trained on
the first 90 %. nextchar runs with default options; *2015* is
`--preset {PRESET}` in the same minutes; the table of {ORDER}-grams (modified Kneser-Ney) is counted on all of the
training part, without a time limit. On a short text both trainings stop before their minutes are over, because more
epochs no longer help: after about 80 epochs of the shortest. nextchar is the best of the three on {better} of
{len(rows)}.

{markdown(head, map(cells, rows), left=3)}"""


def main() -> None:
    """Read the command line, make what is missing, write the page."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path, help="the folder of texts")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, for each contender")
    parser.add_argument("--only", nargs="+", default=[], help="words, one of which a path must contain")
    parser.add_argument("--bytes", nargs="+", default=["stacks.tex"], help="files that are also read as bytes")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/corpora"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    log = ResultLog(options.output / "corpora.jsonl", Row)
    if not list(study(options, log)):
        raise SystemExit(f"{options.data} has no text that ends in {', '.join(SUFFIXES)}")
    rows = sorted((row for row in log.all() if row.minutes == options.minutes), key=lambda row: row.key)
    command = f"python studies/corpora.py FOLDER --minutes {options.minutes:g}"
    write_page(options.output / "corpora.md", page(rows, command))


if __name__ == "__main__":
    main()
