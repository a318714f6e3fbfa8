"""Penn Treebank by characters, the table every paper on small recurrent networks has a row in.

    python studies/treebank.py FOLDER --minutes 120 -o docs/studies

FOLDER has the word-level files ptb.train.txt, ptb.valid.txt and ptb.test.txt (Mikolov et al. 2012). Characters are made of them by the usual rule:
words of a line are joined by _, and every line ends. The model that was best on the validation part is scored on the test part, each character
once, in order (*stream*); with --dynamic then again while it learns from what it has scored, with settings chosen on the validation part. Close
everything else first.
"""

import argparse
import hashlib
from pathlib import Path

from cache import train_into
from nextchar.benchmark.report import machine
from nextchar.config import Config, compose
from nextchar.evaluation.dynamic import score_dynamic
from nextchar.evaluation.score import Score, score_ids
from nextchar.language_model import LanguageModel
from nextchar.storage import load, write_text
from nextchar.text.corpus import Corpus
from tables import markdown

PARTS = ("train", "valid", "test")
# SHA-256 of ptb.char.PART.txt, which has a blank between any two characters.
DIGESTS = {
    "train": "e313d91425e06c4f0a8fb6e881dcce0c291f2a0e9f4dda54833069b122f91da9",
    "valid": "21661f63ec355085879458b6524644d4add5573541b4be14fb52ab2e2e995eb8",
    "test": "1ef5607ac3c463b16e38bfe7900dd3bfc91de5a96e0f21e7eab5188b465b8ebe",
}
# Test bits per character: static, and with dynamic evaluation.
PUBLISHED = (
    ("Mogrifier RLSTM (Melis 2022)", "24M", "1.096", "1.061"),
    ("Mogrifier LSTM (Melis et al. 2020)", "24M", "1.120", "1.083"),
    ("AWD-LSTM, 3 layers (Merity et al. 2018)", "13.8M", "1.175", ""),
    ("HyperLSTM, 2 layers (Ha et al. 2017)", "14.4M", "1.219", ""),
    ("zoneout LSTM, 1x1000 (Krueger et al. 2017)", "4.3M", "1.27", ""),
    ("batch-normalised LSTM, 1x1000 (Cooijmans et al. 2017)", "4.3M", "1.32", ""),
    ("its LSTM without", "4.3M", "1.38", ""),
)


def characters(words: str) -> str:
    """Return a word-level file as characters: `ptb.char.PART.txt` without its blanks."""
    return "".join("_".join(line.split()) + "\n" for line in words.splitlines())


def check(part: str, text: str) -> None:
    """Refuse a text that is not the part everybody means."""
    if hashlib.sha256(f"{' '.join(text)} ".encode()).hexdigest() != DIGESTS[part]:
        raise SystemExit(
            f"the {part} part does not come to the usual ptb.char.{part}.txt; take the word-level files as they are"
        )


def read(folder: Path) -> tuple[Corpus, float, float]:
    """Return all three parts as one text, and what share of it validation and test part are."""
    texts = {part: characters((folder / f"ptb.{part}.txt").read_text(encoding="utf-8")) for part in PARTS}
    for part, text in texts.items():
        check(part, text)
    corpus = Corpus.from_text("".join(texts.values()))
    valid, test = (len(texts[part]) / len(corpus) for part in ("valid", "test"))
    return corpus, valid, test


def measure(lm: LanguageModel, corpus: Corpus, shares: tuple[float, float], *, dynamic: bool) -> list[Score]:
    """Score the test part as the model is, and, if asked to, while it learns."""
    train, valid, test = (corpus.part(part, *shares).take(0, len(corpus)) for part in PARTS)
    if not dynamic:
        return [score_ids(lm.network, test, lm.vocabulary)]
    both = score_dynamic([lm.network], test, lm.vocabulary, train, tune_on=valid)
    return [both.static, both.dynamic]


def page(lm: LanguageModel, scores: list[Score], command: str, minutes: float) -> str:
    """Return the page of the study."""
    about = machine()
    config = Config(**lm.config)
    shape = lm.network.architecture
    network = f"{shape.layers}x{shape.hidden}"
    bits = [f"**{each.bits_per_char:.3f}**" for each in scores] + [""] * (2 - len(scores))
    name = f"**nextchar, {network}, {minutes:g} minutes of {about['cores']} cores**"
    rows = [
        (name, f"{lm.network.size() / 1e6:.1f}M", *bits),
        *PUBLISHED,
    ]
    head = ["model", "parameters", "bits per character", "dynamic"]
    return f"""# Penn Treebank by characters

`{command}`: {about["cpu"]}, {about["cores"]} cores, torch {about["torch"]}, {about["date"]}, one seed. Test part ({scores[0].chars:,} characters), each scored once, in
order (*stream*); *dynamic*: learning from what was scored, with settings chosen on the validation part. The model is the best of its looks at the
validation part, every {config.eval_every:,} steps; it has seen the training part {lm.provenance["epochs"]:.1f} times, in {config.batch_size} lanes of {config.seq_length}, with a dropout of {config.dropout:.2f}
(recurrent {config.recurrent_dropout:.2f}). Nothing was chosen but the minutes.

{markdown(head, rows)}
Published rows are of networks that saw the text some hundred times, on GPUs, with settings searched for this very text.
"""


def main() -> None:
    """Read the command line, train unless the model is there, score, write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="the folder of the word-level files")
    parser.add_argument("--minutes", type=float, default=120.0, help="of training")
    parser.add_argument(
        "--model", type=Path, default=Path("runs/treebank.safetensors"), help="where it is kept"
    )
    parser.add_argument("--dynamic", action="store_true", help="also score while learning, which takes long")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs"))
    options = parser.parse_args()
    corpus, valid, test = read(options.data)
    config, _ = compose({"minutes": options.minutes, "valid": valid, "test": test})
    train_into(options.model, corpus, config)
    lm = load(options.model)
    scores = measure(lm, corpus, (valid, test), dynamic=options.dynamic)
    command = (
        f"python studies/treebank.py FOLDER --minutes {options.minutes:g}{' --dynamic' * options.dynamic}"
    )
    write_text(options.output / "treebank.md", page(lm, scores, command, options.minutes))


if __name__ == "__main__":
    main()
