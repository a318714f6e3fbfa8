"""One set of defaults on seven kinds of text: the study of claims 4 to 10, with its figures and its page in docs/studies.

    python studies/universality.py --data FOLDER --minutes 15

FOLDER holds the corpora (see `CORPORA` for their names; the standard library needs none, what is not there is left out). Every
one is trained for so many minutes and with no other option, scored beside a table of 8-grams, written from at eleven
temperatures, and read by the parsers of its domain at the one most like real text. Results are kept as they come, so an
interrupted study goes on where it was, and other --minutes for some --corpora add a curve to the same page.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import pictures
from cache import Kept, train_into
from nextchar.benchmark.report import machine
from nextchar.config import Config
from nextchar.evaluation.ngram import NGram
from nextchar.evaluation.novelty import Training
from nextchar.evaluation.score import estimate
from nextchar.parsing.compare import cut_samples
from nextchar.parsing.report import COPIED, Structure, get_domain, structure
from nextchar.parsing.sweep import SampleRequest, figure, generate, svg, sweep, sweet_spot
from nextchar.storage import ModelFile, read_model, to_language_model, write_text
from nextchar.text.corpus import Corpus, open_corpus
from tables import markdown

VALID = TEST = 0.05
ORDER = 8
COUNTED = 6_000_000  # characters the n-grams are counted on, at most: more do not fit a small memory
SCORED = 300_000  # characters of the test part, at most
TEMPERATURES = (0.1, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.2, 1.6)
SWEPT, WRITTEN = 16, 100  # samples at each temperature, and at the one chosen
SHOWN = 700  # characters of a sample on the page


@dataclass(frozen=True, slots=True)
class Text:
    """A corpus of the study.

    Attributes:
        title: On the page.
        path: Below the folder of corpora; empty for the standard library.
        domain: Whose parsers read it; empty for none.
        targets: What a model should reach, in percent, by the name of the measure.
        most: Minutes after which a small text has nothing more to teach.
    """

    title: str
    path: str
    domain: str
    targets: dict[str, float] = field(default_factory=dict)
    most: float = 1e9


CORPORA = {
    "shakespeare": Text("Shakespeare", "shakespeare/tiny.txt", "drama", most=3),
    "linux": Text(
        "Linux C",
        "linux/linux_kernel.txt",
        "c",
        {"functions with balanced brackets": 90, "functions without a parse error": 50},
    ),
    "latex": Text("Stacks LaTeX", "latex/stacks.tex", "latex", {"fragments with matched environments": 80}),
    "wikipedia": Text(
        "Wikipedia XML", "wikipedia/enwiki_2016.xml", "wikitext", {"fragments well-formed": 60}
    ),
    "abc": Text("tunes in ABC", "music/folk.abc", "abc", {"tunes that abc2midi accepts": 70}),
    "python": Text("Python's standard library", "", "python", {"functions that parse": 60}),
    "names": Text("names", "names/names.txt", "", most=1),
}


def opened(name: str, data: Path) -> Corpus:
    """Open a corpus of the study; `data` is the folder of corpora."""
    path = CORPORA[name].path
    return open_corpus([str(data / path) if path else "stdlib"])


def taught(name: str, minutes: float) -> float:
    """Return the minutes a corpus is trained on: a small one has nothing more to teach."""
    return min(minutes, CORPORA[name].most)


@dataclass(frozen=True, slots=True)
class Learnt:
    """How many seconds the training on one corpus took, everything included."""

    corpus: str
    minutes: float
    seconds: float

    @property
    def place(self) -> tuple[str, float]:
        """What tells it from the others."""
        return self.corpus, taught(self.corpus, self.minutes)


@dataclass(frozen=True, slots=True)
class Result(Learnt):
    """What came of one corpus after so many minutes; shares in percent with their interval, seconds without the training."""

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
    """Train with every default, or take the model from its file."""
    path = cache / f"{name}-{taught(name, minutes):g}.safetensors"
    begun = time.perf_counter()
    if train_into(path, corpus, Config(minutes=taught(name, minutes), valid=VALID, test=TEST)):
        spent(cache).add(Learnt(name, minutes, round(time.perf_counter() - begun, 1)))
    return read_model(path)


def spent(cache: Path) -> Kept[Learnt]:
    """Return how long every training took."""
    return Kept(cache / "universality-learnt.jsonl", Learnt)


def shares(result: Structure) -> dict[str, tuple[float, float, float]]:
    """Return the measures by name: value and interval."""
    return {measure.name: (measure.value, measure.low, measure.high) for measure in result.measures}


def study(name: str, corpus: Corpus, minutes: float, options: argparse.Namespace, *, shown: bool) -> Result:
    """Train on one corpus, score, sweep, write, and check what was written; draw it if it is shown."""
    known = CORPORA[name]
    model = train(name, corpus, minutes, options.cache)
    begun = time.perf_counter()
    train_ids, valid_ids, test_ids = (
        corpus.part(part, VALID, TEST).take(0, len(corpus)) for part in ("train", "valid", "test")
    )
    lm = to_language_model(model)
    table = NGram(train_ids[-COUNTED:], len(corpus.vocabulary), order=ORDER)
    decode = corpus.vocabulary.decode
    training = Training(decode(train_ids))
    held_out = decode(np.concatenate([valid_ids, test_ids]))
    domain = known.domain or "drama"
    how = SampleRequest(count=options.samples, length=get_domain(domain).length)
    real = structure(cut_samples(held_out, how.count, how.length), domain, training=training)
    best = 1.0
    if known.domain:
        swept = SampleRequest(count=min(SWEPT, how.count), length=how.length)
        points = list(sweep(model, domain, training, swept, TEMPERATURES))
        if shown:
            write_text(options.output / f"universality-{name}.svg", figure(points, real, known.title))
        best = sweet_spot(points, real).temperature
    how = SampleRequest(count=how.count, length=how.length, temperature=best)
    samples = generate(model, how)[0]
    ngrams = [decode(each) for each in table.write(how.count, how.length, temperature=best)]
    found = {"model": samples, f"{ORDER}-grams": ngrams}
    columns = {"real text": real} | {
        column: structure(texts, domain, training=training) for column, texts in found.items()
    }
    if shown:
        pictures.draw(name, samples, training, options.output)
    shape = lm.network.architecture
    on = machine()
    return Result(
        name,
        minutes,
        round(time.perf_counter() - begun, 1),
        f"{shape.layers}x{shape.hidden}",
        len(corpus),
        round(model.provenance["epochs"], 2),
        estimate(lm.network, test_ids[:SCORED], lm.vocabulary).bits_per_char,
        table.score(test_ids[:SCORED], corpus.vocabulary).bits_per_char,
        best,
        {column: shares(each) for column, each in columns.items()},
        {column: each.longest_copy or 0 for column, each in columns.items()},
        samples[0][:SHOWN],
        f"{on['cpu']}, {on['cores']} cores, torch {on['torch']}",
        on["date"],
    )


def results(options: argparse.Namespace, kept: Kept[Result]) -> Iterator[Result]:
    """Yield the result of every corpus that is there; what is kept already, or would only be the same, is not made again."""
    for name in options.corpora:
        path = options.data / CORPORA[name].path
        if CORPORA[name].path and not path.exists():
            print(f"{name}: {path} is not there; left out", flush=True)
            continue
        longest = max([*options.minutes, *(each.minutes for each in kept.all() if each.corpus == name)])
        for minutes in options.minutes:
            known = kept.get((name, taught(name, minutes)))
            if known is None:
                known = kept.add(
                    study(name, opened(name, options.data), minutes, options, shown=minutes == longest)
                )
            yield known


def cell(values: Any, digits: int = 1) -> str:
    """Write a share in percent with its interval."""
    value, low, high = values
    return "-" if np.isnan(value) else f"{value:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def scores_table(all_results: list[Result]) -> str:
    """Return bits per character of every corpus, beside the n-grams."""
    head = ["text", "characters", "network chosen", "minutes", "epochs read", "bits per character", "8-grams"]
    rows = [
        (
            CORPORA[each.corpus].title,
            f"{each.chars:,}",
            each.network,
            f"{each.place[1]:g}",
            f"{each.epochs:.2f}",
            f"{each.bits:.3f}",
            f"{each.ngram_bits:.3f}",
            f"{each.temperature:g}",
        )
        for each in all_results
    ]
    return markdown([*head, "most like real text at"], rows)


def targets_table(all_results: list[Result]) -> str:
    """Return what each model should reach, and what it does, over the minutes of training."""
    rows = []
    for each in all_results:
        for name, target in CORPORA[each.corpus].targets.items():
            columns = [
                each.structure[column].get(name) for column in ("model", f"{ORDER}-grams", "real text")
            ]
            cells = [cell(values) if values else "not checked" for values in columns]
            reached = columns[0] is not None and columns[0][0] >= target
            mark = "reached" if reached else "not reached"
            title = CORPORA[each.corpus].title
            rows.append([title, name, f"{target:g}, {mark}", f"{each.minutes:g}", *cells])
    head = ["text", "measure, %", "should be", "minutes", "model", f"{ORDER}-grams", "real text"]
    return markdown(head, rows, left=2)


def several(all_results: list[Result]) -> list[str]:
    """Return the corpora with something to reach that were trained for several times."""
    found = [each.corpus for each in all_results if CORPORA[each.corpus].targets]
    return [name for name in dict.fromkeys(found) if found.count(name) > 1]


def curves(all_results: list[Result]) -> str:
    """Draw what models should reach against the minutes they were trained, with intervals, where there are several."""
    from matplotlib.figure import Figure  # noqa: PLC0415  takes long to import

    names = several(all_results)
    canvas = Figure(figsize=(2.6 * len(names), 3.2), layout="constrained")
    for axes, name in zip(canvas.subplots(1, len(names), sharey=True, squeeze=False)[0], names, strict=True):
        own = [each for each in all_results if each.corpus == name]
        minutes = [each.minutes for each in own]
        for color, (measure, target) in enumerate(CORPORA[name].targets.items()):
            found = [each.structure["model"].get(measure, (np.nan,) * 3) for each in own]
            value, low, high = np.transpose(found)
            look = {"color": f"C{color}", "marker": "o", "capsize": 3, "label": measure}
            axes.errorbar(minutes, value, [value - low, high - value], **look)
            axes.axhline(target, color=f"C{color}", linestyle="--", linewidth=1)
        axes.set(
            title=CORPORA[name].title,
            xlabel="minutes",
            xlim=(0, 1.1 * max(minutes)),
            xticks=minutes,
            ylim=(0, 100),
        )
        axes.legend(fontsize=6, loc="lower right")
    canvas.axes[0].set_ylabel("percent; dashed: what should be")
    return svg(canvas)


def section(result: Result, folder: Path) -> str:
    """Return the part of the page about one corpus: every measure, the sweep, a sample, pictures."""
    known = CORPORA[result.corpus]
    columns = list(result.structure)
    names = (
        list(result.structure["model"])
        if known.domain
        else ["words known from training", COPIED, "characters in loops"]
    )
    rows = [
        [name, *(cell(result.structure[column].get(name, (np.nan,) * 3)) for column in columns)]
        for name in names
    ]
    rows.append(["longest substring copied, characters", *(str(result.longest[each]) for each in columns)])
    shown = [
        path
        for path in sorted(folder.glob(f"universality-{result.corpus}*"))
        if path.suffix in (".svg", ".png")
    ]
    seen = "\n\n".join(f"![{known.title}]({path.name})" for path in shown)
    return f"""## {known.title}

{result.place[1]:g} minutes, temperature {result.temperature:g}. Shares in percent, 95 % intervals:

{markdown(["", *columns], rows)}
{seen}

```text
{result.sample.replace("```", "'''")}
```
"""


def commands(all_results: list[Result], options: argparse.Namespace) -> str:
    """Return what was run, and how long it took."""
    learning = {each.place: each.seconds for each in spent(options.cache).all()}
    lines = []
    for minutes in sorted({each.minutes for each in all_results}, reverse=True):
        mine = [each for each in all_results if each.minutes == minutes]
        names = [each.corpus for each in mine]
        which = "" if len(names) == len(CORPORA) else f" --corpora {' '.join(names)}"
        whole = sum(each.seconds + learning[each.place] for each in mine) / 60
        command = f"python studies/universality.py --data FOLDER{which} --minutes {minutes:g}"
        on = "; ".join(sorted({f"{each.cpu}, {each.date}" for each in mine}))
        lines.append(f"- `{command}`: {whole:.0f} minutes on {on}")
    return "\n".join(lines)


def page(all_results: list[Result], options: argparse.Namespace) -> str:
    """Return the page of the study."""
    last = {each.corpus: each for each in all_results}
    sections = "\n".join(section(each, options.output) for each in last.values())
    return f"""# One set of defaults, {len(last)} of {len(CORPORA)} kinds of text

{commands(all_results, options)}

Every model was trained with no option but its minutes, on the first 90 % of its text, and scored on the last 5 % (at most
{SCORED:,} characters), *stream*. One seed each. N-grams are modified Kneser-Ney, counted on the last {COUNTED:,} characters of the training part at the most.

{scores_table(all_results)}
What is written below is written at the temperature at which samples are most like real text ([how](../structure.md#the-temperature-sweep)),
{options.samples} samples each; the n-grams write at the same. What is counted is told [there](../structure.md).

{targets_table(all_results)}
Where a share is below what it should be, the reasons are looked for [in a study of its own](shortfall.md), and told [there](../structure.md#where-samples-fall-short).

{"![shares against minutes](universality-minutes.svg)" if several(all_results) else ""}

{sections}"""


def main() -> None:
    """Read the command line, make what is missing, write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=Path("corpora"), help="the folder of corpora")
    parser.add_argument("--corpora", nargs="+", default=list(CORPORA), choices=list(CORPORA))
    parser.add_argument(
        "--minutes", type=float, nargs="+", default=[15.0], help="of training, for each corpus"
    )
    parser.add_argument("--samples", type=int, default=WRITTEN, help="that are written and checked")
    parser.add_argument(
        "--cache", type=Path, default=Path("runs/universality"), help="where results are kept"
    )
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/studies"))
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    options.output.mkdir(parents=True, exist_ok=True)
    kept = Kept(options.cache / "universality.jsonl", Result)
    for each in results(options, kept):
        print(
            f"{each.corpus}: {each.bits:.3f} bits, sweet spot {each.temperature:g}, {each.seconds:.0f} s",
            flush=True,
        )
    names = list(CORPORA)
    found = sorted(kept.all(), key=lambda each: (names.index(each.corpus), each.minutes))
    if found:
        if several(found):
            write_text(options.output / "universality-minutes.svg", curves(found))
        write_text(options.output / "universality.md", page(found, options))


if __name__ == "__main__":
    main()
