"""What happens in a training, as values: the loop yields them, and whoever wants to know listens."""

from dataclasses import asdict, dataclass
from typing import Any

from nextchar.evaluation.score import Score


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened at a step, so many seconds into the training."""

    step: int
    seconds: float

    def as_dict(self) -> dict[str, Any]:
        """Return it for the log, with its kind."""
        return {"event": type(self).__name__.lower(), **asdict(self)}


@dataclass(frozen=True, slots=True)
class Started(Event):
    """Training begins, or goes on."""

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
    """Some steps were made: mean loss in nats per character since the last such event."""

    steps: int
    epoch: float
    loss: float
    learning_rate: float
    gradient_norm: float
    chars_per_second: float
    seconds_left: float


@dataclass(frozen=True, slots=True)
class Validated(Event):
    """The validation text was scored; `best` if it never was better."""

    score: Score
    best: bool


@dataclass(frozen=True, slots=True)
class SampleDue(Event):
    """A point of the log schedule at which it is worth to look at a sample."""


@dataclass(frozen=True, slots=True)
class Sampled(Event):
    """A sample was written."""

    text: str


@dataclass(frozen=True, slots=True)
class CheckpointDue(Event):
    """Everything needed to go on should be saved now."""


@dataclass(frozen=True, slots=True)
class Stopped(Event):
    """Training was asked to stop before its end."""

    steps: int


@dataclass(frozen=True, slots=True)
class Finished(Event):
    """Training is done. `reason` is "steps", "patience", "time", or "text" if that was too short for all of its time.

    The score is that of the kept model, whose logits have been divided by `temperature`.
    """

    reason: str
    epochs: float
    chars_per_second: float
    score: Score | None
    temperature: float = 1.0
