"""`nextchar evaluate`: a model and a text in, a score out."""

import csv
import math
from functools import partial
from pathlib import Path
from typing import Any, Literal

from nextchar.cli.console import print_json, stderr
from nextchar.cli.errors import analyse, show, with_costs
from nextchar.cli.flags import Flag
from nextchar.errors import ConfigError, TextError
from nextchar.storage import CONFIG, ModelFile, model_path, read_model, write_atomically


def command(
    model: Path,
    /,
    *texts: str,
    split: Literal["train", "valid", "test"] | None = None,
    protocol: Literal["stream", "windows"] = "stream",
    window: int = 256,
    unknown: Literal["error", "skip"] = "error",
    encoding: str = "utf-8",
    ngram: int | None = None,
    per_char: Path | None = None,
    errors: Flag = False,
    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu",
    json: Flag = False,
) -> int:
    """Score a text with a model: every character once, in bits.

    Without a text, a part of the one that the model comes from is scored: the
    test part if the run kept one, else the validation part.

        nextchar evaluate runs/shakespeare --split valid
        nextchar evaluate runs/shakespeare other.txt --per-char surprise.csv
        nextchar evaluate runs/shakespeare --split test --ngram 8

    Parameters
    ----------
    model
        A run folder or a model file.
    texts
        Files, folders, globs, - for standard input, or names of `nextchar corpora`.
    split
        Which part of the training text to score instead.
    protocol
        stream reads in order and carries the state; windows cuts the text and starts each window empty.
    window
        Characters of a window.
    unknown
        What to do with characters that the model has never seen: skip scores the rest and says so.
    encoding
        Encoding of the texts.
    ngram
        Also score with an n-gram table of this order (1 to 20), counted on the training part.
    per_char
        Write what every character cost to a CSV file.
    errors
        Also tell what kinds of characters were wrong, and how sure closing brackets are by distance.
    device
        Where to compute.
    json
        Print one JSON object on standard output.
    """
    from nextchar.device import pick_device  # noqa: PLC0415  torch takes long to import
    from nextchar.evaluation.ngram import NGram  # noqa: PLC0415  as above
    from nextchar.evaluation.score import score_ids  # noqa: PLC0415  as above
    from nextchar.storage import to_language_model  # noqa: PLC0415  as above
    from nextchar.text.corpus import read_ids  # noqa: PLC0415  as above

    if texts and split:
        raise ConfigError("both a text and --split were given; give one of them")
    file = read_model(model)
    left_out = 0
    if texts:
        ids, left_out = read_ids(texts, file.vocabulary, encoding=encoding, unknown=unknown)
        what = ", ".join(texts)
    else:
        split = split or ("test" if file.config.get("test") else "valid")
        ids = part(file, model, split)
        what = f"the {split} part"
    lm = to_language_model(file, pick_device(device))
    score = partial(score_ids, lm.network, ids, lm.vocabulary, protocol=protocol, window=window)
    if errors:
        if per_char:
            raise ConfigError("both --per-char and --errors were given; give one of them")
        scored, costs = with_costs(score)
        result = scored.as_dict() | analyse(file.vocabulary, ids, costs, part(file, model, "train"))
    else:
        result = (_with_csv(per_char, file, ids, score) if per_char else score()).as_dict()
    if left_out:
        result["skipped"] = left_out
    if ngram is not None:
        table = NGram(part(file, model, "train"), len(file.vocabulary), order=ngram)
        result["ngram"] = table.score(ids, file.vocabulary).as_dict()
    if json:
        print_json(result)
    else:
        _show(what, result, per_char)
    return 0


def part(file: ModelFile, model: Path, split: str, *, remedy: str = "name a TEXT") -> Any:
    """Return the ids of a part of the text a model was trained on, from the cache or from the files of its run."""
    from nextchar.config import make_config, read_toml  # noqa: PLC0415  only this needs them
    from nextchar.text.corpus import cached_corpus, open_corpus  # noqa: PLC0415  as above

    key = file.provenance.get("corpus", "")
    corpus = cached_corpus(key)
    if corpus is None:
        toml = model_path(model).parent / CONFIG
        if not toml.exists():
            raise TextError(
                f"the text of {model} is not at hand; {remedy}, or keep the model in its run folder"
            )
        _, texts = read_toml(toml)
        config = make_config(file.config)
        corpus = open_corpus(texts, units=config.units, encoding=config.encoding, suffixes=config.suffix)
        if corpus.key != key:
            raise TextError(
                f"the text in {', '.join(texts)} has changed since {model} was trained on it; {remedy}"
            )
    if corpus.vocabulary != file.vocabulary:
        corpus = corpus.in_vocabulary(file.vocabulary)
    part = corpus.part(split, file.config.get("valid", 0.0), file.config.get("test", 0.0))
    # Not as wide integers: a part of a large text stays where it lies, in the memory map.
    return part.ids if part.lookup is None else part.lookup[part.ids]


def _with_csv(path: Path, file: ModelFile, ids: Any, score: Any) -> Any:
    """Score, and write one line a character as it is scored: position, character, code, nats and bits."""
    scores = []

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as target:
            lines = csv.writer(target)
            lines.writerow(["position", "character", "code", "nats", "bits"])
            positions = iter(range(len(ids)))

            def watch(block: Any) -> None:
                for nats, position in zip(block, positions, strict=False):
                    code = file.vocabulary.codes[ids[position]]
                    shown = chr(code) if file.vocabulary.units == "characters" else f"0x{code:02X}"
                    lines.writerow([position, shown, code, f"{nats:.6f}", f"{nats / math.log(2):.6f}"])

            scores.append(score(watch=watch))

    write_atomically(path, write)
    return scores[0]


def _show(what: str, result: dict[str, Any], per_char: Path | None) -> None:
    console = stderr()
    console.print(f"{what}: {result['chars']:,} characters, {result['bytes']:,} bytes")
    if result.get("skipped"):
        console.print(
            f"left out {result['skipped']:,} characters that the model has never seen: the score is of the rest"
        )
    for row in (result, result.get("ngram")):
        if row:
            print(  # noqa: T201  data on standard output
                f"{row['protocol']:<10}{row['bits_per_char']:.4f} bits/char  {row['bits_per_byte']:.4f} bits/byte  "
                f"{row['nats_per_char']:.4f} nats/char"
            )
    if "errors" in result:
        show(result)
    if per_char:
        console.print(f"every character is in {per_char}")
