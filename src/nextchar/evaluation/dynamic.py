"""Dynamic evaluation: a network goes on learning from the text it is scored on, from every character after its score.

A text is read in segments. Each is scored first; then every weight takes one step against the segment's gradient, over the
root mean square that its gradient had on the training text, and falls back towards what was trained, the faster the
larger that is. Source: Krause et al. 2018, "Dynamic evaluation of neural sequence models", arXiv 1709.07432, section 5.
"""

import math
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from nextchar.errors import ConfigError, TextError
from nextchar.evaluation.score import Nats, Score, averaged, make_score, nats_of
from nextchar.kernels.gemm import VECTOR_WIDTH
from nextchar.kernels.optimizer_steps import rms_decay_update
from nextchar.kernels.threads import parallel_for
from nextchar.language_model import LanguageModel
from nextchar.model.network import Network
from nextchar.model.state import State, detach
from nextchar.text.vocabulary import Unknown, Vocabulary, common_vocabulary

# Where gradients are gathered: places spread over the training text, the characters read there first, and segments.
PLACES, WARM_UP, SEGMENTS = 16, 256, 16
# A race of settings sees so many characters at the most.
LONGEST_RACE = 1 << 16


@dataclass(frozen=True, slots=True)
class Adaptation:
    """How a network learns while it is scored.

    Attributes:
        learning_rate: The step of a weight whose gradient is as large as it usually is.
        decay: What share of the way back to what was trained a weight goes in every segment, if its gradient is
            usually as large as that of the average weight; others in proportion.
        epsilon: Added to the usual size of every gradient, as a share of its average.
        segment: Characters from one step to the next.
    """

    learning_rate: float
    decay: float
    epsilon: float = 0.3
    segment: int = 64

    def __post_init__(self) -> None:
        """Refuse what is no setting."""
        for name, good, bounds in (
            ("learning_rate", 0 <= self.learning_rate < math.inf, "0 or more"),
            ("decay", 0 <= self.decay <= 1, "from 0 to 1"),
            ("epsilon", 0 < self.epsilon < math.inf, "above 0"),
            ("segment", self.segment >= 1, "1 or more"),
        ):
            if not good:
                raise ConfigError(f"{name} is {getattr(self, name):g}, but must be {bounds}")

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, for JSON."""
        return asdict(self)


# What is tried unless settings are given, the first one first where the text is too short to tell.
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
        held_out: The same two of the second half of the text, if the settings were chosen on the first; else None.
        nats: What every character cost while learning, `(T,)`.
    """

    dynamic: Score
    static: Score
    adaptations: tuple[Adaptation, ...]
    held_out: tuple[Score, Score] | None = None
    nats: Nats = field(default_factory=lambda: np.zeros(0), repr=False, compare=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, for JSON: the dynamic score's, and beside them the others."""
        settings = [adaptation.as_dict() for adaptation in self.adaptations]
        halves = self.held_out and {
            name: score.as_dict() for name, score in zip(("dynamic", "static"), self.held_out, strict=True)
        }
        return {
            **self.dynamic.as_dict(),
            "static": self.static.as_dict(),
            "held_out": halves,
            "adaptation": settings[0] if len(settings) == 1 else settings,
        }


class Reader:
    """Reads a text with a copy of a network that learns as it goes.

    Args:
        network: As it was trained; never modified.
        usual: See `usual_sizes`.
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
        self._nats: list[Nats] = []
        average = float(sum(size.double().sum() for size in usual)) / network.size()
        self._settings = np.array(
            [adaptation.decay / max(average, 1e-30), adaptation.learning_rate, adaptation.epsilon * average],
            np.float32,
        )

    def nats(self) -> Nats:
        """Return what every character read so far cost, `(T,)`."""
        return np.concatenate([*self._nats, np.zeros(0)])

    def read(self, ids: npt.NDArray[Any]) -> None:
        """Score ids `(T,)`, whole segments unless the text ends with them, and learn from each."""
        segment = self.adaptation.segment
        with self.network.threads():
            for begin in range(0, len(ids), segment):
                piece = np.asarray(ids[begin : begin + segment], np.int64)
                losses, gradients, self._state = _gradients(self.network, piece, self._before, self._state)
                self._nats.append(losses)
                self._before = int(piece[-1])
                self._learn(gradients)

    def _learn(self, gradients: Sequence[Tensor]) -> None:
        weights = self.network.parameters()
        for weight, trained, gradient, usual in zip(
            weights, self._trained, gradients, self._usual, strict=True
        ):
            _step(weight.detach(), trained, gradient, usual, self._settings)


def _gradients(
    network: Network, ids: npt.NDArray[np.int64], before: int, state: State
) -> tuple[Nats, tuple[Tensor, ...], State]:
    """Return what ids `(T,)` cost, the gradients of their mean, and the state after."""
    device = network.head.weight.device
    targets = torch.from_numpy(ids).to(device)
    inputs = torch.cat([targets.new_tensor([before]), targets[:-1]])
    logits, after = network(inputs[:, None], state)
    losses = functional.cross_entropy(logits[:, 0].float(), targets, reduction="none")
    gradients = torch.autograd.grad(losses.mean(), list(network.parameters()))
    return losses.detach().double().cpu().numpy(), gradients, detach(after)


def _step(
    weight: Tensor, trained: Tensor, gradient: Tensor, usual: Tensor, settings: npt.NDArray[np.float32]
) -> None:
    """Move one weight matrix: back to what was trained, and on against its gradient."""
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


def usual_sizes(network: Network, ids: npt.NDArray[Any], start: int, segment: int) -> list[Tensor]:
    """Return how large the gradient of each weight usually is: its root mean square over segments of a text.

    Args:
        network: As it was trained.
        ids: The training text, `(T,)`. Places spread over it are read.
        start: The id of START.
        segment: Characters.
    """
    if not len(ids):
        raise TextError("there is no training text to learn the usual gradients from")
    squares = [torch.zeros_like(weight, requires_grad=False) for weight in network.parameters()]
    length = WARM_UP + SEGMENTS * segment
    count = 0
    with network.threads():
        for place in np.unique(np.linspace(0, max(0, len(ids) - length), PLACES).astype(int)):
            stretch = np.asarray(ids[place : place + length], np.int64)
            warm = min(WARM_UP, len(stretch) - min(segment, len(stretch)))
            state, before = network.empty_state(1), start
            if warm:
                inputs = np.concatenate([[start], stretch[: warm - 1]])
                with torch.no_grad():
                    _, state = network(torch.from_numpy(inputs)[:, None].to(squares[0].device), state)
                before = int(stretch[warm - 1])
            for begin in range(warm, len(stretch), segment):
                piece = stretch[begin : begin + segment]
                _, gradients, state = _gradients(network, piece, before, state)
                before = int(piece[-1])
                count += 1
                for square, gradient in zip(squares, gradients, strict=True):
                    square.addcmul_(gradient, gradient)
    return [square.div_(count).sqrt_() for square in squares]


def evaluate_dynamic(
    models: "LanguageModel | Sequence[LanguageModel]",
    text: str | bytes,
    training: str | bytes,
    *,
    tune_on: str | bytes | None = None,
    adaptation: Adaptation | None = None,
    unknown: Unknown = "error",
) -> DynamicScore:
    """Score a text with a model that learns from every character after its score, and with the model as it is.

    Args:
        models: The model, which is not changed; or several of one vocabulary, whose probabilities are averaged.
        text: At least one character that the model knows.
        training: The text the model was trained on; what its gradients usually are is measured on a sample of it.
        tune_on: The settings that do best on this text are taken; None for the first half of the text itself.
        adaptation: The settings; None to choose them.
        unknown: "error", or "skip" to leave out of `text` what the model has never seen.

    Raises:
        UnknownCharacterError: Counts and names what the model has never seen.
        TextError: Nothing is left to score, or to measure gradients on.
    """
    several = [models] if isinstance(models, LanguageModel) else list(models)
    vocabulary = common_vocabulary([lm.vocabulary for lm in several])
    return score_dynamic(
        [lm.network for lm in several],
        vocabulary.encode(text, unknown=unknown),
        vocabulary,
        vocabulary.encode(training, unknown="skip", where="the training text"),
        tune_on=None if tune_on is None else vocabulary.encode(tune_on, unknown="skip"),
        adaptation=adaptation,
    )


def score_dynamic(
    networks: Sequence[Network],
    ids: npt.NDArray[Any],
    vocabulary: Vocabulary,
    training: npt.NDArray[Any],
    *,
    tune_on: npt.NDArray[Any] | None = None,
    adaptation: Adaptation | None = None,
) -> DynamicScore:
    """Score ids `(T,)`; see `evaluate_dynamic`."""
    if not len(ids):
        raise TextError("there is no character to score")
    readers = [_read(network, ids, vocabulary.start, training, tune_on, adaptation) for network in networks]
    dynamic = averaged([reader.nats() for reader in readers])
    static = np.concatenate(list(nats_of(networks, ids, vocabulary.start)))

    def pair(begin: int) -> tuple[Score, Score]:
        size = vocabulary.size_in_bytes(ids[begin:])
        return (
            make_score("dynamic", math.fsum(dynamic[begin:]), len(ids) - begin, size),
            make_score("stream", math.fsum(static[begin:]), len(ids) - begin, size),
        )

    held_out = pair(len(ids) // 2) if adaptation is None and tune_on is None else None
    settings = tuple(reader.adaptation for reader in readers)
    return DynamicScore(*pair(0), settings, held_out, dynamic)


def _read(
    network: Network,
    ids: npt.NDArray[Any],
    start: int,
    training: npt.NDArray[Any],
    tune_on: npt.NDArray[Any] | None,
    adaptation: Adaptation | None,
) -> Reader:
    """Return who has read ids `(T,)`, with the settings given or with those that do best."""
    candidates = CANDIDATES if adaptation is None else (adaptation,)
    usual = usual_sizes(network, training, start, candidates[0].segment)
    readers = [Reader(network, usual, start, candidate) for candidate in candidates]
    best = race(readers, ids[: len(ids) // 2] if tune_on is None else tune_on)
    if tune_on is not None:
        best = Reader(network, usual, start, best.adaptation)
    best.read(ids[len(best.nats()) :])
    return best


def race(readers: Sequence[Reader], ids: npt.NDArray[Any]) -> Reader:
    """Let readers read one text, the better half of them ever further, and return the last one left.

    It may not have read to the end. Settings that do badly cost little: six readers read the text less than twice.
    """
    left, done = list(readers), 0
    most = min(len(ids), LONGEST_RACE)
    while len(left) > 1:
        end = most // len(left)
        end -= end % left[0].adaptation.segment
        for reader in left:
            reader.read(ids[done:end])
        left.sort(key=lambda reader: float(np.nan_to_num(reader.nats(), nan=np.inf).sum()))
        left, done = left[: (len(left) + 1) // 2], end
    return left[0]
