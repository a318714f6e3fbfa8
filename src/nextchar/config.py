"""Every option of training, declared once: flags, TOML, the model file's JSON and the docs table derive from here.

A `Config` is what a person says. An option whose default is None is chosen by planning (`training/start.py`), which
turns a `Config` into a complete `Recipe`.
"""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, Unpack

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nextchar.architecture import Cell
from nextchar.errors import ConfigError, check_options, did_you_mean
from nextchar.keywords import TrainKeywords

Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, lt=2**63)]
Size = Annotated[int, Field(ge=1, le=16384)]
Natural = Annotated[int, Field(ge=0, lt=2**63)]
Depth = Annotated[int, Field(ge=1, le=64)]
Width = Annotated[int, Field(ge=0, le=16384)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]
"""Products of these are finite in float32, and so is what torch computes with them."""
Finite = Annotated[float, Field(ge=-1e9, le=1e9, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Decay = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, le=1)]
Factor = Annotated[float, Field(gt=0, le=1)]

BUDGETS = ("minutes", "epochs", "steps")
DEFAULT_MINUTES = 5.0


def option(default: Any, group: str, alias: str = "", *, old: str = "") -> Any:
    """Declare an option; the string below it is its help.

    Args:
        default: Its default; None where planning chooses a value.
        group: The heading it is shown under.
        alias: Other flags with this meaning, which help does not list; most are those of other projects (docs/options.md).
        old: Its name in version 0.1.0, still accepted in flags, TOML, model files, snapshots and keywords.
    """
    return Field(default, json_schema_extra={"group": group, "old": old, "alias": alias})


class Config(BaseModel):
    """The options of a training, as a person gives them: model, optimization, text and budget."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, use_attribute_docstrings=True)

    minutes: Positive | None = option(None, "Budget", "m")
    """Minutes to train, kept within 10 %; a short text ends sooner. Default: 5."""
    epochs: Positive | None = option(None, "Budget", "max-epochs num-epochs n-epochs num-train-epochs")
    """Passes over the training part, instead of minutes."""
    steps: Count | None = option(None, "Budget", "max-iters max-steps num-steps iterations")
    """Optimizer steps, instead of minutes; the run can be repeated exactly."""
    patience: Natural = option(0, "Budget")
    """Stop after this many validations in a row without a new best; 0 never stops early."""

    cell: Cell = option("lstm", "Model", "model model-type rnn-type layer-type")
    """Recurrent cell."""
    layers: Depth = option(2, "Model", "num-layers n-layer n-layers nlayers rnn-layers")
    """Recurrent layers."""
    hidden: Size | None = option(None, "Model", "hidden-size hidden-dim rnn-size nhid")
    """Units per layer."""
    embedding: Width = option(64, "Model", "embedding-size embedding-dim wordvec-size emsize")
    """Embedding size; 0 feeds one-hot vectors."""
    sum_outputs: bool = option(True, "Model")
    """Feed the head with the sum of all layers' outputs instead of the last layer's."""
    dropout: Fraction | None = option(None, "Model", "drop-rate")
    """Dropout between layers and before the head."""
    recurrent_dropout: Fraction | None = option(None, "Model")
    """Dropout probability of hidden units in the recurrence, one mask per sequence."""
    init: Literal["orthogonal", "uniform"] = option("orthogonal", "Model", old="initialization")
    """Orthogonal recurrent weights, or all weights from U(-0.08, 0.08)."""
    forget_bias: Finite = option(1.0, "Model")
    """Initial bias of the LSTM's forget gate."""

    batch_size: Count | None = option(None, "Training", old="lanes")
    """Sequences per step, each from its own place in the text."""
    seq_length: Count | None = option(None, "Training", "seq-len sequence-length block-size bptt", old="window")
    """Characters per sequence, and of backpropagation through time."""
    state_reset_prob: Share = option(0.02, "Training", old="cold_start")
    """Probability, per sequence and step, of starting from the empty state."""
    optimizer: Literal["cautious", "adamw", "rmsprop"] = option("cautious", "Training")
    """The cautious one is AdamW that skips weights whose update opposes their gradient."""
    learning_rate: Rate | None = option(None, "Training", "lr")
    """Peak learning rate."""
    head_lr_multiplier: Rate = option(4.0, "Training", old="head_rate")
    """Multiplier of the learning rate for the head, the output layer."""
    warmup: Natural = option(50, "Training", "warmup-iters warmup-steps")
    """Steps of linear learning rate warm-up."""
    lr_schedule: Literal["linear", "cosine", "constant", "exponential"] = option("linear", "Training", old="fall")
    """Learning rate after warm-up and hold: to zero along a line or cosine; unchanged; or times --lr-decay per epoch."""
    lr_hold: Share = option(0.3, "Training", old="hold")
    """Fraction of the run at the peak before a linear or cosine schedule falls."""
    lr_decay: Factor | None = option(None, "Training", "learning-rate-decay", old="decay")
    """Factor on the learning rate per epoch, on top of any schedule. Default: 0.97 if exponential, else 1."""
    lr_decay_after: Natural = option(10, "Training", "learning-rate-decay-after", old="decay_after")
    """Epochs before --lr-decay starts."""
    beta1: Fraction = option(0.7, "Training", "adam-beta1")
    """Decay rate of AdamW's average of gradients."""
    beta2: Fraction = option(0.99, "Training", "adam-beta2")
    """Decay rate of the average of squared gradients, AdamW and RMSProp."""
    weight_decay: Decay | None = option(None, "Training", "wdecay")
    """Decoupled weight decay of AdamW."""
    grad_clip_norm: NotNegative = option(1.0, "Training", "grad-clip max-grad-norm clip", old="clip_norm")
    """Maximum norm of the whole gradient; 0 for no limit."""
    grad_clip_value: NotNegative = option(0.0, "Training", old="clip_value")
    """Maximum absolute value of each gradient element; 0 for no limit."""
    loss_sum: bool = option(False, "Training")
    """Sum the loss over a sequence, as char-rnn did, instead of averaging it."""
    calibrate: bool = option(True, "Training")
    """At the end, divide the logits by the temperature with the lowest validation loss."""
    eval_every: Count | None = option(None, "Training", "eval-interval eval-steps eval-val-every", old="validate_every")
    """Steps between validations; the best model is kept. Default: an eighth of the run."""
    eval_chars: Count | None = option(None, "Training", old="validate_chars")
    """Characters per validation, spread over the validation part."""

    units: Literal["characters", "bytes"] = option("characters", "Text")
    """What the model predicts."""
    encoding: str = option("utf-8", "Text")
    """Encoding of the texts: any Python codec."""
    suffix: tuple[str, ...] = option((), "Text")
    """In folders, read only files with these suffixes."""
    valid: Fraction = option(0.05, "Text", "val-frac valid-frac")
    """Fraction of the text for validation, just before the test part."""
    test: Fraction = option(0.05, "Text", "test-frac")
    """Fraction of the text, at its end, for the test."""

    seed: Annotated[int, Field(ge=0, lt=2**31)] = option(0, "Machine")
    """Seed of all random numbers."""
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "Machine")
    """Device to train on."""
    kernels: Literal["compiled", "torch"] | None = option(None, "Machine")
    """Kernels of LSTM layers on a CPU. Default: the faster, measured if the budget is minutes."""
    precision: Literal["auto", "fp32", "bf16"] = option("auto", "Machine")
    """Precision of the matrix products."""

    def __init__(self, **values: Unpack[TrainKeywords]) -> None:
        """Check the values.

        Raises:
            ConfigError: An unknown name, a value of another type or outside its bounds; one sentence.
        """
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise ConfigError(explain(error)) from None

    # pydantic's own validation, by which the command line makes a config, does not go through __init__.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined]

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        return ((name, value) for name, value in self if value != type(self).model_fields[name].default)

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values: Any) -> Any:
        return renamed(values) if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _possible(self) -> Self:
        given = [f"--{name}" for name in BUDGETS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"{' and '.join(given)} are both budgets; give one of them")
        if self.valid + self.test >= 1:
            raise ValueError(
                f"valid {self.valid:g} and test {self.test:g} leave nothing to train on; their sum must be below 1"
            )
        return self

    @classmethod
    def make(cls, values: Mapping[str, Any], source: str = "") -> Self:
        """Validate values by name.

        Args:
            values: Options.
            source: Where they come from, for the message.

        Raises:
            ConfigError: An unknown name, a value of another type or outside its bounds; one sentence.
        """
        values = renamed(values)
        aliases = {
            name: getattr(field, "json_schema_extra", {})["alias"] for name, field in Config.model_fields.items()
        }
        check_options(values, aliases, f" in {source}" if source else "")
        try:
            return cls(**values)
        except ConfigError as error:
            raise ConfigError(f"{error} (in {source})" if source else str(error)) from None

    def replace(self, **changes: Unpack[TrainKeywords]) -> Self:
        """Return a copy with some options changed, validated again; a budget takes the place of the present one."""
        return self.make(override(self.model_dump(exclude_none=True), changes))


make_config = Config.make

PRESETS: dict[str, dict[str, Any]] = tomllib.loads(
    (Path(__file__).parent / "assets" / "presets.toml").read_text(encoding="utf-8")
)

OLD_NAMES = {
    str(field.json_schema_extra["old"]): name
    for name, field in Config.model_fields.items()
    if isinstance(field.json_schema_extra, dict) and field.json_schema_extra["old"]
}
"""Names of version 0.1.0, and what they are called now."""


def renamed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return options by their present names.

    Raises:
        ConfigError: An option is given by its old and its present name.
    """
    present = {OLD_NAMES.get(name, name): value for name, value in values.items()}
    if isinstance(present.get("suffix"), str):
        present["suffix"] = (present["suffix"],)
    if len(present) < len(values):
        old = next(name for name in values if OLD_NAMES.get(name) in values)
        raise ConfigError(f"{old} is the old name of {OLD_NAMES[old]}; give one of them")
    return present


def override(values: dict[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return options with some replaced; a budget replaces any other."""
    changes = renamed(changes)
    dropped = BUDGETS if any(changes.get(name) is not None for name in BUDGETS) else ()
    return {name: value for name, value in values.items() if name not in dropped} | changes


def explain(error: ValidationError) -> str:
    """Return the first of pydantic's complaints as one sentence."""
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    name = str(first["loc"][0])
    if first["type"] == "missing":
        return f"{name} is missing"
    if first["type"] == "extra_forbidden":
        return f"unknown option '{name}'{did_you_mean(name, Config.model_fields)}"
    if message.startswith("Input should "):
        return f"{name} is {first['input']!r}, but must {message.removeprefix('Input should ')}"
    return f"{name} is {first['input']!r}: {message[0].lower()}{message[1:]}"


def compose(
    explicit: dict[str, Any], *, preset: str | None = None, file: Path | None = None
) -> tuple[Config, list[str]]:
    """Lay flags over a TOML file over a preset over the defaults.

    A budget in a higher layer takes the place of any budget below it.

    Returns:
        The config, and the texts that the file names.
    """
    layers: list[tuple[dict[str, Any], str]] = []
    texts: list[str] = []
    if preset is not None:
        if preset not in PRESETS:
            known = f"; there is {', '.join(PRESETS)}"
            raise ConfigError(f"unknown preset '{preset}'{did_you_mean(preset, PRESETS) or known}")
        layers.append((PRESETS[preset], f"preset {preset}"))
    if file is not None:
        values, texts = read_toml(file)
        values.pop("init_from", None)
        layers.append((values, str(file)))
    layers.append((explicit, ""))
    merged: dict[str, Any] = {}
    for given, source in layers:
        make_config(given, source)
        merged = override(merged, given)
    return make_config(merged), texts


def read_toml(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Read a TOML file: the options, with `init_from` where it names a model to start from, and the texts it names."""
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"there is no file {path}") from None
    except (ValueError, RecursionError) as error:  # the latter where brackets nest too deeply
        raise ConfigError(f"{path} is not valid TOML: {error!s:.200}") from None
    texts = values.pop("texts", [])
    named = [*texts, values.get("init_from", "")] if isinstance(texts, list) else [None]
    if not all(isinstance(name, str) for name in named):
        raise ConfigError(f"texts in {path} must be a list of strings, and init_from a string")
    return values, texts


def to_toml(config: Config, texts: Sequence[str] = (), init_from: str = "") -> str:
    """Write the texts, the model started from, and every option that has a value, one a line, for `read_toml`.

    Raises:
        ConfigError: The name of a text or of the model is not UTF-8, which TOML cannot hold.
    """
    for text in (*texts, init_from):
        if not text.isprintable() and any(0xD800 <= ord(character) < 0xE000 for character in text):
            raise ConfigError(f"the name of the file {text!a} is not UTF-8; rename the file, or pipe a text in as -")
    beside = {"texts": list(texts), **({"init_from": init_from} if init_from else {})}
    values = {**beside, **config.model_dump(exclude_none=True, mode="json")}
    # A JSON string is a TOML basic string, and so with numbers, booleans and lists; but DEL must be escaped.
    lines = [
        f"{name} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f") for name, value in values.items()
    ]
    return "\n".join(["# Repeat this run: nextchar train --config THIS_FILE -o ELSEWHERE", *lines]) + "\n"
