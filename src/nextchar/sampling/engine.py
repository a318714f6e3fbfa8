"""Steps a packed network through ids, and lets lanes side by side choose new ones; it speaks ids and knows nothing of text."""

from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from nextchar.errors import ConfigError
from nextchar.kernels.packing import Floats, StreamState, WeightKind, empty_streams, pack
from nextchar.kernels.sampler import Rules
from nextchar.kernels.steps import TO_CHOOSE, Drawing, Ids, Passage, rounded, run_together
from nextchar.kernels.threads import available_cores
from nextchar.sampling.thread_tuner import ThreadTuner, sizes
from nextchar.storage import ModelFile

Nats = npt.NDArray[np.float64]

# A prompt is read in pieces, so that an interrupt is heard between two, and another core tried.
PIECE = 256


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

    def rules(self) -> Rules:
        """Return them as compiled code takes them."""
        return Rules(float(self.temperature), int(self.top_k), float(self.top_p), float(self.min_p))


class Engine:
    """A network ready to step. The state of a stream is a value, one lane of `StreamState`, and is never modified.

    Args:
        model: The network.
        weights: How they are kept.
        team: How many cores share the steps of one stream; None for what is fastest while it goes on. The numbers are
            the same to the bit.

    Attributes:
        packed: The weights.
        vocabulary_size: V.
        pace: Chooses how many cores share a call.
        empty: The state before anything.
        start: The state after START, which predicts a text's first character.
    """

    def __init__(self, model: ModelFile, weights: WeightKind = "fp32", team: int | None = None) -> None:
        self.packed = pack(model.architecture, model.arrays, len(model.vocabulary), weights)
        self.vocabulary_size = len(model.vocabulary)
        self.pace = ThreadTuner(
            sizes(min(available_cores(), len(self.packed.first))) if team is None else [team]
        )
        self.empty: StreamState = empty_streams(self.packed, 1)
        self.start = self._read(np.array([self.vocabulary_size]), self.empty)[1]

    def read(self, ids: npt.ArrayLike, state: StreamState) -> tuple[Floats, StreamState]:
        """Read ids `(T,)`; return the logits after each, `(T, V)`, and the state after the last."""
        wide = np.asarray(ids, np.int64)
        record = np.empty((len(wide), 1, self.vocabulary_size), np.float32)
        _, after = self._read(wide, state, record)
        return record[:, 0], after

    def begin(self, prompt: npt.ArrayLike = ()) -> StreamState:
        """Return the state after START and a prompt `(T,)`, which knows what it predicts next."""
        return self._read(np.asarray(prompt, np.int64), self.start)[1]

    def group(
        self, size: int, filters: Filters, ends: npt.ArrayLike = (), team: int | None = None
    ) -> "Group":
        """Return room for lanes that write side by side."""
        return Group(self, size, filters, ends, team)

    def nats(self, ids: npt.ArrayLike) -> Nats:
        """Return what each id of a text costs, `(T,)`, read from the empty state."""
        return self._read(np.asarray(ids, np.int64), self.start)[0]

    def _read(self, ids: Ids, state: StreamState, record: Floats | None = None) -> tuple[Nats, StreamState]:
        """Read ids `(T,)`; return what each cost, and the state after."""
        after = StreamState(*(array.copy() for array in state))
        nats = np.zeros(len(ids))
        idle = drawing(Filters(), 1, self.vocabulary_size)
        for begin in range(0, len(ids), PIECE):
            piece = ids[begin : begin + PIECE, None].copy()
            costs = np.zeros(piece.shape)
            logits = np.empty((0, 0, 0), np.float32)
            if record is not None:
                logits = np.empty((*piece.shape, self.vocabulary_size), np.float32)
            passage = Passage(piece, costs, logits)
            read = partial(run_together, passage=passage, packed=self.packed, lanes=after, drawing=idle)
            self.pace.timed(read, len(piece))
            nats[begin : begin + PIECE] = costs[:, 0]
            if record is not None:
                record[begin : begin + PIECE] = logits
        return nats, after


def drawing(filters: Filters, lanes: int, size: int) -> Drawing:
    """Return what chooses for so many lanes, with no keys yet, and out of V."""
    return Drawing(
        filters.rules(), np.zeros(lanes, np.uint64), np.zeros(lanes, np.int64), np.zeros(size, np.bool_)
    )


class Group:
    """StreamState that write side by side. Those in use are the first ones; what one writes does not depend on the others.

    Args:
        engine: The network.
        size: How many lanes there can be.
        filters: How characters are chosen.
        ends: Ids after which `write` stops early, for someone to look.
        team: How many cores may share a step where one lane is in use; None as the engine has it. 1 beside other
            groups, which have use for the other cores.

    Attributes:
        lanes: What each has read; those past `count` mean nothing.
        drawing: What chooses, and how far each has come in its random numbers.
        count: How many lanes are in use.
    """

    def __init__(
        self, engine: Engine, size: int, filters: Filters, ends: npt.ArrayLike = (), team: int | None = None
    ) -> None:
        self._engine = engine
        self._pace = engine.pace if team is None else ThreadTuner([team])
        rows = rounded(size)
        self.lanes = empty_streams(engine.packed, rows)
        self.drawing = drawing(filters, rows, engine.vocabulary_size)
        self.drawing.ends[np.asarray(ends, np.int64)] = True
        self.count = 0

    def add(self, state: StreamState, key: int) -> None:
        """Begin a text in the next free lane: character k of it takes number k of the key's random stream."""
        for array, one in zip(self.lanes, state, strict=True):
            array[self.count] = one[0]
        self.drawing.keys[self.count] = key
        self.drawing.places[self.count] = 0
        self.count += 1

    def drop(self, lane: int) -> None:
        """End a text; the last lane moves to its place."""
        self.count -= 1
        for array in (*self.lanes, self.drawing.keys, self.drawing.places):
            array[lane] = array[self.count]

    def write(self, length: int) -> tuple[Ids, Nats]:
        """Write characters with every lane in use; return ids and what they cost, each `(T, N)` with T at most length."""
        ids = np.full((length, self.count), TO_CHOOSE)
        nats = np.zeros(ids.shape)
        go_on = partial(
            run_together,
            passage=Passage(ids, nats, np.empty((0, 0, 0), np.float32)),
            packed=self._engine.packed,
            lanes=self.lanes,
            drawing=self.drawing,
        )
        done = self._pace.timed(go_on, length) if self.count == 1 else go_on(1)
        return ids[:done], nats[:done]
