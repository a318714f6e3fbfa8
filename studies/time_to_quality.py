"""Validation loss against wall clock: nextchar with default options, the recipe of 2015, and a small GPT.

    python studies/time_to_quality.py tiny-shakespeare --minutes 1 3 5 -o docs/studies

Every contender trains once for every budget, from scratch, on the first 90 % of the text, and is scored on the last 10 %.
Close other programs first. The script writes a table and a figure.
"""

import gc
import json
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import gpt
from cache import train
from nextchar.benchmark.report import machine
from nextchar.evaluation.score import score_ids
from nextchar.storage import to_language_model, write_text
from nextchar.text.corpus import Corpus, open_corpus
from plots import save, subplots
from tables import argument_parser, markdown, write_page

VALID = 0.1
COLORS = {"nextchar": "#0072b2", "karpathy2015": "#d55e00", "small GPT": "#009e73", "small GPT, 2,000 steps": "#999999"}


@dataclass(frozen=True, slots=True)
class Run:
    """One training: its budget, its scores in nats per character, and its validations as (seconds, nats)."""

    contender: str
    minutes: float
    seconds: float
    parameters: int
    characters: int
    stream: float
    windows_256: float | None
    windows_64: float
    validations: list[tuple[float, float]]


def train_nextchar(corpus: Corpus, minutes: float, preset: str | None, seed: int) -> Run:
    """Train with no option but the budget and the split; score the best model on validation."""
    trained = train(corpus, preset, minutes=minutes, valid=VALID, test=0.0, seed=seed)
    lm, trainer = to_language_model(trained.model), trained.trainer
    ids = corpus.part("valid", VALID, 0.0).take(0, len(corpus))
    stream = score_ids(lm.network, ids, lm.vocabulary).nats_per_char
    longer, windows = (
        score_ids(lm.network, ids, lm.vocabulary, protocol="windows", window=window).nats_per_char
        for window in (256, gpt.BLOCK)
    )
    return Run(
        preset or "nextchar",
        minutes,
        trained.seconds,
        lm.network.size(),
        trainer.step * trainer.recipe.chars_per_step,
        stream,
        longer,
        windows,
        trained.validations,
    )


def train_gpt(corpus: Corpus, minutes: float, seed: int, *, published: bool) -> Run:
    """Train the GPT, for the published number of steps or for as many as the budget allows."""
    ids, valid = (corpus.part(name, VALID, 0.0).take(0, len(corpus)) for name in ("train", "valid"))
    begin = time.perf_counter()
    spent = 0.0  # seconds of validation, which the published recipe does not count
    validations = []
    network, step = gpt.GPT(len(corpus.vocabulary)), 0
    budget = None if published else minutes * 60
    for network, step, steps in gpt.train(ids, len(corpus.vocabulary), seconds=budget, seed=seed):
        if step % max(1, steps // 8) == 0:
            before = time.perf_counter()
            validations.append((before - begin - spent, gpt.nats(network, valid)))
            spent += time.perf_counter() - before
    seconds = time.perf_counter() - begin - spent
    size = sum(parameter.numel() for parameter in network.parameters())
    name = "small GPT, 2,000 steps" if published else "small GPT"
    characters = step * gpt.BATCH * gpt.BLOCK
    stream, windows = gpt.nats(network, valid, stride=8), gpt.nats(network, valid)
    return Run(name, minutes, seconds, size, characters, stream, None, windows, validations)


def runs(corpus: Corpus, budgets: list[float], seed: int) -> Iterator[Run]:
    """Train every contender, the shortest budget first."""
    for minutes in budgets:
        yield train_nextchar(corpus, minutes, None, seed)
        yield train_nextchar(corpus, minutes, "karpathy2015", seed)
        yield train_gpt(corpus, minutes, seed, published=False)
    yield train_gpt(corpus, 0.0, seed, published=True)


def table(done: list[Run]) -> str:
    """Return the runs as a table."""
    rows = []
    for run in done:
        scores = [run.stream, run.windows_256, run.windows_64]
        sizes = [f"{run.parameters:,}", f"{run.seconds:,.0f}", f"{run.characters / 1e6:.1f}M"]
        rows.append([run.contender, *sizes, *("-" if each is None else f"{each:.4f}" for each in scores)])
    head = ["contender", "parameters", "seconds", "characters", "stream", "windows 256", "windows 64"]
    return markdown(head, rows)


def draw(done: list[Run], path: Path) -> None:
    """Plot the final score of each run against its seconds, and its validations as a paler line."""
    figure, axes = subplots(7.5, 4.5)
    for name, color in COLORS.items():
        own = [run for run in done if run.contender == name]
        for run in own:
            axes.plot(*zip(*run.validations, strict=True), color=color, linewidth=0.8, alpha=0.45)
        ends = sorted((run.seconds, run.stream) for run in own)
        axes.plot(*zip(*ends, strict=True), color=color, marker="o", linewidth=2, label=name)
        for seconds, nats in ends:
            axes.annotate(f"{nats:.3f}", (seconds, nats), xytext=(6, 5), textcoords="offset points", fontsize=8)
    axes.set_xscale("log")
    ticks = [10, 30, 60, 180, 300, 900, 3600]
    shown = [tick for tick in ticks if tick <= 1.5 * max(run.seconds for run in done)]
    axes.set_xticks(shown, [f"{tick} s" if tick < 60 else f"{tick // 60} min" for tick in shown])
    axes.minorticks_off()
    axes.set_xlim(8, 1.4 * max(run.seconds for run in done))
    low = min(run.stream for run in done)
    axes.set_ylim(low - 0.05, low + 1.05)
    axes.set_xlabel("wall clock")
    axes.set_ylabel("validation, nats per character")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    save(figure, path)


def page(done: list[Run], about: dict[str, Any], command: str) -> str:
    """Return the page: the command and the machine, the figure, the table, and how to read them."""
    on = f"{about['cpu']}, {about['cores']} cores, {about['precision']}, torch {about['torch']}, {about['date']}"
    return f"""# Time to quality

`{command}`: {on}.
Validation in nats per character, one seed each. The split is the first 90 % of the text for training and the last 10 %
for validation.

![validation against wall clock](time_to_quality.svg)

{table(done)}
*stream* carries the state through the whole text. A GPT has no state, so its context of 64 slides by 8 characters, and
every character is predicted from at least 56 before it. *windows* start from the empty state every 256 or 64
characters. The points of the figure are *stream*; its pale lines are the validations during training (*windows*). The
small GPT has the shape and the recipe that nanoGPT publishes for a CPU (`studies/gpt.py`): once with its 2,000 steps,
once with as many as the budget allows, with the learning rate falling until the last of them.
"""


def main() -> None:
    """Read the command line, train every contender, and write the page, its data and its figure."""
    parser = argument_parser(__doc__)
    parser.add_argument("texts", nargs="+", help="files, folders, or names of `nextchar corpora`")
    parser.add_argument("--minutes", type=float, nargs="+", default=[1, 3, 5])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/time_to_quality"))
    options = parser.parse_args()
    corpus = open_corpus(options.texts)
    done = []
    for run in runs(corpus, sorted(options.minutes), options.seed):
        print(f"{run.contender}, {run.seconds:.0f} s: {run.stream:.4f} nats", flush=True)
        done.append(run)
        gc.collect()
    options.output.mkdir(parents=True, exist_ok=True)
    minutes = " ".join(f"{each:g}" for each in sorted(options.minutes))
    names = " ".join(Path(text).name for text in options.texts)
    command = f"python studies/time_to_quality.py {names} --minutes {minutes}"
    about = machine()
    write_page(options.output / "time_to_quality.md", page(done, about, command))
    values = {"machine": about, "runs": [asdict(run) for run in done]}
    write_text(options.output / "time_to_quality.json", json.dumps(values))
    draw(done, options.output / "time_to_quality.svg")


if __name__ == "__main__":
    main()
