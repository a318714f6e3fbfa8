"""How far memory reaches: the study of claims 12 and 16, with the figures and the page in docs/studies.

    python studies/memory.py stdlib --minutes 5

The norm of the gradient against distance and the recall of one symbol across distractors need no text. Then a vanilla rnn and an
lstm are trained on the text for as many minutes each. They and an n-gram table are compared on its test part: the kind of closing
brackets by distance, the loss by length of context, and how long a rare word persists in samples. Trained models are kept.
"""

import argparse
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

import reach
from cache import train_into
from nextchar.evaluation.ngram import NGram
from nextchar.evaluation.novelty import WORD
from nextchar.evaluation.score import score_ids
from nextchar.language_model import LanguageModel
from nextchar.parsing.sweep import SampleRequest, generate
from nextchar.storage import load, read_model
from nextchar.text.corpus import open_corpus
from plots import lines, save, subplots
from recall import DISTANCES, NETWORKS, SEEDS, STEPS_AT_MOST, Recall, gradient_norms, recall, recall_table
from tables import argument_parser, markdown, measured_on, span, write_page

VALID = TEST = 0.05
ORDER = 20
SAMPLES = SampleRequest(count=60, length=6000)
BIASES = (0.0, 1.0, 3.0, 5.0)


@dataclass(frozen=True, slots=True)
class Model:
    """A trained network and its file."""

    name: str
    path: Path
    lm: LanguageModel

    @property
    def size(self) -> str:
        """Name and size, as in lstm 2x448."""
        shape = self.lm.network.architecture
        return f"{self.name} {shape.layers}x{shape.hidden}"


def figure_of_gradients() -> Figure:
    """Plot the norm of the gradient against distance, measured and in theory."""
    figure, axes = subplots(7, 4)
    axes.plot(gradient_norms("rnn", 0.0), color="black", label="rnn")
    for index, bias in enumerate(BIASES):
        norms = gradient_norms("lstm", bias)
        axes.plot(norms, color=f"C{index}", label=f"lstm, forget bias {bias:g}")
        theory = (1 / (1 + np.exp(-bias))) ** np.arange(len(norms))
        axes.plot(theory, color=f"C{index}", linestyle="--", linewidth=1)
    axes.set(yscale="log", ylim=(1e-12, 1e3), xlabel="steps back", ylabel="norm of the gradient, 1 at the end")
    axes.legend(fontsize=8)
    axes.set_title("Untrained networks of 128 units; dashed: sigmoid(bias) to the power of the steps", fontsize=10)
    return figure


def figure_of_recall(results: list[Recall]) -> Figure:
    """Plot the accuracy of every seed and their median against distance."""
    figure, axes = subplots(7, 4)
    for index, name in enumerate(NETWORKS):
        own = [each for each in results if each.network == name]
        if not own:
            continue
        distances = sorted({each.distance for each in own})
        medians = [np.median([each.accuracy for each in own if each.distance == d]) for d in distances]
        points = [each.distance for each in own], [each.accuracy for each in own]
        axes.scatter(*points, color=f"C{index}", s=12)
        axes.plot(distances, medians, color=f"C{index}", label=name)
    axes.axhline(1 / 8, color="grey", linewidth=1, label="chance")
    axes.set(xscale="log", ylim=(0, 1.03), xlabel="distractors", ylabel="share recalled")
    axes.set_xticks(DISTANCES, [str(distance) for distance in DISTANCES])
    axes.legend(fontsize=8)
    return figure


def brackets(models: list[Model], table: NGram, ids: Any, text: str) -> dict[str, list[tuple[int, int, int, float]]]:
    """Return the accuracy of each predictor at the kind of closing brackets, by distance."""
    places, kinds, distances = reach.closers(text)
    guesses = {model.name: reach.kinds_by_network(model.lm, ids, places) for model in models}
    guesses[f"{ORDER}-grams"] = reach.kinds_by_ngram(table, reach.closing_ids(models[0].lm), ids, places)
    return {name: reach.accuracy_by_distance(guess == kinds, distances) for name, guess in guesses.items()}


def persistence(models: list[Model], table: NGram, test: str, learned: str) -> dict[str, list[float]]:
    """Return, for real text and each predictor's samples, how much more likely a rare word is to recur, by distance."""
    counts = Counter(WORD.findall(learned))
    rare = reach.rare_below(counts)
    step = max(SAMPLES.length, len(test) // SAMPLES.count)
    starts = range(0, len(test) - SAMPLES.length + 1, step)
    texts = {"real text": [test[start : start + SAMPLES.length] for start in starts]}
    texts |= {model.name: generate(read_model(model.path), SAMPLES)[0] for model in models}
    decode = models[0].lm.vocabulary.decode
    texts[f"{ORDER}-grams"] = [decode(each) for each in table.sample(SAMPLES.count, SAMPLES.length)]
    return {name: reach.recurrence_of_words(samples, counts, rare) for name, samples in texts.items()}


def text_part(options: argparse.Namespace, folder: Path) -> str:
    """Train on the text, compare the models on it, plot, and return this part of the page."""
    corpus = open_corpus([options.text])
    models = []
    for cell in ("rnn", "lstm"):
        path = options.cache / f"memory-{cell}-{options.minutes:g}.safetensors"
        train_into(path, corpus, minutes=options.minutes, cell=cell, valid=VALID, test=TEST)
        models.append(Model(cell, path, load(path)))
    train_ids, ids = (corpus.part(name, VALID, TEST).take(0, len(corpus)) for name in ("train", "test"))
    ids = ids[: options.chars]
    vocabulary = corpus.vocabulary
    test, learned = vocabulary.decode(ids), vocabulary.decode(train_ids)
    table = NGram(train_ids, len(vocabulary), order=ORDER)
    scores = {model.name: score_ids(model.lm.network, ids, vocabulary).bits_per_char for model in models}
    scores[f"{ORDER}-grams"] = table.score(ids, vocabulary).bits_per_char
    correct = brackets(models, table, ids, test)
    context = {model.name: reach.loss_by_context(model.lm, ids) for model in models}
    again = persistence(models, table, test, learned)
    figure = lines(
        {name: [(least, share) for least, _, _, share in rows] for name, rows in correct.items()},
        xscale="log",
        xlabel="characters from the opening bracket, at least",
        ylabel="share of closing brackets of the correct kind",
    )
    save(figure, folder / "memory-brackets.svg")
    figure = lines(
        {name: [(least + 1, nats / np.log(2)) for least, _, nats in rows] for name, rows in context.items()},
        xscale="log",
        xlabel="characters since the empty state",
        ylabel="bits per character",
    )
    save(figure, folder / "memory-context.svg")
    bracket_rows = [
        [span(least, most), f"{count:,}", *(f"{100 * rows[index][3]:.1f} %" for rows in correct.values())]
        for index, (least, most, count, _) in enumerate(next(iter(correct.values())))
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

`{Path(options.text).name}`, {len(corpus):,} characters: 90 % for training, {len(ids):,} of the test part for the comparison.
{options.minutes:g} minutes of training each, no option but the cell: {", ".join(model.size for model in models)}.
Bits per character: {", ".join(f"{name} {bits:.3f}" for name, bits in scores.items())}.

### The kind of a closing bracket

At every closing bracket, the most likely of `)`, `]` and `}}`, by the distance to the opening bracket. Brackets in strings
and comments count like all others.

![share of brackets of the correct kind](memory-brackets.svg)

{markdown(["characters between", "brackets", *correct], bracket_rows)}
### Loss by length of context

The test part in windows of {reach.LONGEST:,} characters, each from the empty state: bits per character by the number of
characters read before.

![bits per character by context](memory-context.svg)

{markdown(["characters read before", *context], context_rows)}
### Persistence of a word

How much more likely a rare word is to recur after so many characters than to occur at the same position of another text.
Rare words are the least frequent ones that make up 30 % of all words. {SAMPLES.count} samples of {SAMPLES.length:,}
characters at temperature 1, and as many of the test part.

{markdown(["characters later", *again], again_rows)}
Where real text is well above 1 and samples are near 1, the samples are coherent within a sentence but not over a page.
"""


def synthetic_part(options: argparse.Namespace, folder: Path) -> str:
    """Measure gradients and recall, plot both, and return this part of the page."""
    save(figure_of_gradients(), folder / "memory-gradient.svg")
    results = []
    for each in recall(options.cache / "recall.jsonl", options.distances, options.seeds, options.networks):
        print(f"{each.network}, {each.distance}: {each.accuracy:.3f} after {each.steps} steps", flush=True)
        results.append(each)
    save(figure_of_recall(results), folder / "memory-recall.svg")
    gone = next((k for k, norm in enumerate(gradient_norms("rnn", 0.0)) if norm < 1e-6), 200)
    return f"""## The gradient, in theory and measured

An lstm's cell state passes its gradient back through the forget gate alone: with a constant bias b, sigmoid(b)^k of it is
left after k steps. Measured on untrained networks of 128 units that read random characters, with nextchar's
initialization:

![norm of the gradient against distance](memory-gradient.svg)

The rnn's gradient falls below one millionth after {gone} steps. The lstm's follows the dashed line or stays above it, because
the hidden state passes gradient back, too.

## Recall of one symbol

One of 8 symbols, then distractors of 8 other kinds, then a question: which symbol was it? 64 units, Adam at 0.003 (0.9 and
0.99, as in nextchar's training), gradient norm clipped at 1, batches of 64 new texts, until 99.9 % of 1,024 are correct,
for at most {STEPS_AT_MOST:,} steps. The median share over {options.seeds} seeds, and how many seeds reach 99 %; chance is 12.5 %. A dash: not
tried, because no seed succeeded at the distance before.

![share recalled against distance](memory-recall.svg)

{recall_table(results)}
nextchar's default forget bias is 1 (`--forget-bias`): in five minutes of training on LaTeX higher ones
[were worse](../experiments.md#longer-windows-for-what-is-far-apart).
"""


def main() -> None:
    """Read the command line, measure what is asked for, write the page."""
    parser = argument_parser(__doc__)
    parser.add_argument("text", nargs="?", default="stdlib", help="a text with brackets; default: stdlib")
    parser.add_argument("--minutes", type=float, default=5.0, help="of training, for each of two networks; 0 for none")
    parser.add_argument("--chars", type=int, default=400_000, help="of the test part, at most")
    parser.add_argument("--distances", type=int, nargs="+", default=DISTANCES)
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS), help="that recall")
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
    parts = [synthetic_part(options, options.output)]
    if options.minutes:
        parts.append(text_part(options, options.output))
    body = "\n".join(parts).rstrip()
    write_page(
        options.output / "memory.md",
        f"""# How far memory reaches

`{command}`: {measured_on()}.
Claims 12 and 16 of the 2015 post: vanilla networks forget within tens of characters and LSTMs learn across a hundred; and
text that is correct line by line may have no topic.

{body}
""",
    )


if __name__ == "__main__":
    main()
