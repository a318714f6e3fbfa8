"""Where samples fall short, and why: soundness by the length of a piece, and what a network knows where an environment ends.

    python studies/shortfall.py --data FOLDER --minutes 15 --cache runs/universality -o docs/studies

Reads the models that `studies/universality.py` has kept, and writes the same samples again: at the temperature at which they are
most like real text. Pieces that begin and end within a sample are sorted by their length, and so are those of as much real text.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cache import Kept
from nextchar.evaluation.score import stream
from nextchar.language_model import LanguageModel
from nextchar.parsing import c, latex, python, wikitext
from nextchar.parsing.compare import cut_samples
from nextchar.parsing.report import get_domain
from nextchar.parsing.sweep import SampleRequest, generate, svg
from nextchar.storage import to_language_model, write_text
from nextchar.text.corpus import Corpus
from tables import markdown, span
from universality import CORPORA, TEST, VALID, WRITTEN, Result, opened, taught, train

LENGTHS = (1, 200, 400, 800, 1600, 1 << 31)  # characters of a piece, and between the ends of an environment
ASKED = 200_000  # characters of the test part, at most
SOUND: dict[str, tuple[str, Callable[[str], bool]]] = {
    "linux": ("C functions with balanced brackets", c.brackets),
    "latex": ("LaTeX fragments with matched environments", latex.environments),
    "wikipedia": ("wiki fragments well-formed", wikitext.valid),
    "python": ("Python functions that parse", python.parses),
}


@dataclass(frozen=True, slots=True)
class Share:
    """How many of some things are right, of those between two lengths in characters."""

    least: int
    most: int
    right: float
    of: int

    def __str__(self) -> str:
        """Write it as a cell: in percent, of how many."""
        return f"{100 * self.right:.0f} of {self.of:,}" if self.of else "-"


def by_length(right: Sequence[float], lengths: Sequence[int]) -> list[Share]:
    """Return the mean of `right`, 0 to 1 each, between the lengths of `LENGTHS`."""
    values, sizes = np.asarray(right, float), np.asarray(lengths)
    shares = []
    for least, end in pairwise(LENGTHS):
        there = (sizes >= least) & (sizes < end)
        mean = float(values[there].mean()) if there.any() else np.nan
        shares.append(Share(least, end - 1, mean, int(there.sum())))
    return shares


def pieces_by_length(name: str, samples: Sequence[str]) -> list[Share]:
    """Return the share of sound pieces in samples of a corpus, by their length."""
    pieces = [piece for sample in samples for piece in get_domain(CORPORA[name].domain).pieces(sample).whole]
    return by_length([SOUND[name][1](piece) for piece in pieces], [len(piece) for piece in pieces])


def environment_ends(text: str) -> Iterator[tuple[slice, int]]:
    r"""Yield where the name of an environment stands after `\\end{`, its bracket included, and how far back it began."""
    waiting: list[tuple[str, int]] = []
    for edge in latex.EDGE.finditer(text):
        if edge[1] == "begin":
            waiting.append((edge[2], edge.start()))
        elif waiting and waiting[-1][0] == edge[2]:
            yield slice(edge.start(2), edge.end()), edge.start() - waiting.pop()[1]
        else:
            waiting = []


def names_known(text: str, nats: npt.NDArray[np.float64]) -> tuple[list[Share], float]:
    r"""Return the probability of the right name at every `\\end{`, by distance, and the share of all nats spent on them."""
    ends = list(environment_ends(text))
    costs = [float(nats[place].sum()) for place, _ in ends]
    known = by_length(np.exp(np.negative(costs)).tolist(), [distance for _, distance in ends])
    return known, sum(costs) / float(nats.sum())


def of_test(lm: LanguageModel, corpus: Corpus) -> tuple[str, npt.NDArray[np.float64]]:
    """Return the beginning of the test part, and the nats of its characters."""
    ids = corpus.part("test", VALID, TEST).take(0, ASKED)
    blocks = list(stream(lm.network, ids, lm.vocabulary.start, exact=False))
    return lm.vocabulary.decode(ids), np.concatenate(blocks)


def figure(found: dict[str, tuple[list[Share], list[Share]]]) -> str:
    """Draw the share of sound pieces against their length, real text dashed."""
    from matplotlib.figure import Figure  # noqa: PLC0415  takes long to import

    canvas = Figure(figsize=(10, 4), layout="constrained")
    axes = canvas.subplots()
    for color, (name, columns) in enumerate(found.items()):
        for shares, style in zip(columns, ("-", "--"), strict=True):
            label = SOUND[name][0] if style == "-" else None
            values = [100 * each.right for each in shares]
            axes.plot(range(len(values)), values, style, marker="o", color=f"C{color}", label=label)
    shown = [span(each.least, each.most) for each in next(iter(found.values()))[0]]
    axes.set_xticks(range(len(shown)), shown)
    axes.set(ylim=(-3, 103), xlabel="characters of the piece", ylabel="percent sound; dashed: real text")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return svg(canvas)


def read(name: str, row: Result, options: argparse.Namespace) -> tuple[tuple[list[Share], list[Share]], str]:
    """Return the soundness of a model's pieces and of real ones, by length, and of LaTeX what is known of its environments."""
    corpus = opened(name, options.data)
    model = train(name, corpus, options.minutes, options.cache)
    length = get_domain(CORPORA[name].domain).length
    samples = generate(model, SampleRequest(count=WRITTEN, length=length, temperature=row.temperature))[0]
    ids = np.concatenate([corpus.part(part, VALID, TEST).take(0, len(corpus)) for part in ("valid", "test")])
    real = cut_samples(corpus.vocabulary.decode(ids), WRITTEN, length)
    both = pieces_by_length(name, samples), pieces_by_length(name, real)
    if name != "latex":
        return both, ""
    shares, spent = names_known(*of_test(to_language_model(model), corpus))
    return (
        both,
        f"""
## What a network knows where an environment ends

At every `\\end{{` of the first {ASKED:,} characters of the LaTeX test part: the probability that the model gives to the name that stands there,
in percent, of how many, by the characters since that environment began. All these names cost {100 * spent:.2f} % of the nats of the text.

{table({"the right name": shares})}""",
    )


def table(rows: dict[str, list[Share]]) -> str:
    """Return rows of shares as a table."""
    head = [span(each.least, each.most) for each in next(iter(rows.values()))]
    return markdown(["characters", *head], [[name, *shares] for name, shares in rows.items()])


def main() -> None:
    """Read the command line, read the models, write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("corpora"), help="the folder of corpora")
    parser.add_argument("--minutes", type=float, default=15.0, help="for which the models were trained")
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/universality"), help="of studies/universality.py"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/studies"))
    options = parser.parse_args()
    kept = Kept(options.cache / "universality.jsonl", Result)
    found: dict[str, tuple[list[Share], list[Share]]] = {}
    more = ""
    for name, (what, _) in SOUND.items():
        row = kept.get((name, taught(name, options.minutes)))
        if row is None:
            print(f"{name}: not trained for {options.minutes:g} minutes; left out", flush=True)
            continue
        found[name], said = read(name, row, options)
        more += said
        print(what, *map(str, found[name][0]), sep=" | ", flush=True)
    if not found:
        parser.error(f"{options.cache} has no model of {options.minutes:g} minutes")
    rows = {
        f"{SOUND[name][0]}: {who}": shares
        for name, both in found.items()
        for who, shares in zip(("model", "real text"), both, strict=True)
    }
    write_text(options.output / "shortfall.svg", figure(found))
    write_text(
        options.output / "shortfall.md",
        f"""# Where samples fall short

`python studies/shortfall.py --data FOLDER --minutes {options.minutes:g}`, on the models and at the temperatures of
[the study of seven texts](universality.md). What it comes to is said [there](../structure.md#where-samples-fall-short).

## By length

Pieces that are sound, in percent, of how many, by their characters; {WRITTEN} samples each, and as many of real text that was not learnt.

![soundness against length](shortfall.svg)

{table(rows)}{more}""",
    )


if __name__ == "__main__":
    main()
