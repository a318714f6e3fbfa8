"""Search for the cells of the 2015 post and paper by program: which are found, in five kinds of text.

    python studies/neurons.py linux=linux_kernel.txt warpeace=warpeace_input.txt wiki=enwik8_prefix.txt latex=stacks.tex stdlib --minutes 30

Trains a model on each text with nextchar's defaults, runs `nextchar discover` on the end of the text, which the
model was not trained on, and writes one line for each claimed cell: its best unit, the verdict, the nulls. Results are
kept in a file beside the page, so the study can be run in parts, one kind of text at a time.
"""

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

from cache import ResultLog
from nextchar.benchmark.report import machine
from nextchar.config import Config
from nextchar.discovery.claims import Claims
from nextchar.discovery.judging import VERDICTS
from nextchar.discovery.page import claims_page
from nextchar.discovery.pipeline import claims_of
from nextchar.discovery.study import Search, prepare
from nextchar.storage import LOG, load, read_log, write_text
from nextchar.text.corpus import open_corpus
from nextchar.training.record import record
from nextchar.training.start import make_trainer
from tables import markdown

PAPER = "https://arxiv.org/abs/1506.02078"
# By kind of text, the cells that the post and the paper describe, and the features that mean the same.
CLAIMED: dict[str, dict[str, Sequence[str]]] = {
    "linux": {
        "comments": ("c_comment",),
        "strings": ("c_string",),
        "if-condition": ("if_condition",),
        "position in line": ("column", "late_in_line"),
        "indentation or depth": ("indentation", "indented", "braces.depth"),
        "brackets": ("parentheses", "brackets", "braces"),
        "preprocessor": ("preprocessor",),
    },
    "warpeace": {
        "quotes": ("quotes", "curly_quotes"),
        "position in line": ("column", "late_in_line"),
        "position in sentence": ("sentence_position",),
    },
    "wiki": {
        "URL": ("url",),
        "[[ ]]": ("wiki_link",),
        "www count": ("w_count", "spells_www"),
        "{{ }}": ("template",),
        "tags": ("tag", "escaped_tag"),
        "quotes": ("quot",),
        "headings": ("heading",),
    },
    "latex": {
        "formulas": ("math", "display_math"),
        "environments": ("environment", "environment_proof", "environment_lemma", "environment_enumerate"),
        "references": ("reference",),
        "brackets": ("parentheses", "brackets", "braces"),
        "position in line": ("column", "late_in_line"),
    },
    "stdlib": {
        "strings": ("python_string", "python_single_string", "python_docstring"),
        "comments": ("python_comment",),
        "if-condition": ("if_condition",),
        "indentation or depth": ("indentation", "indented"),
        "position in line": ("column", "late_in_line"),
        "brackets": ("parentheses", "brackets", "braces"),
    },
}
PROFILES = {"linux": "c", "warpeace": "prose", "wiki": "wiki", "latex": "latex", "stdlib": "python"}
LENGTHS = {"warpeace": 320_000}  # its end is an essay with few quotes


@dataclass(frozen=True, slots=True)
class Found:
    """The results of one kind of text: the claims of `claims.json`, and the features that are too rare."""

    kind: str
    text: str
    budget: str
    claims: list[dict[str, Any]]
    dropped: dict[str, str]
    cpu: str
    date: str

    @property
    def key(self) -> tuple[object, ...]:
        """What tells it from the others."""
        return self.kind, self.text, self.budget


def train(text: str, run: Path, config: Config) -> None:
    """Train a model on a text, unless that was done to its end."""
    if any(entry["event"] == "finished" for entry in read_log(run / LOG)):
        return
    trainer = make_trainer(open_corpus([text]), config)
    for _ in record(trainer, run, [text]):
        pass


def discover(kind: str, text: str, run: Path, length: int, search: Search) -> Claims:
    """Return the claims of a run's model, and write them and their page into its folder."""
    lm, corpus = load(run), open_corpus([text])
    ids = corpus.in_vocabulary(lm.vocabulary).take(max(0, len(corpus) - length), len(corpus))
    study = prepare(lm, ids, PROFILES[kind], search, print)
    claims = claims_of(study, PROFILES[kind], print)
    write_text(run / "discover.html", claims_page(claims, study, title=kind))
    claims.save(run / "claims.json")
    return claims


def best_of(found: Found, features: Sequence[str]) -> dict[str, Any] | None:
    """Return the claim with the best verdict among features of the same meaning; None if all are too rare."""
    mine = [claim for claim in found.claims if claim["feature"] in features]
    return max(mine, key=lambda c: (VERDICTS.index(c["verdict"]), c["evidence"]["strength"]), default=None)


def rows(found: Found) -> Iterator[Sequence[str]]:
    """Yield a row for each claimed cell of a kind of text."""
    for cell, features in CLAIMED[found.kind].items():
        claim = best_of(found, features)
        if claim is None:
            rare = "; ".join(f"{f}: {found.dropped[f]}" for f in features if f in found.dropped)
            yield found.kind, cell, "-", "too rare", rare, *6 * ("",)
            continue
        evidence, nulls, effect = claim["evidence"], claim["nulls"], claim["effect"]
        score = evidence["scores"].get("mcc", evidence["scores"].get("r"))
        used = f"{effect['on_bits']:.4f} / {effect['off_bits']:.4f} ({effect['percentile']:.0f} %)" if effect else "-"
        yield (
            found.kind,
            cell,
            f"{claim['feature']} {claim['unit'][0]}:{claim['unit'][1]}",
            f"**{claim['verdict']}**",
            claim["because"],
            f"{evidence['strength']:.3f} ({evidence['low']:.3f}-{evidence['high']:.3f})",
            f"{score:.3f}",
            f"{nulls['shifts_95']:.3f}",
            f"{max(nulls['untrained'], nulls['shuffled']):.3f}",
            f"{evidence['suffix']['best']:.3f} ({evidence['suffix']['k']})",
            used,
        )


def steered(every: list[Found]) -> Iterator[Sequence[str]]:
    """Yield a row for each claim that was steered."""
    for found in every:
        for claim in found.claims:
            if steer := claim["steer"]:
                shares = ", ".join(f"{100 * share:.1f}" for share in steer["shares"])
                bits = ", ".join(f"{value:.2f}" for value in steer["bits"])
                yield found.kind, claim["feature"], shares, bits, f"{steer['monotone']:.2f}"


def written(every: list[Found], least: float = 0.9) -> Iterator[str]:
    """Yield samples at the first and the last dose of the claims that can be steered well."""
    for found in every:
        for claim in found.claims:
            steer = claim["steer"]
            for k, side in ((0, "off"), (-1, "on")) if steer and steer["monotone"] >= least else ():
                held = f"{found.kind}, {claim['feature']} held {side} ({steer['doses'][k]:+.2f})"
                sample = steer["samples"][k].replace("\r", "")
                yield f"{held}:\n\n```text\n{sample}\n```\n"


def figure(every: list[Found], path: Path) -> None:
    """Draw the strength of every claimed cell: the unit with its interval, and the nulls."""
    points = [
        (f"{found.kind}: {cell}", claim)
        for found in every
        for cell, features in CLAIMED[found.kind].items()
        if (claim := best_of(found, features))
    ]
    with mpl.rc_context({"svg.hashsalt": "nextchar"}):
        drawn = Figure(figsize=(8, 0.32 * len(points) + 1.2), layout="constrained")
        axes = drawn.subplots()
        marks = {"chance": "|", "untrained": "x", "table": "s", "rotation": "+"}
        for y, (_, claim) in enumerate(points):
            evidence, nulls = claim["evidence"], claim["nulls"]
            axes.plot([evidence["low"], evidence["high"]], [y, y], color="#00887a", lw=4, alpha=0.5)
            axes.plot(evidence["strength"], y, "o", color="#00887a", label="" if y else "unit")
            values = {
                "chance": nulls["shifts_95"],
                "untrained": max(nulls["untrained"], nulls["shuffled"]),
                "table": evidence["suffix"]["best"],
                "rotation": nulls["rotation_largest"],
            }
            for which, value in values.items():
                axes.plot(value, y, marks[which], color="#555", ms=6, label="" if y else which)
        axes.set_yticks(range(len(points)), [f"{label} ({claim['verdict']})" for label, claim in points], fontsize=8)
        axes.set_ylim(len(points) - 0.4, -0.6)
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel("strength on held-out text: |2 AUC - 1| or |r|")
        drawn.legend(fontsize=8, loc="outside upper center", ncols=5)
        drawn.savefig(path, metadata={"Date": None})


def page(every: list[Found], command: str) -> str:
    """Return the page of the study."""
    machines = "; ".join(sorted({f"{found.cpu}, {found.date}" for found in every}))
    claims = [claim for found in every for claim in found.claims]
    counts = {
        word: sorted({c["feature"] for c in claims if VERDICTS.index(c["verdict"]) >= VERDICTS.index(word)})
        for word in ("tracks", "uses")
    }
    head = ["text", "claimed cell", "feature and unit", "verdict", "what kept it from the next verdict", "strength"]
    head += ["MCC or r", "chance", "untrained", "table (k)", "ablated: bits on / off"]
    lines = [line for found in every for line in rows(found)]
    return f"""# The cells of 2015, searched for by a program

`{command}`: {machines}. One seed each. The verdicts and columns are
explained in [nextchar discover](../discover.md); cells are those of the 2015 post and of [its paper]({PAPER}).

{len(counts["tracks"])} different features reach `tracks` or more somewhere: {", ".join(counts["tracks"]) or "none"}.
{len(counts["uses"])} reach `uses`: {", ".join(counts["uses"]) or "none"}.

![Strength of the best unit of every claimed cell, with its nulls](neurons.svg)

{markdown(head, lines, left=5)}
## Steered

Texts generated while the unit is held at seven doses, from the feature being off to its being on: percentage of the
characters that were [generated as if it were on](../discover.md#steering), and the loss of that text without
intervention, in bits per character.

{markdown(["text", "feature", "on, % by dose", "bits by dose", "Spearman"], steered(every), left=2)}
Samples at the first and the last dose of the claims that can be steered well:

{chr(10).join(written(every))}"""


def main() -> None:
    """Read the command line, do what is missing, write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+", help=f"KIND=TEXT, or KIND alone; kinds are {', '.join(CLAIMED)}")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--steps", type=int, help="optimizer steps instead of minutes")
    parser.add_argument(
        "--last-chars", "--length", type=int, default=200_000, help="characters to discover on, at the end of the text"
    )
    parser.add_argument("--shifts", type=int, default=200)
    parser.add_argument("--runs", type=Path, default=Path("runs/neurons"))
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/studies"))
    options = parser.parse_args()
    config = Config(steps=options.steps) if options.steps else Config(minutes=options.minutes)
    budget = f"--steps {options.steps}" if options.steps else f"--minutes {options.minutes:g}"
    options.output.mkdir(parents=True, exist_ok=True)
    kept = ResultLog(options.output / "neurons.jsonl", Found)
    for word in options.texts:
        kind, _, text = word.partition("=")
        if kind not in CLAIMED:
            parser.error(f"there is no kind '{kind}'; there is {', '.join(CLAIMED)}")
        if kept.get((kind, Path(text).name, budget)):
            continue
        run = options.runs / "-".join([kind, *Path(text).stem.split(), *budget.removeprefix("--").split()])
        train(text or kind, run, config)
        length = max(options.last_chars, LENGTHS.get(kind, 0)) if options.last_chars >= 200_000 else options.last_chars
        claims = discover(kind, text or kind, run, length, Search(shifts=options.shifts)).as_dict()
        on = machine()
        cpu = f"{on['cpu']}, {on['cores']} cores"
        kept.add(Found(kind, Path(text).name, budget, claims["claims"], claims["dropped"], cpu, on["date"]))
    every = sorted((each for each in kept.all() if each.budget == budget), key=lambda each: each.key)
    figure(every, options.output / "neurons.svg")
    texts = " ".join(f"{each.kind}={each.text}" if each.text else each.kind for each in every)
    write_text(options.output / "neurons.md", page(every, f"python studies/neurons.py {texts} {budget}"))


if __name__ == "__main__":
    main()
