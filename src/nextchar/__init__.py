"""Next-character language models: train on any text, sample, score. This facade lists names and defines nothing.

Names are imported when first used, so that `import nextchar` and `nextchar --help` stay instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nextchar.config import Config
    from nextchar.discovery.claims import Claims, Search
    from nextchar.discovery.trial import discover
    from nextchar.errors import NextcharError
    from nextchar.evaluation.ngram import NGram
    from nextchar.evaluation.score import Score, evaluate
    from nextchar.inspection.report import report
    from nextchar.inspection.strip import Strip, strip
    from nextchar.inspection.trace import Trace, trace
    from nextchar.language_model import LanguageModel
    from nextchar.sampling.sample import Sample, SampleOptions, sample, stream
    from nextchar.storage import ModelFile, load, read_model, save
    from nextchar.text.corpus import Corpus, open_corpus
    from nextchar.text.vocabulary import Vocabulary
    from nextchar.training.trainer import Trainer, train

__version__ = "0.1.0"

_HOMES = {
    "Claims": "nextchar.discovery.claims",
    "Config": "nextchar.config",
    "Corpus": "nextchar.text.corpus",
    "LanguageModel": "nextchar.language_model",
    "ModelFile": "nextchar.storage",
    "NGram": "nextchar.evaluation.ngram",
    "NextcharError": "nextchar.errors",
    "Sample": "nextchar.sampling.sample",
    "SampleOptions": "nextchar.sampling.sample",
    "Score": "nextchar.evaluation.score",
    "Search": "nextchar.discovery.claims",
    "Strip": "nextchar.inspection.strip",
    "Trace": "nextchar.inspection.trace",
    "Trainer": "nextchar.training.trainer",
    "Vocabulary": "nextchar.text.vocabulary",
    "discover": "nextchar.discovery.trial",
    "evaluate": "nextchar.evaluation.score",
    "load": "nextchar.storage",
    "open_corpus": "nextchar.text.corpus",
    "read_model": "nextchar.storage",
    "report": "nextchar.inspection.report",
    "sample": "nextchar.sampling.sample",
    "save": "nextchar.storage",
    "stream": "nextchar.sampling.sample",
    "strip": "nextchar.inspection.strip",
    "trace": "nextchar.inspection.trace",
    "train": "nextchar.training.trainer",
}

__all__ = [
    "Claims",
    "Config",
    "Corpus",
    "LanguageModel",
    "ModelFile",
    "NGram",
    "NextcharError",
    "Sample",
    "SampleOptions",
    "Score",
    "Search",
    "Strip",
    "Trace",
    "Trainer",
    "Vocabulary",
    "discover",
    "evaluate",
    "load",
    "open_corpus",
    "read_model",
    "report",
    "sample",
    "save",
    "stream",
    "strip",
    "trace",
    "train",
]


def __getattr__(name: str) -> object:
    """Import a public name from the room it lives in."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nextchar' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
