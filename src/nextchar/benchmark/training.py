"""Training speed: ours, and torch's own LSTM trained the way everybody does."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from nextchar.benchmark.ceilings import Product, product_seconds, seconds_in_turns
from nextchar.config import Config
from nextchar.model.network import Network, initialize
from nextchar.text.batches import Batch
from nextchar.training.learner import Learner

VOCABULARY = 65


@dataclass(frozen=True, slots=True)
class Shape:
    """What is trained: L layers of H units, on B sequences of T characters."""

    layers: int
    hidden: int
    batch_size: int
    seq_length: int

    @property
    def name(self) -> str:
        """As in 2x512."""
        return f"{self.layers}x{self.hidden}"

    @property
    def characters(self) -> int:
        """Characters of a step."""
        return self.batch_size * self.seq_length

    def products(self) -> list[Product]:
        """Return the products of one training step, the first layer's input read from a table."""
        rows, h, gates = self.characters, self.hidden, 4 * self.hidden
        upper = self.layers - 1
        return [
            Product(self.batch_size, h, gates, self.layers * self.seq_length),  # recurrent, forward
            Product(self.batch_size, gates, h, self.layers * self.seq_length),  # recurrent, backward
            Product(gates, rows, h, self.layers),  # gradient of the recurrent weights
            Product(rows, h, gates, upper),  # input, forward
            Product(rows, gates, h, upper),  # input, backward
            Product(gates, rows, h, upper),  # gradient of the input weights
            Product(rows, h, VOCABULARY, 3),  # head, there and back
        ]


def ours(shape: Shape, precision: str) -> Callable[[], object]:
    """Return our whole step: forward, backward, clip, update; no dropout."""
    config = Config(
        layers=shape.layers,
        hidden=shape.hidden,
        batch_size=shape.batch_size,
        seq_length=shape.seq_length,
        dropout=0.0,
        learning_rate=1e-3,
        weight_decay=0.01,
    )
    network = Network(config.architecture(), VOCABULARY)
    initialize(network, torch.Generator().manual_seed(0))
    learner = Learner(network, config, torch.device("cpu"), precision)
    ids = np.random.default_rng(0).integers(0, VOCABULARY, (shape.seq_length, shape.batch_size))
    batch = Batch(ids, ids, np.zeros(shape.batch_size, np.bool_), 0)
    return lambda: learner.step(batch, 1e-3, 0)


class _Stock(nn.Module):
    """What one would write: an embedding as wide as the hidden layers, `nn.LSTM`, and a linear head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, shape.hidden)
        self.lstm = nn.LSTM(shape.hidden, shape.hidden, shape.layers)
        self.head = nn.Linear(shape.hidden, VOCABULARY)


def stock(shape: Shape, precision: str) -> Callable[[], object]:
    """Return the same step with `nn.LSTM` and fused Adam."""
    torch.manual_seed(0)
    model = _Stock(shape)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    ids = torch.randint(0, VOCABULARY, (shape.seq_length, shape.batch_size))
    state = (torch.zeros(shape.layers, shape.batch_size, shape.hidden),) * 2

    def step() -> None:
        nonlocal state
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            outputs, after = model.lstm(model.embedding(ids), state)
            logits = model.head(outputs)
        state = (after[0].detach().float(), after[1].detach().float())
        loss = functional.cross_entropy(logits.float().flatten(0, 1), ids.flatten())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()

    return step


def measure(shape: Shape, precision: str, seconds: float) -> dict[str, float]:
    """Measure one shape; return characters per second, and what they are of the ceiling and of stock."""
    products = shape.products()
    ceiling = shape.characters / product_seconds(products, precision, seconds / 5)
    steps = {"ours": ours(shape, precision), "fp32": stock(shape, "fp32")}
    if precision == "bf16":
        steps["bf16"] = stock(shape, "bf16")
    times = seconds_in_turns(steps, seconds)
    speed, fp32 = shape.characters / times["ours"], shape.characters / times["fp32"]
    bf16 = shape.characters / times["bf16"] if "bf16" in times else 0.0
    flop = sum(product.flop for product in products) / shape.characters
    return {
        "chars_per_second": speed,
        "gflops": speed * flop / 1e9,
        "ceiling_chars_per_second": ceiling,
        "ceiling_share": speed / ceiling,
        "stock_fp32": fp32,
        "stock_bf16": bf16,
        "times_stock_fp32": speed / fp32,
        "times_stock_bf16": speed / bf16 if bf16 else 0.0,
    }
