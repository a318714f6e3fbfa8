"""What happens in a training, as values that the loop yields."""

from dataclasses import asdict, dataclass
from typing import Any

from nextchar.evaluation.score import Score


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened after a step; `seconds` counts from the start of the training."""

    step: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return the event as an entry of the log, with its kind."""
        return {"event": type(self).__name__.lower(), **asdict(self)}


@dataclass(frozen=True, slots=True)
class Started(Event):
    """Training starts or resumes; `network` is its shape, as "lstm 2x256", and `dropout` tells whether there is any."""

    network: str
    vocabulary: int
    dropout: bool
    steps: int
    steps_per_epoch: int
    parameters: int
    train_chars: int
    valid_chars: int
    device: str
    precision: str
    reason: str


@dataclass(frozen=True, slots=True)
class Progress(Event):
    """Steps were made; `loss` is their mean in nats per character."""

    steps: int
    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float
    chars_per_second: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Validated(Event):
    """The validation part was scored; `best` tells whether this is the best score so far."""

    score: Score
    best: bool


@dataclass(frozen=True, slots=True)
class SampleDue(Event):
    """A sample should be drawn now."""


@dataclass(frozen=True, slots=True)
class Sampled(Event):
    """A sample was drawn."""

    text: str


@dataclass(frozen=True, slots=True)
class CheckpointDue(Event):
    """A snapshot should be saved now."""


@dataclass(frozen=True, slots=True)
class Stopped(Event):
    """Training was stopped before its end."""

    steps: int


@dataclass(frozen=True, slots=True)
class Finished(Event):
    """Training is finished: `reason` is "steps", "patience", "time", or "text" if a short text ended a budget in minutes.

    The score is that of the kept model, whose logits are divided by `temperature`.
    """

    reason: str
    epochs: float
    chars_per_second: float
    score: Score | None
    temperature: float = 1.0
