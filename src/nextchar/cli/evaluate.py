"""`nextchar evaluate`: a model and a text in, a score out."""

import csv
import math
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from nextchar.cli.console import print_json, stderr
from nextchar.cli.errors import analyse, show, with_costs
from nextchar.cli.flags import Flag, must_be_writable
from nextchar.errors import ConfigError, TextError
from nextchar.storage import CONFIG, ModelFile, model_path, read_model, write_atomically
from nextchar.text.vocabulary import common_vocabulary


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
    dynamic: Flag = False,
    others: Annotated[tuple[Path, ...], Parameter(name="--with")] = (),
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
        nextchar evaluate runs/shakespeare --with runs/another --dynamic

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
    dynamic
        Also score while learning: from every few characters, once they are scored.
    others
        Score the mean of MODEL's probabilities and of this model's, of the same vocabulary. May be repeated.
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

    _check(
        {"a text and --split": bool(texts and split), "--per-char and --errors": bool(per_char and errors)},
        dynamic,
        protocol,
    )
    if per_char:
        must_be_writable(per_char)
    files = [read_model(path) for path in (model, *others)]
    vocabulary = common_vocabulary([file.vocabulary for file in files])
    left_out = 0
    if texts:
        ids, left_out = read_ids(texts, vocabulary, encoding=encoding, unknown=unknown)
        what = ", ".join(texts)
    else:
        split = split or ("test" if files[0].config.get("test") else "valid")
        _must_share_parts(files, (model, *others), split)
        ids = part(files[0], model, split)
        what = f"the {split} part"
    learnt: Any = part(files[0], model, "train") if errors or ngram is not None else None
    # Counted first, so that what cannot be counted is told before the scoring.
    table = NGram(learnt, len(vocabulary), order=ngram) if ngram is not None else None
    networks = [to_language_model(file, pick_device(device)).network for file in files]
    if dynamic:
        stderr().print("choosing how to learn, and learning: this takes minutes", style="dim")
        score: Any = partial(_dynamic, networks, ids, files[0], model, split)
    else:
        score = partial(score_ids, networks, ids, vocabulary, protocol=protocol, window=window)
    if errors:
        scored, costs = with_costs(score)
        result = scored.as_dict() | analyse(vocabulary, ids, costs, learnt)
    else:
        result = (_with_csv(per_char, files[0], ids, score) if per_char else score()).as_dict()
    if left_out:
        result["skipped"] = left_out
    if table is not None:
        result["ngram"] = table.score(ids, vocabulary).as_dict()
    if json:
        print_json(result)
    else:
        _show(what, result, per_char)
    return 0


def _check(both: dict[str, bool], dynamic: bool, protocol: str) -> None:
    """Refuse what cannot be asked for together."""
    for names, given in both.items():
        if given:
            raise ConfigError(f"both {names} were given; give one of them")
    if dynamic and protocol != "stream":
        raise ConfigError(f"--dynamic reads the text in order, not in {protocol}; leave out --protocol")


def _dynamic(
    networks: Any, ids: Any, file: ModelFile, model: Path, split: str | None, on_block: Any = None
) -> Any:
    """Score while learning; the settings are chosen on the validation part for the test part, else on the first half."""
    from nextchar.evaluation.dynamic import score_dynamic  # noqa: PLC0415  torch takes long to import

    training = part(
        file, model, "train", remedy="--dynamic needs it, to know how large gradients usually are"
    )
    tune_on = part(file, model, "valid") if split == "test" and file.config.get("valid") else None
    result = score_dynamic(networks, ids, file.vocabulary, training, tune_on=tune_on)
    if on_block:
        on_block(result.nats)
    return result


def _must_share_parts(files: list[ModelFile], models: tuple[Path, ...], split: str) -> None:
    """Refuse to score a part that one of the models may have learnt from."""
    cuts = [
        (file.provenance.get("corpus", ""), *(file.config.get(name, 0.0) for name in ("valid", "test")))
        for file in files
    ]
    for cut, model in zip(cuts, models, strict=True):
        if cut != cuts[0]:
            raise ConfigError(
                f"{model} comes from another text than {models[0]}, or from one cut elsewhere, and may have learnt from "
                f"the {split} part; name a TEXT"
            )


def part(
    file: ModelFile,
    model: Path,
    split: str,
    *,
    remedy: str = "name a TEXT, or keep the model in its run folder",
) -> Any:
    """Return the ids of a part of the text a model was trained on, from the cache or from the files of its run."""
    from nextchar.config import make_config, read_toml  # noqa: PLC0415  only this needs them
    from nextchar.text.corpus import cached_corpus, open_corpus  # noqa: PLC0415  as above

    key = file.provenance.get("corpus", "")
    corpus = cached_corpus(key)
    if corpus is None:
        toml = model_path(model).parent / CONFIG
        if not toml.exists():
            raise TextError(f"the text that {model} was trained on is not at hand; {remedy}")
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

            scores.append(score(on_block=watch))

    write_atomically(path, write)
    return scores[0]


def _show(what: str, result: dict[str, Any], per_char: Path | None) -> None:
    console = stderr()
    console.print(f"{what}: {result['chars']:,} characters, {result['bytes']:,} bytes")
    if result.get("skipped"):
        console.print(
            f"left out {result['skipped']:,} characters that the model has never seen: the score is of the rest"
        )
    settings = result.get("adaptation", [])
    for how in settings if isinstance(settings, list) else [settings]:
        console.print(
            f"learning rate {how['learning_rate']:g}, decay {how['decay']:g}, epsilon {how['epsilon']:g}, "
            f"segments of {how['segment']}"
        )
    for label, row in _rows(result):
        print(  # noqa: T201  data on standard output
            f"{label:<10}{row['bits_per_char']:.4f} bits/char  {row['bits_per_byte']:.4f} bits/byte  "
            f"{row['nats_per_char']:.4f} nats/char"
        )
    if "errors" in result:
        show(result)
    if per_char:
        console.print(f"every character is in {per_char}")


def _rows(result: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return what there is to show, each with its label."""
    rows = [result, *(result[name] for name in ("static", "ngram") if name in result)]
    labelled = [(row["protocol"], row) for row in rows]
    # What the settings were chosen on is no measure of them.
    labelled += [(f"{row['protocol']}, second half", row) for row in (result.get("held_out") or {}).values()]
    width = max(len(label) for label, _ in labelled)
    return [(label.ljust(width + 2), row) for label, row in labelled]
