"""Options by keyword, with their types: for type checkers and editors.

Written by docs/generate.py from the declarations; a test fails if it is out of date.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, TypedDict


class TrainKeywords(TypedDict, total=False):
    """The options of `train`: the fields of `Config`."""

    minutes: float | None
    """Minutes to train, kept within 10 %; a short text ends sooner. Default: 5."""
    epochs: float | None
    """Passes over the training part, instead of minutes."""
    steps: int | None
    """Optimizer steps, instead of minutes; the run can be repeated exactly."""
    patience: int
    """Stop after this many validations in a row without a new best; 0 never stops early."""
    cell: Literal["lstm", "gru", "rnn"]
    """Recurrent cell."""
    layers: int
    """Recurrent layers."""
    hidden: int | None
    """Units per layer."""
    embedding: int
    """Embedding size; 0 feeds one-hot vectors."""
    sum_outputs: bool
    """Feed the head with the sum of all layers' outputs instead of the last layer's."""
    dropout: float | None
    """Dropout between layers and before the head."""
    recurrent_dropout: float | None
    """Dropout probability of hidden units in the recurrence, one mask per sequence."""
    init: Literal["orthogonal", "uniform"]
    """Orthogonal recurrent weights, or all weights from U(-0.08, 0.08)."""
    forget_bias: float
    """Initial bias of the LSTM's forget gate."""
    batch_size: int | None
    """Sequences per step, each from its own place in the text."""
    seq_length: int | None
    """Characters per sequence, and of backpropagation through time."""
    state_reset_prob: float
    """Probability, per sequence and step, of starting from the empty state."""
    optimizer: Literal["cautious", "adamw", "rmsprop"]
    """The cautious one is AdamW that skips weights whose update opposes their gradient."""
    learning_rate: float | None
    """Peak learning rate."""
    head_lr_multiplier: float
    """Multiplier of the learning rate for the head, the output layer."""
    warmup: int
    """Steps of linear learning rate warm-up."""
    lr_schedule: Literal["linear", "cosine", "constant", "exponential"]
    """Learning rate after warm-up and hold: to zero along a line or cosine; unchanged; or times --lr-decay per epoch."""
    lr_hold: float
    """Fraction of the run at the peak before a linear or cosine schedule falls."""
    lr_decay: float | None
    """Factor on the learning rate per epoch, on top of any schedule. Default: 0.97 if exponential, else 1."""
    lr_decay_after: int
    """Epochs before --lr-decay starts."""
    beta1: float
    """Decay rate of AdamW's average of gradients."""
    beta2: float
    """Decay rate of the average of squared gradients, AdamW and RMSProp."""
    weight_decay: float | None
    """Decoupled weight decay of AdamW."""
    grad_clip_norm: float
    """Maximum norm of the whole gradient; 0 for no limit."""
    grad_clip_value: float
    """Maximum absolute value of each gradient element; 0 for no limit."""
    loss_sum: bool
    """Sum the loss over a sequence, as char-rnn did, instead of averaging it."""
    calibrate: bool
    """At the end, divide the logits by the temperature with the lowest validation loss."""
    eval_every: int | None
    """Steps between validations; the best model is kept. Default: an eighth of the run."""
    eval_chars: int | None
    """Characters per validation, spread over the validation part."""
    units: Literal["characters", "bytes"]
    """What the model predicts."""
    encoding: str
    """Encoding of the texts: any Python codec."""
    suffix: str | Sequence[str]
    """In folders, read only files with these suffixes."""
    valid: float
    """Fraction of the text for validation, just before the test part."""
    test: float
    """Fraction of the text, at its end, for the test."""
    seed: int
    """Seed of all random numbers."""
    device: Literal["auto", "cpu", "cuda", "mps"]
    """Device to train on."""
    kernels: Literal["compiled", "torch"] | None
    """Kernels of LSTM layers on a CPU. Default: the faster, measured if the budget is minutes."""
    precision: Literal["auto", "fp32", "bf16"]
    """Precision of the matrix products."""


class SampleKeywords(TypedDict, total=False):
    """The options of `sample` and `stream`, of `SampleOptions` and `SamplingParams`."""

    length: int
    """The most characters to generate (bytes, for a byte model)."""
    stop: str | Sequence[str]
    """End before the first of these texts, which is not part of the result; one or more."""
    seed: int | None
    """The same seed and kind of weights give the same text; without one, each text is new."""
    unknown: Literal["error", "skip"]
    """What to do with characters of the prompt that are not in the vocabulary."""
    weights: Literal["fp32", "bf16", "int8"] | None
    """Precision of the weights, by default that of the model file. bf16 and int8 take half and a quarter of the memory, and are faster."""
    device: Literal["auto", "cpu", "cuda", "mps"] | None
    """Where to generate. A GPU is faster for many texts, not for one, and needs fp32 weights."""
    temperature: float
    """1 is the model's own distribution; lower is safer, higher more varied; 0 takes the likeliest character."""
    top_k: int
    """Draw among the k most likely characters; 0, or more than there are, for all."""
    top_p: float
    """Draw among the fewest most likely characters that together reach this probability; 1 for all."""
    min_p: float
    """Draw among the characters at least this many times as likely as the most likely one; 0 for all."""
    repetition_penalty: float
    """Divides positive logits, and multiplies negative ones, of characters that were already generated; 1 for none."""
    presence_penalty: float
    """Subtracted from the logits of characters that were already generated; 0 for none."""
    frequency_penalty: float
    """Subtracted from a logit once for each time that its character was generated; 0 for none."""
    logit_bias: Mapping[int, float] | Sequence[tuple[int, float]]
    """Added to the logits: a mapping from ids, or pairs of an id and a number from -100 to 100."""


class ScoreKeywords(TypedDict, total=False):
    """The options of `LanguageModel.score` and `evaluate`."""

    protocol: Literal["stream", "windows"]
    """"stream" or "windows"."""
    window: int
    """Characters of a window."""
    unknown: Literal["error", "skip"]
    """"error", or "skip" to leave out characters that are not in the model's vocabulary."""


class InspectKeywords(TypedDict, total=False):
    """The options of `LanguageModel.inspect` and `inspect`."""

    neurons: str | Sequence[tuple[int, int]]
    """Layer and unit of those that are shown, or "0:3,1:17"; by default 40, those with a name and those that matter most."""
    chars: int | None
    """How many characters are read, from the beginning; None reads all. The page shows 30,000 of them at most."""
    title: str
    """Names of the text and the model."""
