"""Everything that `nextchar evaluate` computes: the score of texts or of a part of the training text, and what is beside it."""

import csv
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nextchar.config import make_config, read_toml
from nextchar.device import pick_device
from nextchar.errors import ConfigError, TextError
from nextchar.evaluation.dynamic import score_dynamic
from nextchar.evaluation.errors import analyse_errors
from nextchar.evaluation.ngram import NGram
from nextchar.evaluation.options import EvaluationOptions
from nextchar.evaluation.score import nats_of, sum_up
from nextchar.model.reading import Doubles, Ids
from nextchar.storage import CONFIG, ModelFile, members, model_path, read_model, to_language_model, write_atomically
from nextchar.text.corpus import Split, cached_corpus, open_corpus, read_ids
from nextchar.text.vocabulary import Vocabulary, common_vocabulary


def evaluate_files(
    models: Sequence[Path],
    texts: Sequence[str],
    options: EvaluationOptions,
    on_message: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Score texts, or a part of the text that the first model was trained on.

    Args:
        models: Run folders or model files; the probabilities of several, or of an ensemble's members, are averaged.
        texts: Files, folders, globs, "-" or names of corpora; none for a part of the training text.
        options: What to score, and how.
        on_message: Called with a sentence about what takes minutes.

    Returns:
        For JSON: the score by name, "text" (what was scored), and "skipped", "ngram", "static", "held_out", "adaptation",
        "errors" and "closing" where they are asked for.
    """
    if texts and options.split:
        raise ConfigError("both a text and --split were given; give one of them")
    models = [Path(str(model)) for model in members(models)]
    files = [read_model(path) for path in models]
    vocabulary = common_vocabulary([file.vocabulary for file in files])
    split, skipped = options.split or ("test" if files[0].config.get("test") else "valid"), 0
    if texts:
        ids, skipped = read_ids(texts, vocabulary, encoding=options.encoding, unknown=options.unknown)
        named = ", ".join(texts)
    else:
        _must_share_parts(files, models, split)
        ids, named = part_of_text(files[0], models[0], split), f"the {split} part"
    counted = options.errors or options.ngram is not None
    remedy = "--ngram and --errors need it; keep the model in its run folder"
    training = part_of_text(files[0], models[0], "train", remedy=remedy) if counted else np.zeros(0, np.int64)
    # Counted before the text is scored, so that an invalid order is found early.
    table = NGram(training, len(vocabulary), order=options.ngram) if options.ngram is not None else None
    networks = [to_language_model(file, pick_device(options.device)).network for file in files]
    result: dict[str, Any] = {"text": named}
    blocks: Iterable[Doubles]
    if options.dynamic:
        if on_message:
            on_message("choosing the settings of dynamic evaluation, and learning: this takes minutes")
        tune = split == "test" and not texts and files[0].config.get("valid")
        remedy = "--dynamic needs it to measure gradients"
        learned = part_of_text(files[0], models[0], "train", remedy=remedy)
        tune_on = part_of_text(files[0], models[0], "valid") if tune else None
        dynamic = score_dynamic(networks, ids, vocabulary, learned, tune_on=tune_on)
        blocks = [dynamic.nats]
        result |= dynamic.as_dict()
    else:
        blocks = nats_of(networks, ids, vocabulary.start, protocol=options.protocol, window=options.window)
        if options.per_char or options.errors:
            blocks = list(blocks)
        result |= sum_up(options.protocol, blocks, ids, vocabulary).as_dict()
    if options.per_char:
        _write_csv(options.per_char, vocabulary, ids, np.concatenate([*blocks]))
    if options.errors:
        result |= analyse_errors(vocabulary, ids, np.concatenate([*blocks]), training)
    if skipped:
        result["skipped"] = skipped
    if table is not None:
        result["ngram"] = table.score(ids, vocabulary).as_dict()
    return result


def _must_share_parts(files: Sequence[ModelFile], paths: Sequence[Path], split: Split) -> None:
    """Refuse to score a part that one of the models may have been trained on."""
    cuts = [
        (file.provenance.get("corpus", ""), *(file.config.get(name, 0.0) for name in ("valid", "test")))
        for file in files
    ]
    for cut, path in zip(cuts, paths, strict=True):
        if cut != cuts[0]:
            raise ConfigError(
                f"{path} was trained on another text than {paths[0]}, or on other parts of it, which may include "
                f"the {split} part; name a TEXT"
            )


def part_of_text(
    file: ModelFile, path: Path, split: str, *, remedy: str = "name a TEXT, or keep the model in its run folder"
) -> Ids:
    """Return the ids of a part of the text a model was trained on, from the cache or from the files of its run.

    Args:
        file: The model.
        path: Its file or run folder.
        split: Which part.
        remedy: The end of the error message.

    Raises:
        TextError: The text is missing, or has changed since the training.
    """
    key = file.provenance.get("corpus", "")
    corpus = cached_corpus(key)
    if corpus is None:
        toml = model_path(path).parent / CONFIG
        if not toml.exists():
            raise TextError(f"the text that {path} was trained on is missing; {remedy}")
        _, texts = read_toml(toml)
        config = make_config(file.config)
        corpus = open_corpus(texts, units=config.units, encoding=config.encoding, suffixes=config.suffix)
        if corpus.key != key:
            raise TextError(f"the text in {', '.join(texts)} has changed since {path} was trained on it; {remedy}")
    if corpus.vocabulary != file.vocabulary:
        corpus = corpus.in_vocabulary(file.vocabulary)
    part = corpus.part(split, file.config.get("valid", 0.0), file.config.get("test", 0.0))
    # In the type of the corpus: a part of a large text stays in its memory map.
    return part.ids if part.lookup is None else part.lookup[part.ids]


def _write_csv(path: Path, vocabulary: Vocabulary, ids: Ids, nats: Doubles) -> None:
    """Write a line for every character: position, character, code, nats and bits."""

    def write(temporary: Path) -> None:
        with temporary.open("w", encoding="utf-8", newline="") as target:
            lines = csv.writer(target)
            lines.writerow(["position", "character", "code", "nats", "bits"])
            for position, (index, loss) in enumerate(zip(ids, nats, strict=True)):
                code = vocabulary.codes[index]
                shown = chr(code) if vocabulary.units == "characters" else f"0x{code:02X}"
                lines.writerow([position, shown, code, f"{loss:.6f}", f"{loss / math.log(2):.6f}"])

    write_atomically(path, write)
