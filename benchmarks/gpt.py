"""A stock small GPT, as a baseline only: the shape and recipe that nanoGPT publishes for a CPU, written from its numbers.

Source: the README of nanoGPT and its `config/train_shakespeare_char.py`: 4 layers, 4 heads, 128 wide, windows of 64
characters, 12 of them a step, 2,000 steps, AdamW (0.9, 0.99) with decay 0.1, 100 steps of warm-up to 1e-3, cosine to 1e-4,
the norm of the gradient clipped at 1, no dropout, no biases, the head tied to the embedding, float32.
"""

import math
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

LAYERS, HEADS, WIDTH, BLOCK, BATCH = 4, 4, 128, 64, 12
STEPS, WARMUP, PEAK, LEAST = 2000, 100, 1e-3, 1e-4
MR = 256  # windows scored at a time

Ids = npt.NDArray[Any]


class Block(nn.Module):
    """Attention, then two linear maps, each added to what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(WIDTH, bias=False)
        self.attention = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.attention_out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.before_map = nn.LayerNorm(WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.down = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(N, T, WIDTH)` to the same shape."""
        count, length, _ = x.shape
        parts = self.attention(self.before_attention(x)).view(count, length, 3, HEADS, -1).transpose(1, 3)
        queries, keys, values = parts.unbind(2)
        mixed = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        x = x + self.attention_out(mixed.transpose(1, 2).reshape(count, length, WIDTH))
        mapped: Tensor = self.down(functional.gelu(self.up(self.before_map(x))))
        return x + mapped


class GPT(nn.Module):
    """Predicts after each of at most BLOCK ids the next one."""

    def __init__(self, vocabulary_size: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocabulary_size, WIDTH)
        self.positions = nn.Embedding(BLOCK, WIDTH)
        self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
        self.last = nn.LayerNorm(WIDTH, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                scaled = name.endswith(("attention_out.weight", "down.weight"))
                nn.init.normal_(parameter, std=0.02 / math.sqrt(2 * LAYERS) if scaled else 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits `(N, T, V)` for ids `(N, T)`."""
        x = self.embedding(ids) + self.positions.weight[: ids.shape[1]]
        return functional.linear(self.last(self.blocks(x)), self.embedding.weight)


def rate(step: int, steps: int) -> float:
    """Return the learning rate of a step."""
    if step < WARMUP:
        return PEAK * (step + 1) / (WARMUP + 1)
    return LEAST + 0.5 * (PEAK - LEAST) * (1 + math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP)))


def train(
    ids: Ids, vocabulary_size: int, *, seconds: float | None, seed: int
) -> Iterator[tuple[GPT, int, int]]:
    """Train, and yield the network, the step and how many there will be, after every step.

    Args:
        ids: The training part, `(C,)`.
        vocabulary_size: V.
        seconds: The budget, which sets the number of steps once 100 of them have been timed; None for STEPS.
        seed: Of weights and windows.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = GPT(vocabulary_size)
    matrices = [parameter for parameter in network.parameters() if parameter.ndim == 2]
    others = [parameter for parameter in network.parameters() if parameter.ndim != 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.99))
    steps, step, begun = STEPS, 0, time.perf_counter()
    while step < steps:
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        starts = random.integers(len(ids) - BLOCK, size=BATCH)
        windows = torch.from_numpy(np.stack([ids[at : at + BLOCK + 1] for at in starts]).astype(np.int64))
        logits = network(windows[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        step += 1
        if seconds is not None and step == WARMUP:
            steps = max(step, round(seconds * step / (time.perf_counter() - begun)))
        yield network, step, steps


def nats(network: GPT, ids: Ids, stride: int = BLOCK) -> float:
    """Return the mean cost of the ids `(C,)` but the first, each predicted once.

    Windows of BLOCK begin every `stride` characters, and of each but the first the last `stride` predictions count. With
    BLOCK every window starts from nothing, as nanoGPT scores; with less, the context slides, and every character but
    the first few has at least BLOCK - stride characters before it: the nearest to a carried state there is.
    """
    if len(ids) <= BLOCK:
        raise ValueError(f"the text has {len(ids)} characters, but must have more than {BLOCK}")
    ends = np.append(np.arange(BLOCK, len(ids) - 1, stride), len(ids) - 1)
    fresh = np.diff(ends, prepend=0)
    total = 0.0
    with torch.no_grad():
        for first in range(0, len(ends), MR):
            rows = np.stack([ids[end - BLOCK : end + 1] for end in ends[first : first + MR]])
            windows = torch.from_numpy(rows.astype(np.int64))
            logits = network(windows[:, :-1]).transpose(1, 2)
            costs = functional.cross_entropy(logits, windows[:, 1:], reduction="none").double().numpy()
            last = fresh[first : first + MR, None]
            total += costs[np.arange(BLOCK) >= BLOCK - last].sum()
    return total / (len(ids) - 1)
