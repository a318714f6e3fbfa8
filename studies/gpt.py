"""A small GPT as a baseline, with the shape and the recipe that nanoGPT publishes for a CPU.

Source: the README of nanoGPT and its `config/train_shakespeare_char.py`: 4 layers, 4 heads, width 128, context 64, batches
of 12, 2,000 steps, AdamW (0.9, 0.99) with weight decay 0.1, 100 steps of warm-up to 1e-3, cosine to 1e-4, gradient norm
clipped at 1, no dropout, no biases, the head tied to the embedding, float32.
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
ROWS = 256  # windows scored at a time

Ids = npt.NDArray[Any]


class Block(nn.Module):
    """Attention, then an MLP, each with a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.before_attention = nn.LayerNorm(WIDTH, bias=False)
        self.attention = nn.Linear(WIDTH, 3 * WIDTH, bias=False)
        self.attention_out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.before_mlp = nn.LayerNorm(WIDTH, bias=False)
        self.up = nn.Linear(WIDTH, 4 * WIDTH, bias=False)
        self.down = nn.Linear(4 * WIDTH, WIDTH, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(B, T, WIDTH)` to the same shape."""
        count, length, _ = x.shape
        parts = self.attention(self.before_attention(x)).view(count, length, 3, HEADS, -1).transpose(1, 3)
        queries, keys, values = parts.unbind(2)
        attended = functional.scaled_dot_product_attention(queries, keys, values, is_causal=True)
        x = x + self.attention_out(attended.transpose(1, 2).reshape(count, length, WIDTH))
        mlp: Tensor = self.down(functional.gelu(self.up(self.before_mlp(x))))
        return x + mlp


class GPT(nn.Module):
    """Predicts the next id after each of at most BLOCK ids."""

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
        """Return logits `(B, T, V)` for ids `(B, T)`."""
        x = self.embedding(ids) + self.positions.weight[: ids.shape[1]]
        return functional.linear(self.last(self.blocks(x)), self.embedding.weight)


def rate(step: int, steps: int) -> float:
    """Return the learning rate of a step."""
    if step < WARMUP:
        return PEAK * (step + 1) / (WARMUP + 1)
    return LEAST + 0.5 * (PEAK - LEAST) * (1 + math.cos(math.pi * (step - WARMUP) / max(1, steps - WARMUP)))


def train(ids: Ids, vocabulary_size: int, *, seconds: float | None, seed: int) -> Iterator[tuple[GPT, int, int]]:
    """Train, and yield the network, the step and the number of steps after every step.

    Args:
        ids: The training part, `(C,)`.
        vocabulary_size: V.
        seconds: The budget, which sets the number of steps after 100 of them were timed; None for STEPS.
        seed: Of weights and windows.
    """
    torch.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = GPT(vocabulary_size)
    matrices = [parameter for parameter in network.parameters() if parameter.ndim == 2]
    others = [parameter for parameter in network.parameters() if parameter.ndim != 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.99))
    steps, step, begin = STEPS, 0, time.perf_counter()
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
            steps = max(step, round(seconds * step / (time.perf_counter() - begin)))
        yield network, step, steps


def nats(network: GPT, ids: Ids, stride: int = BLOCK) -> float:
    """Return the mean nats of the ids `(C,)` but the first, each predicted once.

    Windows of BLOCK begin every `stride` characters; the last `stride` predictions of each window count, all of the
    first. With a stride of BLOCK the windows do not overlap, as nanoGPT scores; with less, every character but the
    first few has at least BLOCK - stride characters of context, which is closest to a carried state.
    """
    if len(ids) <= BLOCK:
        raise ValueError(f"the text has {len(ids)} characters, but must have more than {BLOCK}")
    ends = np.append(np.arange(BLOCK, len(ids) - 1, stride), len(ids) - 1)
    fresh = np.diff(ends, prepend=0)
    total = 0.0
    with torch.no_grad():
        for first in range(0, len(ends), ROWS):
            rows = np.stack([ids[end - BLOCK : end + 1] for end in ends[first : first + ROWS]])
            windows = torch.from_numpy(rows.astype(np.int64))
            logits = network(windows[:, :-1]).transpose(1, 2)
            losses = functional.cross_entropy(logits, windows[:, 1:], reduction="none").double().numpy()
            last = fresh[first : first + ROWS, None]
            total += losses[np.arange(BLOCK) >= BLOCK - last].sum()
    return total / (len(ids) - 1)
