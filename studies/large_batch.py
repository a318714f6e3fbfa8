"""Batches of 2,000 to 32,000 characters a step, with the square-root rule and a warm-up that grows with the batch.

    python studies/large_batch.py TEXT --epochs 4 -o docs/studies/large_batch.jsonl

Several processes are worth their messages only where a step is long, that is with large batches, which take fewer steps.
The rule under test: the learning rate grows with the square root of the batch, and the warm-up, in epochs, with the batch
(LEGW; You et al. 2019, "Large-Batch Training for LSTM and Beyond", arXiv 1901.08256). An epoch has fewer steps by the
same factor, so the warm-up is the same number of steps. Beside it stand the square-root rule with the same warm-up in
epochs, and the rate of the smallest batch, unchanged. Every run reads the same number of characters with the same
network. Results are written as they come, and an interrupted sweep goes on.
"""

import json
import math
from pathlib import Path
from typing import Any

from nextchar.config import Config
from nextchar.recipe import Recipe
from nextchar.text.corpus import Corpus, open_corpus
from nextchar.training.autosize import plan
from nextchar.training.events import Finished
from nextchar.training.trainer import Trainer
from tables import argument_parser, markdown, measured_on

BATCHES = (32, 64, 128, 256, 512)  # rows of 64 characters
RULES = ("LEGW", "square root, short warm-up", "same rate")
HEAD = ("characters a step", "steps", "rule", "learning rate", "warm-up", "bits/char")


def recipe_of(base: Recipe, batch_size: int, rule: str, characters: int, epochs: float) -> Recipe:
    """Return the recipe of a batch size by one of the rules.

    Args:
        base: Of the smallest batch.
        batch_size: B.
        rule: One of `RULES`.
        characters: Of the training part.
        epochs: To train.
    """
    times = batch_size / base.batch_size
    steps = max(1, round(epochs * (characters // (batch_size * base.seq_length))))
    rate = base.learning_rate * (1 if rule == RULES[2] else math.sqrt(times))
    warmup = base.warmup / times if rule == RULES[1] else base.warmup
    # AdamW multiplies the decay by the rate, and there are fewer steps.
    decay = base.weight_decay * times * base.learning_rate / rate
    return base.replace(
        batch_size=batch_size,
        steps=steps,
        learning_rate=rate,
        warmup=min(max(1, round(warmup)), max(1, steps // 3)),
        weight_decay=decay,
        eval_every=max(1, steps // 4),
    )


def run(corpus: Corpus, recipe: Recipe) -> float:
    """Train; return the bits per character of the validation part."""
    done = next(event for event in Trainer(corpus, recipe).events() if isinstance(event, Finished))
    assert done.score
    return done.score.bits_per_char


def sweep(corpus: Corpus, config: Config, batches: tuple[int, ...], out: Path) -> list[dict[str, Any]]:
    """Train with every batch and rule that a file does not have yet; return what it has then."""
    rows = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()] if out.exists() else []
    epochs = config.epochs or 1.0
    characters = len(corpus.part("train", config.valid, config.test))
    base = plan(
        config.replace(batch_size=batches[0], seq_length=config.seq_length or 64), characters, len(corpus.vocabulary)
    )
    for batch_size in batches:
        for rule in RULES if batch_size != batches[0] else RULES[:1]:
            recipe = recipe_of(base, batch_size, rule, characters, epochs)
            about = {"batch": recipe.chars_per_step, "rule": rule, "epochs": epochs, "seed": config.seed}
            if any(row.items() >= about.items() for row in rows):
                continue
            bits = run(corpus, recipe)
            rate = {"steps": recipe.steps, "rate": recipe.learning_rate, "warmup": recipe.warmup}
            rows.append({**about, **rate, "bits_per_char": bits, "machine": measured_on()})
            out.parent.mkdir(parents=True, exist_ok=True)
            with out.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[-1]) + "\n")
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Return a sweep as a table."""
    lines = [
        [
            f"{row['batch']:,}",
            f"{row['steps']:,}",
            row["rule"],
            f"{row['rate']:.4g}",
            row["warmup"],
            f"{row['bits_per_char']:.4f}",
        ]
        for row in rows
    ]
    return markdown(HEAD, lines, left=0)


def main() -> None:
    """Parse the command line, sweep, and print the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("text")
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--seq-length", type=int, default=64)
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES), help="rows, the smallest first")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True, help="file of JSON lines")
    arguments = parser.parse_args()
    config = Config(
        epochs=arguments.epochs, hidden=arguments.hidden, seq_length=arguments.seq_length, seed=arguments.seed
    )
    print(table(sweep(open_corpus(arguments.text), config, tuple(arguments.batches), arguments.output)))


if __name__ == "__main__":
    main()
