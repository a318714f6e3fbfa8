"""Samples of a model beside real text and n-grams: what `nextchar structure` measures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nextchar.errors import ConfigError, TextError
from nextchar.evaluation.ngram import NGram
from nextchar.evaluation.novelty import Training
from nextchar.evaluation.report import part_of_text
from nextchar.model.reading import Ids
from nextchar.parsing.report import COPIED, LOOPS, Structure, get_domain, shown, structure
from nextchar.parsing.sweep import SampleRequest, figure, generate, sweep, sweet_spot
from nextchar.storage import ModelFile, write_text
from nextchar.text.corpus import open_corpus
from nextchar.text.vocabulary import Vocabulary

HELD_OUT = 0.1  # of a text that is not a run's own

OnProgress = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class Reference:
    """Real text to compare samples with.

    Attributes:
        train: Ids of the training text, `(C,)`: copies and known words are looked up here, n-grams counted.
        held_out: Ids of text that the model was not trained on, `(C,)`.
        vocabulary: Of both.
    """

    train: Ids
    held_out: Ids
    vocabulary: Vocabulary

    @classmethod
    def of_texts(cls, texts: Sequence[str], encoding: str = "utf-8") -> "Reference":
        """Split texts: the first 90 % are training text, the rest is held out."""
        corpus = open_corpus(texts, encoding=encoding)
        cut = int(len(corpus) * (1 - HELD_OUT))
        return cls(corpus.ids[:cut], corpus.ids[cut:], corpus.vocabulary)

    @classmethod
    def of_run(cls, model: ModelFile, path: Path) -> "Reference":
        """Return the text of a model's run; `path` is the model file or the run folder.

        Raises:
            TextError: The text is missing or has changed, or no part of it was held out.
        """
        # The validation part selected the model, but it was not trained on.
        held_out = [name for name in ("valid", "test") if model.config.get(name)]
        if not held_out:
            raise TextError(f"{path} has no held-out text to compare with; name one with --against")
        remedy = "name one with --against, or keep the model in its run folder"
        train, *others = (part_of_text(model, path, name, remedy=remedy) for name in ("train", *held_out))
        return cls(train, np.concatenate(others), model.vocabulary)

    def decode(self, ids: Ids) -> str:
        """Return ids as text, with line feeds as the only line ends."""
        return self.vocabulary.decode(ids).replace("\r\n", "\n")

    def training(self) -> Training:
        """Return the training text, ready to be searched."""
        return Training(self.decode(self.train))

    def real(self, request: SampleRequest) -> list[str]:
        """Return samples of the held-out text, as many and as long as requested."""
        return cut_samples(self.decode(self.held_out), request.count, request.length)

    def ngrams(self, order: int, request: SampleRequest, on_progress: OnProgress) -> list[str]:
        """Generate samples with a table of n-grams of the training text."""
        if not request.temperature:
            raise ConfigError("the temperature is 0, but n-grams need more than 0; leave them out with --ngram 0")
        on_progress(f"counting {order}-grams in {len(self.train):,} characters")
        table = NGram(self.train, len(self.vocabulary), order=order)
        ids = table.sample(request.count, request.length, temperature=request.temperature, seed=request.seed)
        return list(map(self.decode, ids))


def cut_samples(text: str, count: int, length: int) -> list[str]:
    """Cut at most `count` samples of a length from a text, evenly spaced and without overlap."""
    number = max(1, min(count, len(text) // length))
    step = len(text) / number
    starts = [int(index * step) for index in range(number)]
    return [text[start : start + length] for start in starts]


def compare(
    source: ModelFile | list[str],
    domain: str,
    reference: Reference | None,
    request: SampleRequest,
    *,
    ngram: int,
    on_progress: OnProgress,
) -> tuple[dict[str, list[str]], dict[str, Structure]]:
    """Report on samples, on real text, and on samples of an n-gram table.

    Args:
        source: A model that generates samples, or samples.
        domain: See `structure`.
        reference: The real text; without it only the samples are reported on.
        request: Which samples to generate; real text is cut to the same count and length.
        ngram: Order of the n-gram table; 0 for none.
        on_progress: Called with a sentence before a step that takes long.

    Returns:
        The texts and the reports, by column: "model" or "samples", "real text", "8-grams".
    """
    training = reference.training() if reference else None
    others: dict[str, list[str]] = {}
    if reference:
        # Before the model generates for minutes: n-grams may be refused.
        ngrams = {f"{ngram}-grams": reference.ngrams(ngram, request, on_progress)} if ngram else {}
        others = {"real text": reference.real(request), **ngrams}
    own = {"model": generate(source, request)[0]} if isinstance(source, ModelFile) else {"samples": source}
    texts = own | others
    reports = {name: structure(each, domain, training=training, seed=request.seed) for name, each in texts.items()}
    return texts, reports


def compare_temperatures(
    model: ModelFile, domain: str, reference: Reference, request: SampleRequest, path: Path, on_progress: OnProgress
) -> tuple[dict[str, Any], dict[str, Structure]]:
    """Report on samples at every temperature, and write a figure of them.

    Args:
        model: Generates the samples.
        domain: See `structure`.
        reference: The real text.
        request: Which samples to generate at each temperature.
        path: The SVG file to write.
        on_progress: Called with a line for each temperature.

    Returns:
        All reports, for JSON; and the report at the temperature most like real text beside that of real text.
    """
    training = reference.training()
    real = structure(reference.real(request), domain, training=training, seed=request.seed)
    points = []
    for point in sweep(model, domain, training, request):
        points.append(point)
        names = real.measures[0].name, COPIED, LOOPS
        line = ", ".join(f"{name} {shown(point.structure[name].value)} %" for name in names)
        on_progress(f"{point.temperature:g}: {line}, {point.bits_per_char:.2f} bits/char")
    best = sweet_spot(points, real)
    write_text(path, figure(points, real, f"{domain}, {request.count} samples of {request.length}"))
    on_progress(f"{path}: most like real text at {best.temperature:g}")
    rows = [point.as_dict() | {"distance": point.distance(real)} for point in points]
    values = {"domain": domain, "sweet_spot": best.temperature, "real": real.as_dict(), "sweep": rows}
    return values, {f"at {best.temperature:g}": best.structure, "real text": real}


def export_pieces(texts: Mapping[str, Sequence[str]], domain: str, folder: Path) -> dict[Path, int]:
    """Write every piece of the samples in each column as files; return the number of pieces by folder."""
    known = get_domain(domain)
    written = {}
    for name, samples in texts.items():
        own = folder / name.replace(" ", "-")
        own.mkdir(parents=True, exist_ok=True)
        pieces = [piece for sample in samples for piece in known.pieces(sample).whole]
        for number, piece in enumerate(pieces):
            for suffix, content in known.export(piece).items():
                (own / f"{number:04}{suffix}").write_bytes(content)
        written[own] = len(pieces)
    return written
