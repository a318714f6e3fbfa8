"""Fixtures of all tests: a small real text, small models, fake networks, a command line, and a clean environment."""

import argparse
import inspect
import os
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, settings
from torch import Tensor

from browser import Page, browser
from nextchar.architecture import Architecture
from nextchar.cli.main import main
from nextchar.kernels import compile_cache
from nextchar.language_model import LanguageModel
from nextchar.model.network import Network, initialize
from nextchar.model.state import State
from nextchar.storage import ModelFile, to_file
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Vocabulary

settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
settings.load_profile("house")
torch.set_num_threads(1)
# A suite that a shell starts in the background ignores Ctrl-C, and so would the programs that it tests.
signal.signal(signal.SIGINT, signal.default_int_handler)
# Every test has a cache folder of its own, but compiled code is shared by all of them and by their subprocesses.
os.environ.setdefault("NUMBA_CACHE_DIR", str(compile_cache.bases()[0].parent))


@pytest.fixture(scope="session")
def caches(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return an iterator over new folders; asking pytest for each of thousands would take much longer."""
    folder = tmp_path_factory.mktemp("caches")
    return (folder / str(number) for number in count())


@pytest.fixture(autouse=True)
def clean_environment(caches: Iterator[Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give every test a cache of its own and no corpora."""
    cache = next(caches)
    cache.mkdir()
    monkeypatch.setenv("NEXTCHAR_CACHE", str(cache))
    monkeypatch.delenv("NEXTCHAR_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    return cache


@pytest.fixture(scope="session")
def text() -> str:
    """Return 20,000 characters of real text that every Python has."""
    return inspect.getsource(argparse)[:20_000]


@pytest.fixture(scope="session")
def corpus(text: str) -> Corpus:
    """Return that text as a corpus in memory."""
    return Corpus.from_text(text)


@pytest.fixture
def text_file(tmp_path: Path, text: str) -> Path:
    """Return a file with that text."""
    path = tmp_path / "small.txt"
    path.write_text(text, encoding="utf-8", newline="")
    return path


def make_model(vocabulary: Vocabulary, seed: int = 0, **shape: object) -> LanguageModel:
    """Return a model with random weights that are large enough for clear predictions; a 2x8 lstm but for what `shape` changes."""
    architecture = Architecture(**{"hidden": 8, "embedding": 4, **shape})  # type: ignore[arg-type]
    network = Network(architecture, len(vocabulary))
    generator = torch.Generator().manual_seed(seed)
    initialize(network, generator)
    with torch.no_grad():
        network.head.weight.normal_(generator=generator)
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return LanguageModel(network, vocabulary, {"valid": 0.05, "test": 0.05}, {"step": 0})


@pytest.fixture
def shell(capsysbinary: pytest.CaptureFixture[bytes]) -> Callable[..., SimpleNamespace]:
    """Return a function that runs a command line in this process and returns its code, out and err."""

    def call(*words: object) -> SimpleNamespace:
        capsysbinary.readouterr()
        code = main([str(word) for word in words])
        captured = capsysbinary.readouterr()
        return SimpleNamespace(code=code, out=captured.out.decode(), err=captured.err.decode())

    return call


@pytest.fixture
def lm(corpus: Corpus) -> LanguageModel:
    """Return a small language model over the small text's characters."""
    return make_model(corpus.vocabulary)


@pytest.fixture
def model_file(lm: LanguageModel) -> ModelFile:
    """Return that model in the form of a file."""
    return to_file(lm)


class UniformNetwork:
    """A fake: every character is equally likely, whatever came before."""

    def __init__(self, vocabulary_size: int) -> None:
        self.vocabulary_size = vocabulary_size

    def __call__(self, ids: Tensor, state: State, /) -> tuple[Tensor, State]:
        """Return logits of zero."""
        return torch.zeros(*ids.shape, self.vocabulary_size), state

    def empty_state(self, batch_size: int, /) -> State:
        """Return a state of one number."""
        return ((torch.zeros(batch_size, 1),),)


class CountingNetwork:
    """A fake that never forgets: its state is the number of characters read, its prediction depends on nothing else."""

    def __init__(self, vocabulary_size: int) -> None:
        self.vocabulary_size = vocabulary_size

    def __call__(self, ids: Tensor, state: State, /) -> tuple[Tensor, State]:
        """Prefer the character whose id is the count modulo V, by 3 nats."""
        ((count,),) = state
        counts = count[:, 0] + torch.arange(1, len(ids) + 1)[:, None]
        favourite = torch.remainder(counts, self.vocabulary_size).long()
        logits = 3.0 * torch.nn.functional.one_hot(favourite, self.vocabulary_size).float()
        return logits, ((counts[-1][:, None],),)

    def empty_state(self, batch_size: int, /) -> State:
        """Return a count of zero."""
        return ((torch.zeros(batch_size, 1),),)


@pytest.fixture
def random() -> np.random.Generator:
    """Return a generator of random numbers."""
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """Return a browser for all the pages of this file."""
    with browser(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture
def page(chromium: Page) -> Iterator[Page]:
    """Return a browser with a clean record, which must stay clean: no complaint, and nothing asked of another place.

    A page that is a file asks for nothing but files, and one of a server for nothing but what that server has.
    """
    chromium.requests.clear()
    chromium.complaints.clear()
    yield chromium
    assert chromium.complaints == []
    asked = [address.split("/")[2] for address in chromium.requests if not address.startswith("data:")]
    assert len({*asked}) <= 1, asked
