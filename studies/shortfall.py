"""Where samples fall short: valid pieces by length, and the probability of an environment's name at its end.

    python studies/shortfall.py --data FOLDER --minutes 15 --cache runs/universality -o docs/studies

Reads the models of `studies/universality.py`, and generates the same samples again, at the temperature at which they are most
like real text. The pieces of the samples, and of as much real text, are grouped by their length.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from cache import ResultLog
from nextchar.evaluation.score import stream
from nextchar.language_model import LanguageModel
from nextchar.parsing import c, latex, python, wikitext
from nextchar.parsing.compare import cut_samples
from nextchar.parsing.report import get_domain
from nextchar.parsing.sweep import SampleRequest, generate
from nextchar.storage import to_language_model
from nextchar.text.corpus import Corpus
from plots import save, subplots
from tables import argument_parser, markdown, span, write_page
from universality import CORPORA, SAMPLES, TEST, VALID, Result, opened, train, trained_minutes

LENGTHS = (1, 200, 400, 800, 1600, 1 << 31)  # characters of a piece, or of an environment
TESTED = 200_000  # characters of the test part, at most
VALID_PIECES: dict[str, tuple[str, Callable[[str], bool]]] = {
    "linux": ("C functions with balanced brackets", c.brackets),
    "latex": ("LaTeX fragments with matched environments", latex.environments),
    "wikipedia": ("wiki fragments well-formed", wikitext.valid),
    "python": ("Python functions that parse", python.parses),
}


@dataclass(frozen=True, slots=True)
class Share:
    """The share that is correct among the pieces between two lengths in characters."""

    least: int
    most: int
    correct: float
    of: int

    def __str__(self) -> str:
        """Return it as a table cell: percent, of how many."""
        return f"{100 * self.correct:.0f} of {self.of:,}" if self.of else "-"


def by_length(correct: Sequence[float], lengths: Sequence[int]) -> list[Share]:
    """Return the mean of `correct`, 0 to 1 each, for each interval of `LENGTHS`."""
    values, sizes = np.asarray(correct, float), np.asarray(lengths)
    shares = []
    for least, end in pairwise(LENGTHS):
        inside = (sizes >= least) & (sizes < end)
        mean = float(values[inside].mean()) if inside.any() else np.nan
        shares.append(Share(least, end - 1, mean, int(inside.sum())))
    return shares


def pieces_by_length(name: str, samples: Sequence[str]) -> list[Share]:
    """Return the share of valid pieces in samples of a corpus, by their length."""
    pieces = [piece for sample in samples for piece in get_domain(CORPORA[name].domain).pieces(sample).whole]
    return by_length([VALID_PIECES[name][1](piece) for piece in pieces], [len(piece) for piece in pieces])


def environment_ends(text: str) -> Iterator[tuple[slice, int]]:
    r"""Yield the slice of the name after `\end{`, with its closing bracket, and the distance to the `\begin`."""
    stack: list[tuple[str, int]] = []
    for edge in latex.EDGE.finditer(text):
        if edge[1] == "begin":
            stack.append((edge[2], edge.start()))
        elif stack and stack[-1][0] == edge[2]:
            yield slice(edge.start(2), edge.end()), edge.start() - stack.pop()[1]
        else:
            stack = []


def names_known(text: str, nats: npt.NDArray[np.float64]) -> tuple[list[Share], float]:
    r"""Return the probability of the correct name at every `\end{`, by distance, and the names' share of all nats."""
    ends = list(environment_ends(text))
    losses = [float(nats[place].sum()) for place, _ in ends]
    known = by_length(np.exp(np.negative(losses)).tolist(), [distance for _, distance in ends])
    return known, sum(losses) / float(nats.sum())


def of_test(lm: LanguageModel, corpus: Corpus) -> tuple[str, npt.NDArray[np.float64]]:
    """Return the beginning of the test part, and the nats of its characters."""
    ids = corpus.part("test", VALID, TEST).take(0, TESTED)
    blocks = list(stream(lm.network, ids, lm.vocabulary.start, exact=False))
    return lm.vocabulary.decode(ids), np.concatenate(blocks)


def figure(found: dict[str, tuple[list[Share], list[Share]]]) -> Figure:
    """Plot the share of valid pieces against their length, real text dashed."""
    canvas, axes = subplots(10, 4)
    for color, (name, columns) in enumerate(found.items()):
        for shares, style in zip(columns, ("-", "--"), strict=True):
            label = VALID_PIECES[name][0] if style == "-" else None
            values = [100 * each.correct for each in shares]
            axes.plot(range(len(values)), values, style, marker="o", color=f"C{color}", label=label)
    shown = [span(each.least, each.most) for each in next(iter(found.values()))[0]]
    axes.set_xticks(range(len(shown)), shown)
    axes.set(ylim=(-3, 103), xlabel="characters of the piece", ylabel="percent valid; dashed: real text")
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return canvas


def read(name: str, row: Result, options: argparse.Namespace) -> tuple[tuple[list[Share], list[Share]], str]:
    """Return the shares of a model's and of real text's pieces by length; for LaTeX also a section on its environments."""
    corpus = opened(name, options.data)
    model = train(name, corpus, options.minutes, options.cache)
    length = get_domain(CORPORA[name].domain).length
    samples = generate(model, SampleRequest(count=SAMPLES, length=length, temperature=row.temperature))[0]
    ids = np.concatenate([corpus.part(part, VALID, TEST).take(0, len(corpus)) for part in ("valid", "test")])
    real = cut_samples(corpus.vocabulary.decode(ids), SAMPLES, length)
    both = pieces_by_length(name, samples), pieces_by_length(name, real)
    if name != "latex":
        return both, ""
    shares, spent = names_known(*of_test(to_language_model(model), corpus))
    return (
        both,
        f"""
## The probability of an environment's name at its end

The probability that the model gives to the correct name at every `\\end{{` of the first {TESTED:,} characters of the
LaTeX test part: percent, of how many, by the characters since the environment began. All these names together are
{100 * spent:.2f} % of the nats of the text.

{table({"the correct name": shares})}""",
    )


def table(rows: dict[str, list[Share]]) -> str:
    """Return rows of shares as a table."""
    head = [span(each.least, each.most) for each in next(iter(rows.values()))]
    return markdown(["characters", *head], [[name, *shares] for name, shares in rows.items()])


def main() -> None:
    """Read the command line and the models, write the page."""
    parser = argument_parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("corpora"), help="the folder of corpora")
    parser.add_argument("--minutes", type=float, default=15.0, help="for which the models were trained")
    parser.add_argument("--cache", type=Path, default=Path("runs/universality"), help="of studies/universality.py")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/studies"))
    options = parser.parse_args()
    log = ResultLog(options.cache / "universality.jsonl", Result)
    found: dict[str, tuple[list[Share], list[Share]]] = {}
    more = ""
    for name, (what, _) in VALID_PIECES.items():
        row = log.get((name, trained_minutes(name, options.minutes)))
        if row is None:
            print(f"{name} is left out: it was not trained for {options.minutes:g} minutes", flush=True)
            continue
        found[name], section = read(name, row, options)
        more += section
        print(what, *map(str, found[name][0]), sep=" | ", flush=True)
    if not found:
        parser.error(f"{options.cache} has no model of {options.minutes:g} minutes")
    rows = {
        f"{VALID_PIECES[name][0]}: {source}": shares
        for name, both in found.items()
        for source, shares in zip(("model", "real text"), both, strict=True)
    }
    save(figure(found), options.output / "shortfall.svg")
    write_page(
        options.output / "shortfall.md",
        f"""# Where samples fall short

`python studies/shortfall.py --data FOLDER --minutes {options.minutes:g}`, on the models and at the temperatures of
[the study of seven texts](universality.md). [Its summary](../structure.md#where-samples-fall-short).

## By length

Valid pieces: percent, of how many, by their characters; {SAMPLES} samples each of the model and of held-out real text.

![valid pieces against length](shortfall.svg)

{table(rows)}{more}""",
    )


if __name__ == "__main__":
    main()
