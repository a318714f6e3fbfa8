"""Penn Treebank by characters, the usual comparison of papers on small recurrent networks.

    python studies/treebank.py FOLDER --minutes 120 -o docs/studies

FOLDER has the word-level files ptb.train.txt, ptb.valid.txt and ptb.test.txt (Mikolov et al. 2012), which are converted to
characters by the usual rule: the words of a line are joined by _, and every line ends with a line feed. The best model on
validation is scored on the test part, each character once, in order (*stream*); with --dynamic also under dynamic
evaluation, with settings chosen on the validation part. Close other programs first.
"""

import hashlib
from pathlib import Path

from cache import train_into
from nextchar.config import Config
from nextchar.evaluation.dynamic import score_dynamic
from nextchar.evaluation.score import Score, score_ids
from nextchar.kernels.threads import available_cores
from nextchar.language_model import LanguageModel
from nextchar.storage import load
from nextchar.text.corpus import Corpus
from tables import argument_parser, markdown, measured_on, write_page

PARTS = ("train", "valid", "test")
# SHA-256 of ptb.char.PART.txt, which has a space between any two characters.
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
    ("the same LSTM without batch normalisation", "4.3M", "1.38", ""),
)


def characters(words: str) -> str:
    """Return a word-level file as characters: `ptb.char.PART.txt` without its spaces."""
    return "".join("_".join(line.split()) + "\n" for line in words.splitlines())


def check(part: str, text: str) -> None:
    """Refuse a text whose characters are not those of the usual file."""
    if hashlib.sha256(f"{' '.join(text)} ".encode()).hexdigest() != DIGESTS[part]:
        raise SystemExit(
            f"the {part} part does not come to the usual ptb.char.{part}.txt; take the word-level files as they are"
        )


def read(folder: Path) -> tuple[Corpus, float, float]:
    """Return all three parts as one text, and the shares of the validation and the test part."""
    texts = {part: characters((folder / f"ptb.{part}.txt").read_text(encoding="utf-8")) for part in PARTS}
    for part, text in texts.items():
        check(part, text)
    corpus = Corpus.from_text("".join(texts.values()))
    valid, test = (len(texts[part]) / len(corpus) for part in ("valid", "test"))
    return corpus, valid, test


def measure(lm: LanguageModel, corpus: Corpus, shares: tuple[float, float], *, dynamic: bool) -> list[Score]:
    """Return the score of the test part and, if asked for, that of dynamic evaluation."""
    train, valid, test = (corpus.part(part, *shares).take(0, len(corpus)) for part in PARTS)
    if not dynamic:
        return [score_ids(lm.network, test, lm.vocabulary)]
    both = score_dynamic([lm.network], test, lm.vocabulary, train, tune_on=valid)
    return [both.static, both.dynamic]


def page(lm: LanguageModel, scores: list[Score], command: str, minutes: float) -> str:
    """Return the page of the study."""
    config = Config(**lm.config)
    shape = lm.network.architecture
    network = f"{shape.layers}x{shape.hidden}"
    bits = [f"**{each.bits_per_char:.3f}**" for each in scores] + [""] * (2 - len(scores))
    name = f"**nextchar, {network}, {minutes:g} minutes of {available_cores()} cores**"
    rows = [(name, f"{lm.network.size() / 1e6:.1f}M", *bits), *PUBLISHED]
    head = ["model", "parameters", "bits per character", "dynamic"]
    return f"""# Penn Treebank by characters

`{command}`: {measured_on()}, one seed.
Test part ({scores[0].chars:,} characters), each scored once, in order (*stream*); *dynamic*: dynamic evaluation, with
settings chosen on the validation part. The model is the best of its validations, every {config.eval_every:,} steps; it was trained
for {lm.provenance["epochs"]:.1f} epochs, in batches of {config.batch_size} sequences of {config.seq_length} characters, with a dropout of {config.dropout:.2f}
(recurrent {config.recurrent_dropout:.2f}). All options but the minutes were chosen automatically.

{markdown(head, rows)}
Published rows are of networks that trained for some hundred epochs, on GPUs, with settings searched for this text.
"""


def main() -> None:
    """Read the command line, train unless the model exists, score, write the page."""
    parser = argument_parser(__doc__)
    parser.add_argument("data", type=Path, help="the folder of the word-level files")
    parser.add_argument("--minutes", type=float, default=120.0, help="of training")
    parser.add_argument("--model", type=Path, default=Path("runs/treebank.safetensors"), help="the file of the model")
    parser.add_argument("--dynamic", action="store_true", help="also score under dynamic evaluation, which takes long")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs"))
    options = parser.parse_args()
    corpus, valid, test = read(options.data)
    train_into(options.model, corpus, minutes=options.minutes, valid=valid, test=test)
    lm = load(options.model)
    scores = measure(lm, corpus, (valid, test), dynamic=options.dynamic)
    command = f"python studies/treebank.py FOLDER --minutes {options.minutes:g}{' --dynamic' * options.dynamic}"
    write_page(options.output / "treebank.md", page(lm, scores, command, options.minutes))


if __name__ == "__main__":
    main()
