"""Steps a packed network through ids, and chooses new ones; it speaks ids and knows nothing of text."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from nextchar.architecture import CELLS
from nextchar.errors import ConfigError
from nextchar.kernels.packing import Floats, empty_vectors, pack
from nextchar.kernels.steps import run
from nextchar.sampling.filters import draw, log_softmax, min_p, softmax, top_k, top_p
from nextchar.storage import ModelFile


@dataclass(frozen=True, slots=True)
class Filters:
    """How the next character is chosen.

    Attributes:
        temperature: 1 as learnt, lower is surer, 0 always the likeliest.
        top_k: Choose among the k likeliest; 0 all.
        top_p: Choose among the likeliest that together reach this probability; 1 all.
        min_p: Choose among those at least this many times as likely as the likeliest; 0 all.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what is no setting."""
        for name, good, bounds in (
            ("temperature", 0 <= self.temperature < float("inf"), "0 or more"),
            ("top_k", self.top_k >= 0, "0 (all) or more"),
            ("top_p", 0 < self.top_p <= 1, "above 0 and at most 1 (all)"),
            ("min_p", 0 <= self.min_p <= 1, "from 0 (all) to 1"),
        ):
            if not good:
                raise ConfigError(f"{name} is {getattr(self, name):g}, but must be {bounds}")

    def __call__(self, logits: Floats) -> npt.NDArray[np.float64]:
        """Return the distribution that is drawn from, `(V,)`."""
        p = softmax(logits, self.temperature)
        return min_p(top_p(top_k(p, self.top_k), self.top_p), self.min_p)


class Choice(NamedTuple):
    """One generated character: its id, and what it cost the unfiltered model, in nats."""

    id: int
    nats: float


class Engine:
    """A network ready to step. State is a value: `(S, L, H)`, never modified."""

    def __init__(self, model: ModelFile) -> None:
        self._packed = pack(model)
        self._cell = CELLS.index(model.architecture.cell)
        self._empty = empty_vectors(model)
        self._start = len(model.vocabulary)

    def read(self, ids: npt.ArrayLike, state: Floats) -> tuple[Floats, Floats]:
        """Read ids `(T,)`; return the logits after each, `(T, V)`, and the state after the last."""
        wide = np.ascontiguousarray(ids, np.int64)
        after = state.copy()
        logits = np.empty((len(wide), self._start), np.float32)
        run(self._cell, wide, self._packed, after, logits)
        return logits, after

    def begin(self, prompt: npt.ArrayLike = ()) -> tuple[Floats, Floats]:
        """Read START and a prompt from the empty state; return the logits `(V,)` after it, and the state."""
        logits, state = self.read(np.concatenate([[self._start], np.asarray(prompt, np.int64)]), self._empty)
        return logits[-1], state

    def nats(self, ids: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Return what each id of a text costs, `(T,)`, read from the empty state."""
        wide = np.asarray(ids, np.int64)
        logits, _ = self.read(np.concatenate([[self._start], wide[:-1]]), self._empty)
        return -log_softmax(logits)[np.arange(len(wide)), wide]

    def write(self, prompt: npt.ArrayLike, filters: Filters, random: np.random.Generator) -> Iterator[Choice]:
        """Go on from a prompt for ever; every character takes one number from `random`."""
        logits, state = self.begin(prompt)
        while True:
            chosen = draw(filters(logits), random.random())
            yield Choice(chosen, -float(log_softmax(logits)[chosen]))
            rows, state = self.read([chosen], state)
            logits = rows[0]
