"""What the machine can do at most: matrix products at the shapes of a step, and reading memory in order."""

import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

import numpy as np
import torch

from nextchar.kernels.gemm import compiled


class Product(NamedTuple):
    """A matrix product `(m, k) @ (k, n)`, done `times` times."""

    m: int
    k: int
    n: int
    times: int = 1

    @property
    def flop(self) -> float:
        """FLOP of all of them."""
        return 2.0 * self.m * self.k * self.n * self.times


def durations(work: Callable[[], object], seconds: float, least: int = 3) -> list[float]:
    """Return how long a piece of work took each time, repeated for some seconds after two trial runs."""
    work(), work()
    times: list[float] = []
    begun = time.perf_counter()
    while len(times) < least or time.perf_counter() - begun < seconds:
        before = time.perf_counter()
        work()
        times.append(time.perf_counter() - before)
    return times


def seconds_each(work: Callable[[], object], seconds: float, least: int = 3) -> float:
    """Return the median duration of a piece of work."""
    return median(durations(work, seconds, least))


def seconds_in_turns(
    works: Mapping[str, Callable[[], object]], seconds: float, rounds: int = 3
) -> dict[str, float]:
    """Return the median duration of each of several pieces of work, which take turns.

    A machine that others use is slower for a while; so it is slower for all of them.
    """
    times: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            times[name] += durations(work, seconds / rounds, least=2)
    return {name: median(each) for name, each in times.items()}


def product_seconds(products: Sequence[Product], precision: str, seconds: float) -> float:
    """Return how long torch's library takes for the products alone, on all cores; `seconds` for each to be measured."""
    kind = torch.bfloat16 if precision == "bf16" else torch.float32
    total = 0.0
    for m, k, n, times in products:
        a, b, out = torch.randn(m, k).to(kind), torch.randn(k, n).to(kind), torch.empty(m, n, dtype=kind)
        # Small ones are repeated, so that no clock is read between them.
        batch = max(1, min(times, int(1e8 / (2 * m * k * n))))

        def work(
            a: torch.Tensor = a, b: torch.Tensor = b, out: torch.Tensor = out, batch: int = batch
        ) -> None:
            for _ in range(batch):
                torch.mm(a, b, out=out)

        total += seconds_each(work, seconds) / batch * times
    return total


def rate(products: Sequence[Product], precision: str, seconds: float) -> float:
    """Return FLOP/s of the products alone."""
    return sum(product.flop for product in products) / product_seconds(products, precision, seconds)


@compiled
def _sum(values: Any, times: int) -> Any:
    total = np.float32(0)
    for _ in range(times):
        a = b = c = d = np.float32(0)
        quarter = len(values) // 4
        for index in range(quarter):
            a += values[index]
            b += values[quarter + index]
            c += values[2 * quarter + index]
            d += values[3 * quarter + index]
        total += a + b + c + d
    return total


def read_rate(size: int, seconds: float) -> float:
    """Return bytes per second of one core that reads `size` bytes over and over."""
    values = np.ones(max(16, size // 4), np.float32)
    times = max(1, int(2e7 / size))
    return values.nbytes * times / seconds_each(lambda: _sum(values, times), seconds)
