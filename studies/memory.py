"""How far memory reaches: the study of claims 12 and 16, with the figures and the page in docs/studies.

    python studies/memory.py stdlib --minutes 5

The gradient's norm against distance, and one symbol to be recalled across distractors, need no text. Then a vanilla rnn and an
lstm are trained on the text for as many minutes each, and on its test part they, and a table of n-grams, are asked: which kind of
bracket closes, by distance; how much context still lowers the loss; how far a rare word persists in samples. What was trained is kept
and not trained again.
"""

import argparse
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

import reach
from cache import train_into
from nextchar.benchmark.report import machine
from nextchar.config import Config
from nextchar.evaluation.ngram import NGram
from nextchar.evaluation.novelty import WORD
from nextchar.evaluation.score import score_ids
from nextchar.language_model import LanguageModel
from nextchar.parsing.sweep import SampleRequest, generate, svg
from nextchar.storage import load, read_model, write_text
from nextchar.text.corpus import Corpus, open_corpus
from recall import DISTANCES, NETWORKS, SEEDS, STEPS_AT_MOST, Recall, gradient_norms, recall, recall_table
from tables import markdown, span

VALID = TEST = 0.05
ORDER = 20
SAMPLES = SampleRequest(count=60, length=6000)
BIASES = (0.0, 1.0, 3.0, 5.0)


@dataclass(frozen=True, slots=True)
class Model:
    """A trained network, and where it is kept."""

    name: str
    path: Path
    lm: LanguageModel


def figure_of_gradients() -> str:
    """Draw the gradient's norm against distance, measured and in theory."""
    from matplotlib.figure import Figure  # noqa: PLC0415  takes long to import

    canvas = Figure(figsize=(7, 4), layout="constrained")
    axes = canvas.subplots()
    axes.plot(gradient_norms("rnn", 0.0), color="black", label="rnn")
    for index, bias in enumerate(BIASES):
        norms = gradient_norms("lstm", bias)
        axes.plot(norms, color=f"C{index}", label=f"lstm, forget bias {bias:g}")
        theory = (1 / (1 + np.exp(-bias))) ** np.arange(len(norms))
        axes.plot(theory, color=f"C{index}", linestyle="--", linewidth=1)
    axes.set(
        yscale="log", ylim=(1e-12, 1e3), xlabel="steps back", ylabel="norm of the gradient, 1 at the end"
    )
    axes.legend(fontsize=8)
    axes.set_title(
        "Untrained networks of 128 units; dashed: sigmoid(bias) to the power of the steps", fontsize=10
    )
    return svg(canvas)


def figure_of_recall(results: list[Recall]) -> str:
    """Draw the accuracy of every seed against distance."""
    from matplotlib.figure import Figure  # noqa: PLC0415  takes long to import

    canvas = Figure(figsize=(7, 4), layout="constrained")
    axes = canvas.subplots()
    for index, name in enumerate(NETWORKS):
        own = [each for each in results if each.network == name]
        if not own:
            continue
        middle = {
            distance: np.median([each.accuracy for each in own if each.distance == distance])
            for distance in sorted({each.distance for each in own})
        }
        axes.scatter(
            [each.distance for each in own], [each.accuracy for each in own], color=f"C{index}", s=12
        )
        axes.plot(list(middle), list(middle.values()), color=f"C{index}", label=name)
    axes.axhline(1 / 8, color="grey", linewidth=1, label="chance")
    axes.set(xscale="log", ylim=(0, 1.03), xlabel="distractors", ylabel="share recalled")
    axes.set_xticks(DISTANCES, [str(distance) for distance in DISTANCES])
    axes.legend(fontsize=8)
    return svg(canvas)


def figure_of_lines(lines: dict[str, list[tuple[float, float]]], across: str, up: str) -> str:
    """Draw a line a name, with distance on a logarithmic scale."""
    from matplotlib.figure import Figure  # noqa: PLC0415  takes long to import

    canvas = Figure(figsize=(7, 4), layout="constrained")
    axes = canvas.subplots()
    for name, points in lines.items():
        axes.plot(*zip(*points, strict=True), marker="o", label=name)
    axes.set(xscale="log", xlabel=across, ylabel=up)
    axes.legend(fontsize=8)
    return svg(canvas)


def trained(corpus: Corpus, minutes: float, folder: Path) -> list[Model]:
    """Train an rnn and an lstm with one set of defaults, or take them from the folder."""
    models = []
    for cell in ("rnn", "lstm"):
        path = folder / f"memory-{cell}-{minutes:g}.safetensors"
        train_into(path, corpus, Config(minutes=minutes, cell=cell, valid=VALID, test=TEST))
        models.append(Model(cell, path, load(path)))
    return models


def brackets(
    models: list[Model], table: NGram, ids: Any, text: str
) -> dict[str, list[tuple[int, int, int, float]]]:
    """Return for each predictor how often it finds the right kind of closing bracket, by distance."""
    places, kinds, distances = reach.closers(text)
    guesses = {model.name: reach.kinds_by_network(model.lm, ids, places) for model in models}
    wanted = reach.closing_ids(models[0].lm)
    guesses[f"{ORDER}-grams"] = reach.kinds_by_ngram(table, wanted, ids, places)
    return {name: reach.accuracy_by_distance(guess == kinds, distances) for name, guess in guesses.items()}


def persistence(models: list[Model], table: NGram, test: str, learnt: str) -> dict[str, list[float]]:
    """Return for each kind of text how much likelier a rare word is to come again, by distance."""
    counts = Counter(WORD.findall(learnt))
    rare = reach.rare_below(counts)
    step = max(SAMPLES.length, len(test) // SAMPLES.count)
    texts = {
        "real text": [test[at : at + SAMPLES.length] for at in range(0, len(test) - SAMPLES.length + 1, step)]
    }
    for model in models:
        texts[model.name] = generate(read_model(model.path), SAMPLES)[0]
    vocabulary = models[0].lm.vocabulary
    texts[f"{ORDER}-grams"] = [vocabulary.decode(each) for each in table.write(SAMPLES.count, SAMPLES.length)]
    return {name: reach.words_that_come_again(samples, counts, rare) for name, samples in texts.items()}


def text_part(options: argparse.Namespace, folder: Path) -> str:
    """Train on the text, ask what the models cautious_adam_direction of it, draw, and return this part of the page."""
    corpus = open_corpus([options.text])
    models = trained(corpus, options.minutes, options.cache)
    learnt_ids, ids = (corpus.part(name, VALID, TEST).take(0, len(corpus)) for name in ("train", "test"))
    ids = ids[: options.chars]
    vocabulary = corpus.vocabulary
    test, learnt = vocabulary.decode(ids), vocabulary.decode(learnt_ids)
    table = NGram(learnt_ids, len(vocabulary), order=ORDER)
    scores = {model.name: score_ids(model.lm.network, ids, vocabulary).bits_per_char for model in models}
    scores[f"{ORDER}-grams"] = table.score(ids, vocabulary).bits_per_char
    sizes = {m.name: f"{m.lm.network.architecture.layers}x{m.lm.network.architecture.hidden}" for m in models}
    right = brackets(models, table, ids, test)
    context = {model.name: reach.loss_by_context(model.lm, ids) for model in models}
    again = persistence(models, table, test, learnt)
    write_text(
        folder / "memory-brackets.svg",
        figure_of_lines(
            {name: [(least, share) for least, _, _, share in rows] for name, rows in right.items()},
            "characters from the opening bracket, at least",
            "share of closing brackets of the right kind",
        ),
    )
    write_text(
        folder / "memory-context.svg",
        figure_of_lines(
            {
                name: [(least + 1, nats / np.log(2)) for least, _, nats in rows]
                for name, rows in context.items()
            },
            "characters since the empty state",
            "bits per character",
        ),
    )
    named = next(iter(right.values()))
    bracket_rows = [
        [span(least, most), f"{count:,}", *(f"{100 * rows[index][3]:.1f} %" for rows in right.values())]
        for index, (least, most, count, _) in enumerate(named)
    ]
    context_rows = [
        [span(least, most), *(f"{rows[index][2] / np.log(2):.3f}" for rows in context.values())]
        for index, (least, most, _) in enumerate(next(iter(context.values())))
    ]
    again_rows = [
        [f"{least}-{most}", *(f"{values[index]:.1f}" for values in again.values())]
        for index, (least, most) in enumerate(pairwise(reach.NEAR))
    ]
    return f"""## On real text

`{Path(options.text).name}`, {len(corpus):,} characters: 90 % trained on, {len(ids):,} of the test part asked. {options.minutes:g} minutes each, no
other option than the cell: {", ".join(f"{name} {size}" for name, size in sizes.items())}. Bits per character on these: {", ".join(f"{name} {bits:.3f}" for name, bits in scores.items())}.

### Which kind of bracket closes

At every closing bracket, which of `)`, `]` and `}}` is the likeliest, by the distance to the bracket it closes. Brackets in strings
and comments count like all others.

![share of brackets of the right kind](memory-brackets.svg)

{markdown(["characters between", "brackets", *right], bracket_rows)}
### How far back context still lowers the loss

The test part in windows of {reach.LONGEST:,} characters, each read from the empty state: bits per character by how much was read before.

![bits per character by context](memory-context.svg)

{markdown(["characters read before", *context], context_rows)}
### How far a word persists

How much likelier a rare word is to come again so many characters later than to stand in the same place of another text;
the rare words are the rarest that make up 30 % of all. {SAMPLES.count} samples of {SAMPLES.length:,} characters at temperature 1, and as many of the test part.

{markdown(["characters later", *again], again_rows)}
Where real text still has its topic and samples are near 1, they are coherent in the sentence and not on the page.
"""


def synthetic_part(options: argparse.Namespace, folder: Path) -> str:
    """Measure gradients and recall, draw both, and return this part of the page."""
    write_text(folder / "memory-gradient.svg", figure_of_gradients())
    results = []
    for each in recall(options.cache / "recall.jsonl", options.distances, options.seeds, options.networks):
        print(f"{each.network}, {each.distance}: {each.accuracy:.3f} after {each.steps} steps", flush=True)
        results.append(each)
    write_text(folder / "memory-recall.svg", figure_of_recall(results))
    return f"""## What theory says, and what a network does

A cell hands its gradient back through the forget gate alone: with a constant bias b, sigmoid(b)^k of it is left after k steps.
Measured on untrained networks of 128 units that read random characters, with nextchar's initialization:

![norm of the gradient against distance](memory-gradient.svg)

The rnn's gradient is gone after {next((k for k, n in enumerate(gradient_norms("rnn", 0.0)) if n < 1e-6), 200)} steps (one millionth). The lstm's follows the dashed line or stays above it, because what is handed back
through the hidden state comes on top.

## One symbol to be recalled

One of 8 symbols, then distractors of 8 other kinds, then a question: which symbol was it? 64 units, Adam at 0.003 (0.9 and
0.99, as nextchar trains), clipped at 1, batches of 64 fresh texts, until 99.9 % of 1,024 are right, for at most {STEPS_AT_MOST:,} steps. Share recalled by the middle one of {options.seeds} seeds, and how
many seeds reach 99 %; chance is 12.5 %. A dash: not tried, since no seed learnt it at the distance before.

![share recalled against distance](memory-recall.svg)

{recall_table(results)}
nextchar trains with a forget bias of 1 unless `--forget-bias` says more: for five minutes of LaTeX higher ones [were worse](../experiments.md#longer-windows-for-what-is-far-apart).
"""


def main() -> None:
    """Read the command line, measure what is asked for, write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("text", nargs="?", default="stdlib", help="a text with brackets; default: stdlib")
    parser.add_argument(
        "--minutes", type=float, default=5.0, help="of training, for each of two networks; 0 for none"
    )
    parser.add_argument("--chars", type=int, default=400_000, help="of the test part, at most")
    parser.add_argument("--distances", type=int, nargs="+", default=DISTANCES)
    parser.add_argument(
        "--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS), help="that recall"
    )
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--cache", type=Path, default=Path("runs/memory"), help="where results are kept")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/studies"))
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    options.output.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    command = f"python studies/memory.py {Path(options.text).name} --minutes {options.minutes:g}"
    if list(options.distances) != list(DISTANCES):
        command += " --distances " + " ".join(map(str, options.distances))
    if options.networks != list(NETWORKS):
        command += " --networks " + " ".join(f"'{name}'" for name in options.networks)
    about = machine()
    parts = [synthetic_part(options, options.output)]
    if options.minutes:
        parts.append(text_part(options, options.output))
    write_text(
        options.output / "memory.md",
        f"""# How far memory reaches

`{command}`: {about["cpu"]}, {about["cores"]} cores, torch {about["torch"]}, {about["date"]}. Claims 12 and 16 of the post:
vanilla networks forget within tens of characters and LSTMs learn across a hundred; and text that is right line by line may
have no thread.

{"".join(part + chr(10) for part in parts).rstrip()}
""",
    )


if __name__ == "__main__":
    main()
