"""Many texts, a few minutes each and no flag, beside the recipe of 2015 in the same minutes and a table of 8-grams.

    python studies/corpora.py FOLDER --minutes 5 -o docs/studies

Every text of FOLDER is trained on with its first 90 % and scored on its last 5 %, each character once (*stream*); those with
many characters beyond ASCII also as bytes. Close everything else first: what is compared is time. Results are kept beside the
page as they come, so the study can be made in pieces: `--only names ptb` takes the texts whose path has one of these words.
"""

import argparse
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from cache import Kept, trained
from nextchar.benchmark.report import machine
from nextchar.config import compose
from nextchar.evaluation.ngram import NGram
from nextchar.evaluation.score import Score, score_ids
from nextchar.storage import to_language_model, write_text
from nextchar.text.corpus import Corpus, open_corpus
from nextchar.training.trainer import Trainer
from tables import markdown

VALID = TEST = 0.05
ORDER = 8
PRESET = "karpathy2015"
SUFFIXES = (".txt", ".tex", ".xml", ".abc")
MANY = 128  # characters in a vocabulary, from which on bytes are worth a row
Units = Literal["characters", "bytes"]
Part = Literal["train", "test"]
Ids = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Row:
    """One text in one kind of units: what each contender costs on the test part, in bits per character and per byte."""

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
    def place(self) -> tuple[object, ...]:
        """What tells it from the others."""
        return self.text, self.units, self.minutes


def part(corpus: Corpus, name: Part) -> Ids:
    """Return the ids of a part of the split."""
    return corpus.part(name, VALID, TEST).take(0, len(corpus))


def costs(score: Score) -> tuple[float, float]:
    """Return a score as a row keeps it."""
    return score.bits_per_char, score.bits_per_byte


def train(corpus: Corpus, minutes: float, preset: str | None) -> tuple[Trainer, Score]:
    """Train with no option but the minutes; return how, and what the kept model costs on the test part."""
    given = {"minutes": minutes, "units": corpus.vocabulary.units, "valid": VALID, "test": TEST}
    trainer = trained(corpus, compose(given, preset=preset)[0])
    lm = to_language_model(trainer.best_model())
    return trainer, score_ids(lm.network, part(corpus, "test"), lm.vocabulary)


def measure(path: Path, units: Units, minutes: float) -> Row:
    """Let every contender learn a text."""
    corpus = open_corpus([str(path)], units=units)
    trainer, ours = train(corpus, minutes, None)
    shape, epochs = trainer.config.architecture(), trainer.step / trainer.batches.steps_per_epoch
    del trainer
    preset = train(corpus, minutes, PRESET)[1]
    gc.collect()
    table = NGram(part(corpus, "train"), len(corpus.vocabulary), order=ORDER)
    on = machine()
    return Row(
        path.name,
        units,
        minutes,
        len(corpus),
        len(corpus.vocabulary),
        f"{shape.layers}x{shape.hidden}",
        round(epochs, 2),
        costs(ours),
        costs(preset),
        costs(table.score(part(corpus, "test"), corpus.vocabulary)),
        f"{on['cpu']}, {on['cores']} cores",
        on["date"],
    )


def study(options: argparse.Namespace) -> Iterator[Row]:
    """Yield a row for every text and units; what is kept already is not made again."""
    kept = Kept(options.output / "corpora.jsonl", Row)
    for path in sorted(options.data.rglob("*")):
        wanted = not options.only or any(word in str(path) for word in options.only)
        if path.suffix not in SUFFIXES or not wanted:
            continue
        many = len(open_corpus([str(path)]).vocabulary) >= MANY or path.name in options.bytes
        every: tuple[Units, ...] = ("characters", "bytes") if many else ("characters",)
        for units in every:
            place = path.name, units, options.minutes
            row = kept.get(place) or kept.add(measure(path, units, options.minutes))
            print(" | ".join(cells(row)), flush=True)
            yield row


def cells(row: Row) -> list[str]:
    """Return a row of the table; the best of the three is bold."""
    best = min(row.ours[0], row.preset[0], row.ngram[0])
    bits = [
        f"**{each:.3f}**" if each == best else f"{each:.3f}" for each, _ in (row.ours, row.preset, row.ngram)
    ]
    network = f"{row.network}, {row.epochs:.2f} epochs"
    sizes = [f"{row.characters:,}", str(row.vocabulary)]
    return [row.text, row.units, network, *sizes, *bits, f"{row.ours[1]:.3f}", row.date]


def page(rows: list[Row], command: str) -> str:
    """Return the page of the study."""
    contenders = ["nextchar", "2015", f"{ORDER}-grams"]
    head = [
        "text",
        "units",
        "network chosen",
        "long",
        "V",
        *contenders,
        "nextchar, bits per byte",
        "measured",
    ]
    minutes = rows[0].minutes
    machines = "; ".join(sorted({row.cpu for row in rows}))
    better = sum(row.ours[0] < min(row.preset[0], row.ngram[0]) for row in rows)
    return f"""# Many texts, {minutes:g} minutes each

`{command}`: {machines}. Bits per unit on the last {100 * TEST:g} % of each text, every one scored once in order (*stream*), one seed each;
trained on the first 90 %. nextchar has no option but its minutes; *2015* is `--preset {PRESET}` in the same minutes; the table of
{ORDER}-grams (modified Kneser-Ney) is counted on all of the training part, however long that takes. A short text is known by heart before its minutes
are up: both trainings stop there, after some 80 epochs of the shortest. nextchar is the best of the three on {better} of {len(rows)}.

{markdown(head, map(cells, rows), left=3)}"""


def main() -> None:
    """Read the command line, make what is missing, write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="the folder of texts")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, for each contender")
    parser.add_argument("--only", nargs="+", default=[], help="words, one of which a path must have")
    parser.add_argument(
        "--bytes", nargs="+", default=["stacks.tex"], help="files that are read as bytes, too"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/corpora"))
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    made = list(study(options))
    if not made:
        raise SystemExit(f"{options.data} has no text that ends in {', '.join(SUFFIXES)}")
    rows = Kept(options.output / "corpora.jsonl", Row).all()
    rows = sorted((row for row in rows if row.minutes == options.minutes), key=lambda row: row.place)
    command = f"python studies/corpora.py FOLDER --minutes {options.minutes:g}"
    write_text(options.output / "corpora.md", page(rows, command))


if __name__ == "__main__":
    main()
