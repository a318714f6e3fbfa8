"""Default options for hours: what longer training reaches on four kinds of text, with a page in docs/studies.

    python studies/overnight.py --data FOLDER --minutes 15 30 60 150

For each text the options and the number of steps are chosen once, for the longest budget on this machine, and kept; from then
on the training counts steps, so that a disturbed clock does not matter. An interrupted training is resumed, never begun again.
After each share of the steps that the other budgets are of the longest, the best model so far is kept, scored, and its samples
are parsed, as in `universality.py`. `--only train` and `--only measure` do one half.
"""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

import universality
from cache import ResultLog
from nextchar.config import Config
from nextchar.parsing.report import COPIED
from nextchar.storage import MODEL, read_model
from nextchar.text.corpus import Corpus
from nextchar.training.events import Finished, Validated
from nextchar.training.record import record
from nextchar.training.run import Run
from nextchar.training.start import make_trainer
from plots import save, subplots
from tables import argument_parser, markdown, write_page
from universality import CORPORA, ORDER, Result, cell, opened

MINUTES = (15.0, 30.0, 60.0, 150.0)
TARGETS = {
    "linux": {
        "functions with balanced brackets": 90,
        "functions without a parse error": 65,
        "functions that gcc accepts, unknown names declared": 40,
    },
    "latex": {"fragments with matched environments": 80, "fragments that TeX sets": 60},
    "wikipedia": {"fragments well-formed": 60},
    "python": {"functions that parse": 80},
}


def opened_run(folder: Path, corpus: Corpus, longest: float) -> Run:
    """Open the run of a text; a new one is planned for this machine, and its steps are written into its options."""
    if not (folder / "config.toml").exists():
        budget = Config(minutes=longest, valid=universality.VALID, test=universality.TEST)
        recipe = make_trainer(corpus, budget).recipe
        return Run(folder, recipe.to_config().replace(minutes=None, steps=recipe.steps))
    return Run.open(folder)


def train(folder: Path, corpus: Corpus, minutes: list[float]) -> Iterator[str]:
    """Train to the end; keep the best model after the share of the steps of each budget, and yield what was done."""
    run = opened_run(folder, corpus, minutes[-1])
    left = [each for each in minutes if not kept(folder, each).exists()]
    if not left:
        return
    # The last model may be missing though the run is at its end.
    if run.finished:
        shutil.copy(folder / MODEL, kept(folder, left[-1]))
        return
    trainer = run.trainer(corpus)
    for event in record(trainer, folder):
        if not isinstance(event, Validated | Finished):
            continue
        done = 1.0 if isinstance(event, Finished) else event.step / trainer.recipe.steps
        while left and done >= left[0] / minutes[-1]:
            shutil.copy(folder / MODEL, kept(folder, left[0]))
            yield f"{folder.name}: {left.pop(0):g} minutes' worth of steps, {event.step:,} of {trainer.recipe.steps:,}"


def kept(folder: Path, minutes: float) -> Path:
    """Return the file of the model after a budget's share of the steps."""
    return folder / f"after-{minutes:g}.safetensors"


def measured(name: str, corpus: Corpus, options: argparse.Namespace, log: ResultLog[Result]) -> Iterator[Result]:
    """Yield the result of every model that was kept; results in the log are not made again."""
    for minutes in options.minutes:
        path = kept(options.cache / name, minutes)
        if path.exists() and log.get((name, minutes)) is None:
            yield log.add(universality.measure(name, corpus, read_model(path), minutes, options, shown=False))


def targets_table(results: list[Result]) -> str:
    """Return a table of every target: the share after each budget, and whether one reached it."""
    budgets = sorted({each.minutes for each in results})
    rows = []
    for name, targets in TARGETS.items():
        own = {each.minutes: each for each in results if each.corpus == name}
        for measure, target in targets.items() if own else ():
            values = {minutes: each.structure["model"].get(measure) for minutes, each in own.items()}
            reached = any(value and value[0] >= target for value in values.values())
            found = [cell(values[minutes]) if values.get(minutes) else "-" for minutes in budgets]
            real = next(iter(own.values())).structure["real text"].get(measure)
            mark = "reached" if reached else "not reached"
            rows.append([CORPORA[name].title, measure, f"{target:g}, {mark}", *found, cell(real) if real else "-"])
    return markdown(["text", "measure, %", "target", *(f"{each:g} min" for each in budgets), "real text"], rows, left=2)


def scores_table(results: list[Result]) -> str:
    """Return a table of bits per character after each budget, beside the n-grams, and how much was copied."""
    rows = []
    for each in results:
        copied = each.structure["model"].get(COPIED)
        values = [f"{each.epochs:.2f}", f"{each.bits:.3f}", f"{each.ngram_bits:.3f}", f"{each.temperature:g}"]
        values += [cell(copied) if copied else "-", str(each.longest["model"])]
        rows.append([CORPORA[each.corpus].title, each.network, f"{each.minutes:g}", *values])
    head = ["text", "network", "minutes", "epochs", "bits per character", f"{ORDER}-grams", "temperature"]
    return markdown([*head, "windows copied, %", "longest copy"], rows, left=2)


def curves(results: list[Result]) -> Figure:
    """Plot the shares with targets against the minutes' worth of steps, with intervals."""
    names = [name for name in TARGETS if any(each.corpus == name for each in results)]
    figure, grid = subplots(2.8 * len(names), 3.2, 1, len(names), sharey=True, squeeze=False)
    for axes, name in zip(grid[0], names, strict=True):
        for color, (measure, target) in enumerate(TARGETS[name].items()):
            points = [
                (each.minutes, *each.structure["model"][measure])
                for each in results
                if each.corpus == name and measure in each.structure["model"]
            ]
            if points:
                minutes, value, low, high = zip(*points, strict=True)
                spread = [np.subtract(value, low), np.subtract(high, value)]
                style = {"color": f"C{color}", "marker": "o", "capsize": 3, "label": measure}
                axes.errorbar(minutes, value, spread, **style)
            axes.axhline(target, color=f"C{color}", linestyle="--", linewidth=1)
        axes.set(title=CORPORA[name].title, xlabel="minutes' worth of steps", xscale="log", ylim=(0, 100))
        axes.legend(fontsize=6, loc="lower right")
    grid[0, 0].set_ylabel("percent; dashed: target")
    return figure


def page(results: list[Result], command: str) -> str:
    """Return the page of the study."""
    last = {each.corpus: each for each in results}
    on = "; ".join(sorted({f"{each.cpu}, {each.date}" for each in results}))
    samples = "\n".join(
        f"## {CORPORA[name].title}\n\n{each.minutes:g} minutes' worth of steps, temperature {each.temperature:g}:\n\n"
        f"```text\n{each.sample.replace('```', chr(39) * 3)}\n```\n"
        for name, each in last.items()
    )
    return f"""# Default options for hours

`{command}`: {on}

Each model was trained once, with default options for the longest budget; the columns are the best model so far after that
share of its steps. The learning rate falls until the end of the longest budget, so a model whose whole training is 15 minutes
is better than the one after 15 minutes' worth of these steps ([there](universality.md)). One seed each; samples at the
temperature most like real text; 95 % intervals.

{targets_table(results)}
{scores_table(results)}
![shares against steps](overnight.svg)

{samples}"""


def main() -> None:
    """Read the command line, train and measure what is missing, write the page."""
    parser = argument_parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("corpora"), help="the folder of corpora")
    parser.add_argument("--corpora", nargs="+", default=list(TARGETS), choices=list(CORPORA))
    parser.add_argument(
        "--minutes", type=float, nargs="+", default=list(MINUTES), help="the last is that of the training"
    )
    parser.add_argument("--samples", type=int, default=universality.SAMPLES, help="that are generated and parsed")
    parser.add_argument("--only", choices=["train", "measure"])
    parser.add_argument("--cache", type=Path, default=Path("runs/overnight"), help="where runs and results are kept")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/studies"))
    options = parser.parse_args()
    options.minutes.sort()
    options.cache.mkdir(parents=True, exist_ok=True)
    options.output.mkdir(parents=True, exist_ok=True)
    log = ResultLog(options.cache / "overnight.jsonl", Result)
    for name in options.corpora:
        path = options.data / CORPORA[name].path
        if CORPORA[name].path and not path.exists():
            print(f"{name} is left out: there is no {path}", flush=True)
            continue
        corpus = opened(name, options.data)
        if options.only != "measure":
            for line in train(options.cache / name, corpus, options.minutes):
                print(line, flush=True)
        if options.only != "train":
            for each in measured(name, corpus, options, log):
                print(f"{name}, {each.minutes:g} minutes: {each.bits:.3f} bits, {each.seconds:.0f} s", flush=True)
    found = sorted(log.all(), key=lambda each: (list(CORPORA).index(each.corpus), each.minutes))
    if found:
        save(curves(found), options.output / "overnight.svg")
        minutes = " ".join(f"{each:g}" for each in options.minutes)
        write_page(
            options.output / "overnight.md",
            page(found, f"python studies/overnight.py --data FOLDER --minutes {minutes}"),
        )


if __name__ == "__main__":
    main()
