"""What is timed: a training step, and generation with one stream and with many, of networks with random weights."""

from collections.abc import Callable
from typing import NamedTuple

import torch

from nextchar.architecture import Architecture
from nextchar.config import Config
from nextchar.errors import ConfigError
from nextchar.kernels.threads import available_cores, parallel_for
from nextchar.model.network import Network, initialize
from nextchar.sampling.compiled import CompiledBatch, CompiledNetwork
from nextchar.sampling.options import SamplingParams
from nextchar.storage import ModelFile
from nextchar.text.vocabulary import Vocabulary
from nextchar.training.autosize import plan
from nextchar.training.probe import seconds_each, training_step

VOCABULARY_SIZE = 65
STREAMS = 64


class Size(NamedTuple):
    """The size of a network: L layers of H units."""

    layers: int
    hidden: int

    @classmethod
    def parse(cls, text: str) -> "Size":
        """Return the size that a text such as 2x512 names.

        Raises:
            ConfigError: It is not a size.
        """
        layers, _, hidden = text.partition("x")
        if not (layers.isdecimal() and hidden.isdecimal() and int(layers) and int(hidden)):
            raise ConfigError(f"the size is '{text}', but must be layers x units, such as 2x512")
        return cls(int(layers), int(hidden))

    def batch_shape(self) -> tuple[int, int]:
        """Return T and B of a training step: 50 and 50 up to 128 units, as in char-rnn, else 128 and 64."""
        return (50, 50) if self.hidden <= 128 else (128, 64)

    def model(self) -> ModelFile:
        """Return a network with random weights."""
        network = Network(Architecture(layers=self.layers, hidden=self.hidden), VOCABULARY_SIZE)
        initialize(network, torch.Generator().manual_seed(0))
        arrays = {name: p.detach().numpy() for name, p in network.named_parameters()}
        vocabulary = Vocabulary("characters", tuple(range(32, 32 + VOCABULARY_SIZE)))
        return ModelFile(network.architecture, vocabulary, arrays)


def training_step_of(size: Size, precision: str) -> Callable[[], object]:
    """Return a function that does one training step: forward, backward, clipping, update; no dropout."""
    length, count = size.batch_shape()
    config = Config(steps=1, layers=size.layers, hidden=size.hidden, batch_size=count, seq_length=length)
    recipe = plan(config.replace(dropout=0.0, recurrent_dropout=0.0), length * count, VOCABULARY_SIZE)
    return training_step(recipe, VOCABULARY_SIZE, torch.device("cpu"), precision)


def one_stream(engine: CompiledNetwork, seconds: float) -> float:
    """Return characters per second of one stream, sampling included, on as many cores as the engine uses."""
    batch = CompiledBatch([engine], 1)
    batch.add((engine.start,), SamplingParams(), 0)
    length = 64
    for _ in range(6):  # the engine tries which number of threads is fastest
        batch.generate(length)
    return length / seconds_each(lambda: batch.generate(length), seconds)


def many_streams(engine: CompiledNetwork, seconds: float, streams: int = STREAMS) -> float:
    """Return characters per second of many streams together, on all cores."""
    each = -(-streams // available_cores())
    batches = []
    for _ in range(available_cores()):
        batch = CompiledBatch([engine], each, threads=1)
        for key in range(each):
            batch.add((engine.start,), SamplingParams(), key)
        batches.append(batch)

    def generate(first: int, _: int) -> None:
        batches[first].generate(16)

    return 16 * each * len(batches) / seconds_each(lambda: parallel_for(generate, len(batches), 1), seconds)
