"""Character-level language models: train on any text, sample, score and inspect.

This file lists the public names and defines nothing. A name is imported when it is first used, so that
`import nextchar` and `nextchar --help` are fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nextchar.config import Config
    from nextchar.discovery.claims import Claims
    from nextchar.discovery.pipeline import discover
    from nextchar.discovery.study import Search
    from nextchar.errors import NextcharError
    from nextchar.evaluation.dynamic import Adaptation, DynamicScore, evaluate_dynamic
    from nextchar.evaluation.ngram import NGram
    from nextchar.evaluation.score import Score, evaluate
    from nextchar.exporting.export import export
    from nextchar.exporting.hub import Upload, push
    from nextchar.exporting.importing import import_weights
    from nextchar.inspection.gates import GateRow, gates
    from nextchar.inspection.reach import Reach, reach
    from nextchar.inspection.report import inspect
    from nextchar.inspection.strip import Strip, strip
    from nextchar.inspection.trace import Trace, trace
    from nextchar.language_model import LanguageModel
    from nextchar.pages.page import Page
    from nextchar.parsing.report import Structure, structure
    from nextchar.sampling.engine import Engine
    from nextchar.sampling.generation import Sample
    from nextchar.sampling.options import SampleOptions, SamplingParams
    from nextchar.sampling.sample import sample, stream
    from nextchar.storage import ModelFile, load, read_model, save
    from nextchar.text.corpus import Corpus, open_corpus
    from nextchar.text.vocabulary import Vocabulary
    from nextchar.training.run import Run, train
    from nextchar.training.trainer import Trainer

__version__ = "0.1.0"

__all__ = ["Adaptation", "Claims", "Config", "Corpus", "DynamicScore", "Engine", "GateRow"]
__all__ += ["LanguageModel", "ModelFile", "NGram", "NextcharError", "Page", "Reach", "Run", "Sample"]
__all__ += ["SampleOptions", "SamplingParams", "Score", "Search", "Strip", "Structure", "Trace", "Trainer"]
__all__ += ["Upload"]
__all__ += [
    "Vocabulary",
    "discover",
    "evaluate",
    "evaluate_dynamic",
    "export",
    "gates",
    "import_weights",
    "inspect",
    "load",
    "open_corpus",
]
__all__ += ["push", "reach", "read_model", "sample", "save", "stream", "strip", "structure", "trace"]
__all__ += ["train"]

_NAMES = {
    "config": "Config",
    "discovery.claims": "Claims",
    "discovery.pipeline": "discover",
    "discovery.study": "Search",
    "errors": "NextcharError",
    "evaluation.dynamic": "Adaptation DynamicScore evaluate_dynamic",
    "evaluation.ngram": "NGram",
    "evaluation.score": "Score evaluate",
    "exporting.export": "export",
    "exporting.hub": "Upload push",
    "exporting.importing": "import_weights",
    "inspection.gates": "GateRow gates",
    "inspection.reach": "Reach reach",
    "inspection.report": "inspect",
    "inspection.strip": "Strip strip",
    "inspection.trace": "Trace trace",
    "language_model": "LanguageModel",
    "pages.page": "Page",
    "parsing.report": "Structure structure",
    "sampling.engine": "Engine",
    "sampling.generation": "Sample",
    "sampling.options": "SampleOptions SamplingParams",
    "sampling.sample": "sample stream",
    "storage": "ModelFile load read_model save",
    "text.corpus": "Corpus open_corpus",
    "text.vocabulary": "Vocabulary",
    "training.run": "Run train",
    "training.trainer": "Trainer",
}
_HOMES = {name: f"nextchar.{module}" for module, names in _NAMES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    """Import a public name from the module that defines it."""
    if name not in _HOMES:
        raise AttributeError(f"module 'nextchar' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    """List the public names."""
    return [*__all__, "__version__"]
