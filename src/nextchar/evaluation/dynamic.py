"""Dynamic evaluation: a network keeps learning from the text it is scored on, from every character after its score.

A text is read in segments. Each is scored first; then every weight takes one step against the segment's gradient,
divided by the root mean square that its gradient had on the training text, and decays towards its trained value, the
faster the larger that root mean square is. Source: Krause et al. 2018, "Dynamic evaluation of neural sequence models",
arXiv 1709.07432, section 5.
"""

import math
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from nextchar.errors import ConfigError, TextError, check_fields
from nextchar.evaluation.score import Score, averaged, nats_of, sum_up
from nextchar.kernels.gemm import VECTOR_WIDTH
from nextchar.kernels.optimizer_steps import rms_decay_update
from nextchar.kernels.threads import parallel_for
from nextchar.model.network import Network
from nextchar.model.reading import Chunk, Doubles, Ids, Reader, shift, surprisal, to_numpy
from nextchar.model.state import State
from nextchar.storage import ModelSource, to_networks
from nextchar.text.vocabulary import Unknown, Vocabulary

# Gradients are measured at places spread over the training text: characters read first, then segments.
PLACES, WARM_UP, SEGMENTS = 16, 256, 16
MAX_RACE = 1 << 16  # characters on which settings are compared

Gradients = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Adaptation:
    """How a network learns while it is scored.

    Attributes:
        learning_rate: The step of a weight whose gradient is as large as its root mean square.
        decay: The share of the difference to its trained value that a weight loses in every segment, if the root mean
            square of its gradient is that of the average weight; in proportion for others.
        epsilon: Added to the root mean square of every gradient, as a share of the average.
        segment: Characters from one step to the next.
    """

    learning_rate: float
    decay: float
    epsilon: float = 0.3
    segment: int = 64

    def __post_init__(self) -> None:
        """Refuse values of another type, or out of bounds."""
        check_fields(self)
        for name, valid, bounds in (
            ("learning_rate", 0 <= self.learning_rate < math.inf, "0 or more"),
            ("decay", 0 <= self.decay <= 1, "from 0 to 1"),
            ("epsilon", 0 < self.epsilon < math.inf, "above 0"),
            ("segment", self.segment >= 1, "1 or more"),
        ):
            if not valid:
                raise ConfigError(f"{name} is {getattr(self, name):g}, but must be {bounds}")

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, for JSON."""
        return asdict(self)


# What is compared unless settings are given; the first is the default where a text is too short for a comparison.
CANDIDATES = tuple(
    Adaptation(learning_rate, decay) for decay in (0.001, 0.004) for learning_rate in (0.0008, 0.0004, 0.0016)
)


@dataclass(frozen=True, slots=True)
class DynamicScore:
    """How well a text is predicted by networks that learn from what they have scored.

    Attributes:
        dynamic: Of every character; protocol "dynamic".
        static: Of the same characters by the same networks as they were trained; protocol "stream".
        adaptations: The settings, one for each network.
        held_out: The same two scores of the second half of the text, if the settings were chosen on the first half.
        nats: The surprisal of every character under dynamic evaluation, `(T,)`.
    """

    dynamic: Score
    static: Score
    adaptations: tuple[Adaptation, ...]
    held_out: tuple[Score, Score] | None = None
    nats: Doubles = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, for JSON: those of the dynamic score, and beside them the others."""
        settings = [adaptation.as_dict() for adaptation in self.adaptations]
        halves = self.held_out and dict(zip(("dynamic", "static"), map(asdict, self.held_out), strict=True))
        return {
            **self.dynamic.as_dict(),
            "static": self.static.as_dict(),
            "held_out": halves,
            "adaptation": settings[0] if len(settings) == 1 else settings,
        }


class Learner:
    """A copy of a network that scores a text and learns from it.

    Args:
        network: As it was trained; never modified.
        usual: See `gradient_rms`.
        start: The id of START.
        adaptation: How it learns.

    Attributes:
        adaptation: As given.
        network: The copy, as it has learnt so far.
    """

    def __init__(self, network: Network, usual: Sequence[Tensor], start: int, adaptation: Adaptation) -> None:
        self.adaptation = adaptation
        self.network = deepcopy(network)
        self._trained, self._usual = [weight.detach() for weight in network.parameters()], usual
        self._state, self._before = network.empty_state(1), start
        self._nats: list[Doubles] = []
        average = sum(float(size.cpu().double().sum()) for size in usual) / network.size()
        self._settings = np.array(
            [adaptation.decay / max(average, 1e-30), adaptation.learning_rate, adaptation.epsilon * average], np.float32
        )

    def nats(self) -> Doubles:
        """Return the surprisal of every character read so far, `(T,)`."""
        return np.concatenate([*self._nats, np.zeros(0)])

    def read(self, ids: Ids) -> None:
        """Score ids `(T,)`, whole segments unless the text ends with them, and learn from each segment."""
        if not len(ids):
            return

        def learn(losses: Doubles, gradients: Gradients) -> None:
            self._nats.append(losses)
            weights = self.network.parameters()
            for weight, trained, gradient, usual in zip(weights, self._trained, gradients, self._usual, strict=True):
                _update(weight.detach(), trained, gradient, usual, self._settings)

        segment = self.adaptation.segment
        self._state = _read_segments(self.network, ids, self._before, self._state, segment, learn)
        self._before = int(ids[-1])


def _read_segments(
    network: Network,
    ids: Ids,
    before: int,
    state: State,
    segment: int,
    on_segment: Callable[[Doubles, Gradients], object],
) -> State:
    """Read ids `(T,)` after the id `before`; call `on_segment` with each segment's losses and mean gradients."""
    targets = ids[:, None]
    weights = list(network.parameters())

    def visit(chunk: Chunk) -> None:
        losses = surprisal(chunk.logits, targets[chunk.index])
        on_segment(to_numpy(losses)[:, 0], torch.autograd.grad(losses.mean(), weights))

    return Reader(network, segment, gradients=True).read(shift(targets, before), state, visit)


def _update(
    weight: Tensor, trained: Tensor, gradient: Tensor, usual: Tensor, settings: npt.NDArray[np.float32]
) -> None:
    """Move one weight matrix towards its trained value and against its gradient."""
    if weight.device.type == "cpu":
        flat = [tensor.contiguous().view(-1).numpy() for tensor in (weight, trained, gradient, usual)]
        parallel_for(
            lambda first, last: rms_decay_update(*(array[first:last] for array in flat), settings),
            weight.numel(),
            VECTOR_WIDTH,
        )
        return
    pull, rate, floor = settings.tolist()
    weight.lerp_(trained, (pull * usual).clamp(max=1.0))
    weight.sub_(rate * gradient / (usual + floor))


def gradient_rms(network: Network, ids: Ids, start: int, segment: int) -> list[Tensor]:
    """Return the root mean square of the gradient of each weight over segments of a text.

    Args:
        network: As it was trained.
        ids: The training text, `(T,)`. Places spread over it are read.
        start: The id of START.
        segment: Characters.
    """
    if not len(ids):
        raise TextError("there is no training text to measure gradients on")
    squares = [torch.zeros_like(weight, requires_grad=False) for weight in network.parameters()]
    count = 0

    def add(_: Doubles, gradients: Gradients) -> None:
        nonlocal count
        count += 1
        for square, gradient in zip(squares, gradients, strict=True):
            square.addcmul_(gradient, gradient)

    length = WARM_UP + SEGMENTS * segment
    for place in np.unique(np.linspace(0, max(0, len(ids) - length), PLACES).astype(int)):
        stretch = np.asarray(ids[place : place + length], np.int64)
        warm = min(WARM_UP, len(stretch) - min(segment, len(stretch)))
        state, before = network.empty_state(1), start
        if warm:
            state = Reader(network, WARM_UP).read(shift(stretch[:warm, None], start), state)
            before = int(stretch[warm - 1])
        _read_segments(network, stretch[warm:], before, state, segment, add)
    return [square.div_(count).sqrt_() for square in squares]


def evaluate_dynamic(
    models: ModelSource | Sequence[ModelSource],
    text: str | bytes,
    training: str | bytes,
    *,
    tune_on: str | bytes | None = None,
    adaptation: Adaptation | None = None,
    unknown: Unknown = "error",
) -> DynamicScore:
    """Score a text with a model that learns from every character after its score, and with the model as it is.

    Args:
        models: A model, its file or its path, which is not changed; or a list of several of one vocabulary, whose
            probabilities are averaged.
        text: At least one character that the model knows.
        training: The text the model was trained on; the size of gradients is measured on a sample of it.
        tune_on: The settings with the best score on this text are taken; None for the first half of the text itself.
        adaptation: The settings; None to choose them.
        unknown: "error", or "skip" to leave out of `text` characters that are not in the vocabulary.

    Raises:
        UnknownCharacterError: The text has characters that are not in the vocabulary.
        TextError: No character is left to score, or to measure gradients on.
    """
    networks, vocabulary = to_networks(models)
    return score_dynamic(
        networks,
        vocabulary.encode(text, unknown=unknown),
        vocabulary,
        vocabulary.encode(training, unknown="skip", where="the training text"),
        tune_on=None if tune_on is None else vocabulary.encode(tune_on, unknown="skip"),
        adaptation=adaptation,
    )


def score_dynamic(
    networks: Sequence[Network],
    ids: Ids,
    vocabulary: Vocabulary,
    training: Ids,
    *,
    tune_on: Ids | None = None,
    adaptation: Adaptation | None = None,
) -> DynamicScore:
    """Score ids `(T,)`; see `evaluate_dynamic`."""
    if not len(ids):
        raise TextError("there is no character to score")
    learners = [_learn(network, ids, vocabulary.start, training, tune_on, adaptation) for network in networks]
    dynamic = averaged([learner.nats() for learner in learners])
    static = np.concatenate(list(nats_of(networks, ids, vocabulary.start)))

    def pair(begin: int) -> tuple[Score, Score]:
        return (
            sum_up("dynamic", [dynamic[begin:]], ids[begin:], vocabulary),
            sum_up("stream", [static[begin:]], ids[begin:], vocabulary),
        )

    held_out = pair(len(ids) // 2) if adaptation is None and tune_on is None else None
    settings = tuple(learner.adaptation for learner in learners)
    return DynamicScore(*pair(0), settings, held_out, dynamic)


def _learn(
    network: Network, ids: Ids, start: int, training: Ids, tune_on: Ids | None, adaptation: Adaptation | None
) -> Learner:
    """Return a learner that has read ids `(T,)`, with the settings given or with those of the best score."""
    candidates = CANDIDATES if adaptation is None else (adaptation,)
    usual = gradient_rms(network, training, start, candidates[0].segment)
    learners = [Learner(network, usual, start, candidate) for candidate in candidates]
    best = race(learners, ids[: len(ids) // 2] if tune_on is None else tune_on)
    if tune_on is not None:
        best = Learner(network, usual, start, best.adaptation)
    best.read(ids[len(best.nats()) :])
    return best


def race(learners: Sequence[Learner], ids: Ids) -> Learner:
    """Compare settings by successive halving: the better half of the learners reads on, until one is left.

    It may not have read to the end. Bad settings are dropped early: six learners together read less than two texts.
    """
    left, done = list(learners), 0
    total = min(len(ids), MAX_RACE)
    while len(left) > 1:
        end = total // len(left)
        end -= end % left[0].adaptation.segment
        for learner in left:
            learner.read(ids[done:end])
        left.sort(key=lambda learner: float(np.nan_to_num(learner.nats(), nan=np.inf).sum()))
        left, done = left[: (len(left) + 1) // 2], end
    return left[0]
