"""A recipe: every option of a training with its value, as planning completes it and the trainer takes it."""

from typing import Literal

from nextchar.architecture import Architecture
from nextchar.config import Config, Count, Decay, Factor, Fraction, Rate, Size


class Recipe(Config):
    """A `Config` in which every value is chosen and the budget is a number of steps.

    `steps` is the last step of the budget, counted from the start of the run. The options that a person gives are
    documented in `Config`; here are those that planning may have chosen.
    """

    minutes: None = None
    epochs: None = None
    steps: Count
    hidden: Size
    dropout: Fraction
    recurrent_dropout: Fraction
    batch_size: Count
    seq_length: Count
    learning_rate: Rate
    lr_decay: Factor
    weight_decay: Decay
    eval_every: Count
    eval_chars: Count
    kernels: Literal["compiled", "torch"]

    @property
    def architecture(self) -> Architecture:
        """The network's shape."""
        return Architecture.from_dict(dict(self))

    @property
    def chars_per_step(self) -> int:
        """Characters of one batch: B times T."""
        return self.batch_size * self.seq_length

    @property
    def hold_fraction(self) -> float:
        """Fraction of the run before the learning rate falls to zero; 1 where it never does."""
        return self.lr_hold if self.lr_schedule in {"linear", "cosine"} else 1.0

    def to_config(self) -> Config:
        """Return the options as a config, of which some can be opened again."""
        return Config(**self.model_dump(exclude_none=True))
