"""Default options on seven kinds of text: the study of claims 4 to 10, with its figures and its page in docs/studies.

    python studies/universality.py --data FOLDER --minutes 15

FOLDER holds the corpora (see `CORPORA` for their paths; the standard library needs none, a missing one is left out). For each
corpus a model is trained for the given minutes with default options, and scored beside a table of 8-grams. Its samples at eleven
temperatures are parsed by the parsers of the domain; the page shows those at the temperature most like real text. Results are
kept, so an interrupted study continues where it stopped; other --minutes for some --corpora add curves to the page.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

import pictures
from cache import ResultLog, train_into
from nextchar.benchmark.report import machine
from nextchar.evaluation.ngram import NGram
from nextchar.evaluation.novelty import Training
from nextchar.evaluation.score import estimate
from nextchar.parsing.compare import cut_samples
from nextchar.parsing.report import COPIED, Structure, get_domain, structure
from nextchar.parsing.sweep import SampleRequest, generate, sweep, sweet_spot
from nextchar.parsing.sweep import figure as sweep_figure
from nextchar.storage import ModelFile, read_model, to_language_model, write_text
from nextchar.text.corpus import Corpus, open_corpus
from plots import save, subplots
from tables import argument_parser, markdown, write_page

VALID = TEST = 0.05
ORDER = 8
COUNTED = 6_000_000  # characters the n-grams are counted on, at most: more do not fit into a small memory
SCORED = 300_000  # characters of the test part, at most
TEMPERATURES = (0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.6)
SWEPT, SAMPLES = 16, 100  # at each temperature of the sweep, and at the chosen one
SHOWN = 700  # characters of a sample on the page


@dataclass(frozen=True, slots=True)
class Text:
    """A corpus of the study.

    Attributes:
        title: On the page.
        path: Within the folder of corpora; empty for the standard library.
        domain: Of its parsers; empty for none.
        targets: Shares that a model should reach, in percent, by the name of the measure.
        longest: Minutes of training after which a small text gives no further gain.
    """

    title: str
    path: str
    domain: str
    targets: dict[str, float] = field(default_factory=dict)
    longest: float = 1e9


CORPORA = {
    "shakespeare": Text("Shakespeare", "shakespeare/tiny.txt", "drama", longest=3),
    "linux": Text(
        "Linux C",
        "linux/linux_kernel.txt",
        "c",
        {"functions with balanced brackets": 90, "functions without a parse error": 50},
    ),
    "latex": Text("Stacks LaTeX", "latex/stacks.tex", "latex", {"fragments with matched environments": 80}),
    "wikipedia": Text("Wikipedia XML", "wikipedia/enwiki_2016.xml", "wikitext", {"fragments well-formed": 60}),
    "abc": Text("tunes in ABC", "music/folk.abc", "abc", {"tunes that abc2midi accepts": 70}),
    "python": Text("Python's standard library", "", "python", {"functions that parse": 60}),
    "names": Text("names", "names/names.txt", "", longest=1),
}


def opened(name: str, data: Path) -> Corpus:
    """Open a corpus of the study; `data` is the folder of corpora."""
    path = CORPORA[name].path
    return open_corpus([str(data / path) if path else "stdlib"])


def trained_minutes(name: str, minutes: float) -> float:
    """Return the minutes of training on a corpus, which are limited for small ones."""
    return min(minutes, CORPORA[name].longest)


@dataclass(frozen=True, slots=True)
class Trained:
    """The seconds that the training on one corpus took."""

    corpus: str
    minutes: float
    seconds: float

    @property
    def key(self) -> tuple[str, float]:
        """What identifies the training."""
        return self.corpus, trained_minutes(self.corpus, self.minutes)


@dataclass(frozen=True, slots=True)
class Result(Trained):
    """The result on one corpus: shares in percent with their intervals, seconds without the training."""

    network: str
    chars: int
    epochs: float
    bits: float
    ngram_bits: float
    temperature: float
    structure: dict[str, dict[str, tuple[float, float, float]]]
    longest: dict[str, int]
    sample: str
    cpu: str
    date: str


def train(name: str, corpus: Corpus, minutes: float, cache: Path) -> ModelFile:
    """Train with default options, or read the model from its file."""
    budget = trained_minutes(name, minutes)
    path = cache / f"{name}-{budget:g}.safetensors"
    seconds = train_into(path, corpus, minutes=budget, valid=VALID, test=TEST)
    if seconds is not None:
        spent(cache).add(Trained(name, minutes, round(seconds, 1)))
    return read_model(path)


def spent(cache: Path) -> ResultLog[Trained]:
    """Return the log of the seconds of every training."""
    return ResultLog(cache / "universality-learnt.jsonl", Trained)


def shares(result: Structure) -> dict[str, tuple[float, float, float]]:
    """Return the measures by name, as (value, low, high)."""
    return {measure.name: (measure.value, measure.low, measure.high) for measure in result.measures}


def measure(
    name: str, corpus: Corpus, model: ModelFile, minutes: float, options: argparse.Namespace, *, shown: bool
) -> Result:
    """Score a model, sweep, generate samples and parse them; draw figures if `shown`.

    Args:
        name: Of the corpus.
        corpus: Whose training part the model was trained on.
        model: The model.
        minutes: Of its training.
        options: `samples`, and the folder of figures, `output`.
        shown: Whether to draw.
    """
    known = CORPORA[name]
    begin = time.perf_counter()
    train_ids, valid_ids, test_ids = (
        corpus.part(part, VALID, TEST).take(0, len(corpus)) for part in ("train", "valid", "test")
    )
    lm, decode = to_language_model(model), corpus.vocabulary.decode
    table = NGram(train_ids[-COUNTED:], len(corpus.vocabulary), order=ORDER)
    training = Training(decode(train_ids))
    held_out = decode(np.concatenate([valid_ids, test_ids]))
    domain = known.domain or "drama"
    request = SampleRequest(count=options.samples, length=get_domain(domain).length)
    real = structure(cut_samples(held_out, request.count, request.length), domain, training=training)
    if known.domain:
        few = replace(request, count=min(SWEPT, request.count))
        points = list(sweep(model, domain, training, few, TEMPERATURES))
        if shown:
            write_text(options.output / f"universality-{name}.svg", sweep_figure(points, real, known.title))
        request = replace(request, temperature=sweet_spot(points, real).temperature)
    samples = generate(model, request)[0]
    ngrams = table.sample(request.count, request.length, temperature=request.temperature)
    columns = {"real text": real} | {
        column: structure(texts, domain, training=training)
        for column, texts in (("model", samples), (f"{ORDER}-grams", list(map(decode, ngrams))))
    }
    if shown:
        pictures.draw(name, samples, training, options.output)
    shape, about = lm.network.architecture, machine()
    return Result(
        name,
        minutes,
        round(time.perf_counter() - begin, 1),
        f"{shape.layers}x{shape.hidden}",
        len(corpus),
        round(model.provenance["epochs"], 2),
        estimate(lm.network, test_ids[:SCORED], lm.vocabulary).bits_per_char,
        table.score(test_ids[:SCORED], corpus.vocabulary).bits_per_char,
        request.temperature,
        {column: shares(each) for column, each in columns.items()},
        {column: each.longest_copy or 0 for column, each in columns.items()},
        samples[0][:SHOWN],
        f"{about['cpu']}, {about['cores']} cores, torch {about['torch']}",
        about["date"],
    )


def results(options: argparse.Namespace, log: ResultLog[Result]) -> Iterator[Result]:
    """Yield the result of every corpus that exists; results in the log are not made again."""
    for name in options.corpora:
        path = options.data / CORPORA[name].path
        if CORPORA[name].path and not path.exists():
            print(f"{name} is left out: there is no {path}", flush=True)
            continue
        longest = max([*options.minutes, *(each.minutes for each in log.all() if each.corpus == name)])
        for minutes in options.minutes:
            known = log.get((name, trained_minutes(name, minutes)))
            if known is None:
                corpus = opened(name, options.data)
                model = train(name, corpus, minutes, options.cache)
                known = log.add(measure(name, corpus, model, minutes, options, shown=minutes == longest))
            yield known


def cell(values: Any, digits: int = 1) -> str:
    """Return a share in percent with its interval as text."""
    value, low, high = values
    return "-" if np.isnan(value) else f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def scores_table(all_results: list[Result]) -> str:
    """Return a table of bits per character of every corpus, beside the n-grams."""
    head = ["text", "characters", "network chosen", "minutes", "epochs", "bits per character", "8-grams"]
    rows = [
        (
            CORPORA[each.corpus].title,
            f"{each.chars:,}",
            each.network,
            f"{each.key[1]:g}",
            f"{each.epochs:.2f}",
            f"{each.bits:.3f}",
            f"{each.ngram_bits:.3f}",
            f"{each.temperature:g}",
        )
        for each in all_results
    ]
    return markdown([*head, "most like real text at"], rows)


def targets_table(all_results: list[Result]) -> str:
    """Return a table of the targets of each corpus and the shares that were reached, by minutes of training."""
    rows = []
    for each in all_results:
        for name, target in CORPORA[each.corpus].targets.items():
            columns = [each.structure[column].get(name) for column in ("model", f"{ORDER}-grams", "real text")]
            cells = [cell(values) if values else "not checked" for values in columns]
            reached = columns[0] is not None and columns[0][0] >= target
            mark = "reached" if reached else "not reached"
            title = CORPORA[each.corpus].title
            rows.append([title, name, f"{target:g}, {mark}", f"{each.minutes:g}", *cells])
    head = ["text", "measure, %", "target", "minutes", "model", f"{ORDER}-grams", "real text"]
    return markdown(head, rows, left=2)


def several(all_results: list[Result]) -> list[str]:
    """Return the corpora with targets that were trained for several numbers of minutes."""
    found = [each.corpus for each in all_results if CORPORA[each.corpus].targets]
    return [name for name in dict.fromkeys(found) if found.count(name) > 1]


def curves(all_results: list[Result]) -> Figure:
    """Plot the shares with targets against the minutes of training, with intervals."""
    names = several(all_results)
    figure, grid = subplots(2.6 * len(names), 3.2, 1, len(names), sharey=True, squeeze=False)
    for axes, name in zip(grid[0], names, strict=True):
        own = [each for each in all_results if each.corpus == name]
        minutes = [each.minutes for each in own]
        for color, (measure, target) in enumerate(CORPORA[name].targets.items()):
            found = [each.structure["model"].get(measure, (np.nan,) * 3) for each in own]
            value, low, high = np.transpose(found)
            style = {"color": f"C{color}", "marker": "o", "capsize": 3, "label": measure}
            axes.errorbar(minutes, value, [value - low, high - value], **style)
            axes.axhline(target, color=f"C{color}", linestyle="--", linewidth=1)
        axes.set(
            title=CORPORA[name].title, xlabel="minutes", xlim=(0, 1.1 * max(minutes)), xticks=minutes, ylim=(0, 100)
        )
        axes.legend(fontsize=6, loc="lower right")
    grid[0, 0].set_ylabel("percent; dashed: target")
    return figure


def section(result: Result, folder: Path) -> str:
    """Return the section of one corpus: every measure, the sweep, a sample, pictures."""
    known = CORPORA[result.corpus]
    columns = list(result.structure)
    names = (
        list(result.structure["model"])
        if known.domain
        else ["words known from training", COPIED, "characters in loops"]
    )
    rows = [[name, *(cell(result.structure[column].get(name, (np.nan,) * 3)) for column in columns)] for name in names]
    rows.append(["longest substring copied, characters", *(str(result.longest[each]) for each in columns)])
    shown = [path for path in sorted(folder.glob(f"universality-{result.corpus}*")) if path.suffix in (".svg", ".png")]
    seen = "\n\n".join(f"![{known.title}]({path.name})" for path in shown)
    return f"""## {known.title}

{result.key[1]:g} minutes, temperature {result.temperature:g}. Shares in percent, 95 % intervals:

{markdown(["", *columns], rows)}
{seen}

```text
{result.sample.replace("```", "'''")}
```
"""


def commands(all_results: list[Result], options: argparse.Namespace) -> str:
    """Return the commands that made the results, and their minutes."""
    learning = {each.key: each.seconds for each in spent(options.cache).all()}
    lines = []
    for minutes in sorted({each.minutes for each in all_results}, reverse=True):
        mine = [each for each in all_results if each.minutes == minutes]
        names = [each.corpus for each in mine]
        which = "" if len(names) == len(CORPORA) else f" --corpora {' '.join(names)}"
        whole = sum(each.seconds + learning[each.key] for each in mine) / 60
        command = f"python studies/universality.py --data FOLDER{which} --minutes {minutes:g}"
        on = "; ".join(sorted({f"{each.cpu}, {each.date}" for each in mine}))
        lines.append(f"- `{command}`: {whole:.0f} minutes on {on}")
    return "\n".join(lines)


def page(all_results: list[Result], options: argparse.Namespace) -> str:
    """Return the page of the study."""
    last = {each.corpus: each for each in all_results}
    sections = "\n".join(section(each, options.output) for each in last.values())
    return f"""# Default options, {len(last)} of {len(CORPORA)} kinds of text

{commands(all_results, options)}

Every model was trained with default options, on the first 90 % of its text, and scored on the last 5 % (at most
{SCORED:,} characters), *stream*. One seed each. N-grams are modified Kneser-Ney, counted on at most the last {COUNTED:,}
characters of the training part.

{scores_table(all_results)}
The samples below were generated at the temperature at which samples are most like real text
([how](../structure.md#the-temperature-sweep)), {options.samples} each, by the model and by the n-grams.
[What is counted](../structure.md#what-is-counted).

{targets_table(all_results)}
The reasons for shares below their targets are in [a study of their own](shortfall.md) and in
[its summary](../structure.md#where-samples-fall-short).

{"![shares against minutes](universality-minutes.svg)" if several(all_results) else ""}

{sections}"""


def main() -> None:
    """Read the command line, make what is missing, write the page."""
    parser = argument_parser(__doc__)
    parser.add_argument("--data", type=Path, default=Path("corpora"), help="the folder of corpora")
    parser.add_argument("--corpora", nargs="+", default=list(CORPORA), choices=list(CORPORA))
    parser.add_argument("--minutes", type=float, nargs="+", default=[15.0], help="of training, for each corpus")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="that are generated and parsed")
    parser.add_argument("--cache", type=Path, default=Path("runs/universality"), help="where results are kept")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/studies"))
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    options.output.mkdir(parents=True, exist_ok=True)
    log = ResultLog(options.cache / "universality.jsonl", Result)
    for each in results(options, log):
        print(f"{each.corpus}: {each.bits:.3f} bits, sweet spot {each.temperature:g}, {each.seconds:.0f} s", flush=True)
    names = list(CORPORA)
    found = sorted(log.all(), key=lambda each: (names.index(each.corpus), each.minutes))
    if found:
        if several(found):
            save(curves(found), options.output / "universality-minutes.svg")
        write_page(options.output / "universality.md", page(found, options))


if __name__ == "__main__":
    main()
