"""Writing with several networks of one vocabulary: at every character the mean of their probabilities.

It has the methods of `Engine` and `Group`, so that a `Writer` works with either.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from nextchar.kernels.barrier import new_team
from nextchar.kernels.ensemble import new_member, run
from nextchar.kernels.packing import StreamState, WeightKind
from nextchar.kernels.steps import TO_CHOOSE, Ids, Passage
from nextchar.sampling.engine import Engine, Filters, Group, Nats
from nextchar.storage import ModelFile


class EnsembleEngine:
    """Networks ready to step together. What a stream has read is one state a network.

    Args:
        models: The networks, of one vocabulary; cells and sizes may differ.
        weights: How they are kept.
    """

    def __init__(self, models: Sequence[ModelFile], weights: WeightKind = "fp32") -> None:
        self.engines = [Engine(model, weights) for model in models]
        self.vocabulary_size = len(models[0].vocabulary)

    def begin(self, prompt: npt.ArrayLike = ()) -> tuple[StreamState, ...]:
        """Return the states after START and a prompt `(T,)`."""
        return tuple(engine.begin(prompt) for engine in self.engines)

    def group(
        self, size: int, filters: Filters, ends: npt.ArrayLike = (), _team: int | None = None
    ) -> "EnsembleGroup":
        """Return room for lanes that write side by side."""
        return EnsembleGroup(self, size, filters, ends)


class EnsembleGroup:
    """StreamState that write side by side, as those of a `Group` do, with one core.

    Args:
        engine: The networks.
        size: How many lanes there can be.
        filters: How characters are chosen.
        ends: Ids after which `write` stops early, for someone to look.
    """

    def __init__(self, engine: EnsembleEngine, size: int, filters: Filters, ends: npt.ArrayLike = ()) -> None:
        # Each keeps its network's lanes; the first one chooses for all.
        self._groups = [Group(each, size, filters, ends) for each in engine.engines]
        self._members = tuple(
            new_member(each.packed, group.lanes, engine.vocabulary_size)
            for each, group in zip(engine.engines, self._groups, strict=True)
        )
        self._mixed = np.zeros((size, engine.vocabulary_size), np.float32)

    @property
    def count(self) -> int:
        """How many lanes are in use."""
        return self._groups[0].count

    def add(self, states: tuple[StreamState, ...], key: int) -> None:
        """Begin a text in the next free lane: character k of it takes number k of the key's random stream."""
        for group, state in zip(self._groups, states, strict=True):
            group.add(state, key)

    def drop(self, lane: int) -> None:
        """End a text; the last lane moves to its place."""
        for group in self._groups:
            group.drop(lane)

    def write(self, length: int) -> tuple[Ids, Nats]:
        """Write characters with every lane in use; return ids and what they cost, each `(T, N)` with T at most length."""
        ids = np.full((length, self.count), TO_CHOOSE)
        nats = np.zeros(ids.shape)
        passage = Passage(ids, nats, np.empty((0, 0, 0), np.float32))
        done = run(passage, self._members, self._mixed, self._groups[0].drawing, new_team(1, self.count))
        return ids[:done], nats[:done]
