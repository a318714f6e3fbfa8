"""Next-character language models: train on any text, sample, score. This facade lists names and defines nothing.

Names are imported when first used, so that `import nextchar` and `nextchar --help` stay instant.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nextchar.config import Config
    from nextchar.discovery.claims import Claims, Search
    from nextchar.discovery.pipeline import discover
    from nextchar.errors import NextcharError
    from nextchar.evaluation.dynamic import Adaptation, DynamicScore, evaluate_dynamic
    from nextchar.evaluation.ngram import NGram
    from nextchar.evaluation.score import Score, evaluate
    from nextchar.inspection.gates import GateRow, gates
    from nextchar.inspection.reach import Reach, reach
    from nextchar.inspection.report import report
    from nextchar.inspection.strip import Strip, strip
    from nextchar.inspection.trace import Trace, trace
    from nextchar.language_model import LanguageModel
    from nextchar.parsing.report import Structure, structure
    from nextchar.sampling.sample import Sample, SampleOptions, sample, stream
    from nextchar.storage import ModelFile, load, read_model, save
    from nextchar.text.corpus import Corpus, open_corpus
    from nextchar.text.vocabulary import Vocabulary
    from nextchar.training.trainer import Trainer, train

__version__ = "0.1.0"

_HOMES = {
    "Adaptation": "nextchar.evaluation.dynamic",
    "Claims": "nextchar.discovery.claims",
    "Config": "nextchar.config",
    "Corpus": "nextchar.text.corpus",
    "DynamicScore": "nextchar.evaluation.dynamic",
    "GateRow": "nextchar.inspection.gates",
    "LanguageModel": "nextchar.language_model",
    "ModelFile": "nextchar.storage",
    "NGram": "nextchar.evaluation.ngram",
    "NextcharError": "nextchar.errors",
    "Reach": "nextchar.inspection.reach",
    "Sample": "nextchar.sampling.sample",
    "SampleOptions": "nextchar.sampling.sample",
    "Score": "nextchar.evaluation.score",
    "Search": "nextchar.discovery.claims",
    "Strip": "nextchar.inspection.strip",
    "Structure": "nextchar.parsing.report",
    "Trace": "nextchar.inspection.trace",
    "Trainer": "nextchar.training.trainer",
    "Vocabulary": "nextchar.text.vocabulary",
    "discover": "nextchar.discovery.pipeline",
    "evaluate": "nextchar.evaluation.score",
    "evaluate_dynamic": "nextchar.evaluation.dynamic",
    "gates": "nextchar.inspection.gates",
    "load": "nextchar.storage",
    "open_corpus": "nextchar.text.corpus",
    "reach": "nextchar.inspection.reach",
    "read_model": "nextchar.storage",
    "report": "nextchar.inspection.report",
    "sample": "nextchar.sampling.sample",
    "save": "nextchar.storage",
    "stream": "nextchar.sampling.sample",
    "strip": "nextchar.inspection.strip",
    "structure": "nextchar.parsing.report",
    "trace": "nextchar.inspection.trace",
    "train": "nextchar.training.trainer",
}

__all__ = [
    "Adaptation",
    "Claims",
    "Config",
    "Corpus",
    "DynamicScore",
    "GateRow",
    "LanguageModel",
    "ModelFile",
    "NGram",
    "NextcharError",
    "Reach",
    "Sample",
    "SampleOptions",
    "Score",
    "Search",
    "Strip",
    "Structure",
    "Trace",
    "Trainer",
    "Vocabulary",
    "discover",
    "evaluate",
    "evaluate_dynamic",
    "gates",
    "load",
    "open_corpus",
    "reach",
    "read_model",
    "report",
    "sample",
    "save",
    "stream",
    "strip",
    "structure",
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
