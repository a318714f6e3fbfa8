"""Every option of training, declared once: flags, TOML, the model file's JSON and the docs table derive from here.

An option whose default is None is chosen by `training.budget` from the budget, the machine and the text.
"""

import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from nextchar.architecture import Architecture, Cell
from nextchar.errors import ConfigError, did_you_mean

T = TypeVar("T")
Fraction = Annotated[float, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1)]
Size = Annotated[int, Field(ge=1, le=16384)]
Natural = Annotated[int, Field(ge=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]

BUDGETS = ("minutes", "epochs", "steps")
DEFAULT_MINUTES = 5.0


def option(default: Any, group: str, help_: str) -> Any:
    """Declare an option: its default, the group it is shown in, and one sentence of help."""
    return Field(default, description=help_, json_schema_extra={"group": group})


class Config(BaseModel):
    """How much of the text to learn from, for how long and how."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    minutes: Positive | None = option(
        None, "Budget", "Minutes to train, kept within 10 %; a short text ends sooner. Default: 5."
    )
    epochs: Positive | None = option(None, "Budget", "Passes over the training part to make instead.")
    steps: Count | None = option(None, "Budget", "Optimizer steps to make instead; repeats a run exactly.")
    patience: Natural = option(
        0, "Budget", "Stop early after so many validations without a new best; 0 never does."
    )

    cell: Cell = option("lstm", "Model", "The recurrence.")
    layers: Annotated[int, Field(ge=1, le=64)] = option(2, "Model", "Recurrent layers.")
    hidden: Size | None = option(None, "Model", "Units of a layer. Default: chosen.")
    embedding: Annotated[int, Field(ge=0, le=16384)] = option(
        64, "Model", "Width of the embedding; 0 feeds one-hot vectors."
    )
    sum_outputs: bool = option(True, "Model", "Give the last linear map the sum of all layers' outputs.")
    dropout: Fraction | None = option(
        None, "Model", "Share of activations dropped between layers and before the head. Default: chosen."
    )
    recurrent_dropout: Fraction | None = option(
        None,
        "Model",
        "Share of hidden units that a layer does not see of itself for a window. Default: chosen.",
    )
    initialization: Literal["orthogonal", "uniform"] = option(
        "orthogonal", "Model", "Orthogonal recurrent weights, or everything from U(-0.08, 0.08)."
    )
    forget_bias: Finite = option(1.0, "Model", "What the LSTM's forget gate starts from.")

    lanes: Count | None = option(
        None, "Training", "Stretches of text read side by side (batch size). Default: chosen."
    )
    window: Count | None = option(
        None, "Training", "Characters a step learns through (sequence length). Default: chosen."
    )
    cold_start: Annotated[float, Field(ge=0, le=1)] = option(
        0.02, "Training", "Chance, per lane and step, to begin again from the empty state."
    )
    optimizer: Literal["cautious", "adamw", "rmsprop"] = option(
        "cautious",
        "Training",
        "Which optimizer; cautious is AdamW that moves no weight against its gradient.",
    )
    learning_rate: Positive | None = option(None, "Training", "Peak learning rate. Default: chosen.")
    head_rate: Positive = option(4.0, "Training", "Factor on the learning rate of the last linear map.")
    warmup: Natural = option(50, "Training", "Steps until the learning rate is at its peak.")
    hold: Annotated[float, Field(ge=0, le=1)] = option(
        0.3, "Training", "Share of the run at the peak, before the learning rate falls to zero; 1 never does."
    )
    fall: Literal["linear", "cosine"] = option("linear", "Training", "How the learning rate falls to zero.")
    decay: Annotated[float, Field(gt=0, le=1)] = option(
        1.0, "Training", "Factor on the learning rate per epoch, after --decay-after epochs."
    )
    decay_after: Natural = option(10, "Training", "Epochs before --decay begins.")
    beta1: Fraction = option(0.7, "Training", "AdamW's memory of the gradient.")
    beta2: Fraction = option(0.99, "Training", "Memory of the squared gradient, of AdamW and RMSProp.")
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = option(
        None, "Training", "Decoupled weight decay of AdamW. Default: chosen."
    )
    clip_norm: Annotated[float, Field(ge=0, allow_inf_nan=False)] = option(
        1.0, "Training", "Largest norm of the whole gradient; 0 for no limit."
    )
    clip_value: Annotated[float, Field(ge=0, allow_inf_nan=False)] = option(
        0.0, "Training", "Largest absolute value of one element of the gradient; 0 for no limit."
    )
    loss_sum: bool = option(
        False, "Training", "Sum the loss over the window's characters, as char-rnn did, instead of its mean."
    )
    calibrate: bool = option(
        True,
        "Training",
        "Divide the logits, at the end, by the temperature at which the validation part costs least.",
    )
    validate_every: Count | None = option(
        None, "Training", "Steps between validations; the best model is kept. Default: an eighth of the run."
    )
    validate_chars: Count | None = option(
        None,
        "Training",
        "Characters read each time, in stretches spread over the validation part. Default: chosen.",
    )

    units: Literal["characters", "bytes"] = option("characters", "Text", "What the model predicts next.")
    encoding: str = option("utf-8", "Text", "Encoding of the texts: any Python codec.")
    suffix: tuple[str, ...] = option((), "Text", "In folders, read only files that end so. May be repeated.")
    valid: Fraction = option(0.05, "Text", "Share of the text, before the test tail, kept for validation.")
    test: Fraction = option(0.05, "Text", "Share of the text, at its end, kept for the test.")

    seed: Annotated[int, Field(ge=0, lt=2**31)] = option(0, "Machine", "Everything random follows from it.")
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "Machine", "Where to train.")
    precision: Literal["auto", "fp32", "bf16"] = option("auto", "Machine", "Of the matrix products.")

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

    def architecture(self) -> Architecture:
        """Return the network's shape.

        Raises:
            ConfigError: The size is still to be chosen.
        """
        return Architecture(
            cell=self.cell,
            layers=self.layers,
            hidden=required(self.hidden, "hidden"),
            embedding=self.embedding,
            sum_outputs=self.sum_outputs,
        )

    def replace(self, **changes: object) -> "Config":
        """Return a copy with some options changed, validated again."""
        return make_config({**self.model_dump(exclude_none=True), **changes})


PRESETS: dict[str, dict[str, Any]] = {
    # The recipe of the 2015 post and its char-rnn: https://karpathy.github.io/2015/05/21/rnn-effectiveness/
    "karpathy2015": {
        "cell": "lstm",
        "layers": 2,
        "hidden": 128,
        "embedding": 0,
        "sum_outputs": False,
        "dropout": 0.0,
        "recurrent_dropout": 0.0,
        "lanes": 50,
        "window": 50,
        "cold_start": 0.0,
        "optimizer": "rmsprop",
        "learning_rate": 2e-3,
        "head_rate": 1.0,
        "beta2": 0.95,
        "warmup": 0,
        "hold": 1.0,
        "decay": 0.97,
        "decay_after": 10,
        "clip_norm": 0.0,
        "clip_value": 5.0,
        "loss_sum": True,
        "calibrate": False,
        "initialization": "uniform",
        "forget_bias": 1.0,
    },
}


def required(value: T | None, name: str) -> T:
    """Return a value that must have been chosen by now."""
    if value is None:
        raise ConfigError(f"{name} is not set; give it, or let `training.budget.plan` choose it")
    return value


def make_config(values: dict[str, Any], source: str = "") -> Config:
    """Validate values into a Config.

    Args:
        values: Options by name.
        source: Where they come from, for the message.

    Raises:
        ConfigError: An unknown name, a value of another type or outside its bounds; one sentence.
    """
    for name in values:
        if name not in Config.model_fields:
            hint = did_you_mean(name, Config.model_fields)
            raise ConfigError(f"unknown option '{name}'{' in ' + source if source else ''}{hint}")
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error) + (f" (in {source})" if source else "")) from None


def explain(error: ValidationError) -> str:
    """Put pydantic's first complaint into one sentence."""
    first = error.errors(include_url=False)[0]
    message = first["msg"].removeprefix("Value error, ")
    if not first["loc"]:
        return message
    name = str(first["loc"][0])
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
    for values, source in layers:
        make_config(values, source)
        if any(name in values for name in BUDGETS):
            for name in BUDGETS:
                merged.pop(name, None)
        merged.update(values)
    return make_config(merged), texts


def read_toml(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Read a TOML file: the options, with `init_from` where it names a model to start from, and the texts it names."""
    try:
        with path.open("rb") as file:
            values = tomllib.load(file)
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"there is no file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
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
            raise ConfigError(
                f"the name of the file {text!a} is not UTF-8; rename the file, or pipe a text in as -"
            )
    beside = {"texts": list(texts), **({"init_from": init_from} if init_from else {})}
    values = {**beside, **config.model_dump(exclude_none=True, mode="json")}
    # A JSON string is a TOML basic string, and so with numbers, booleans and lists; but DEL must be escaped.
    lines = [
        f"{name} = {json.dumps(value, ensure_ascii=False)}".replace("\x7f", "\\u007f")
        for name, value in values.items()
    ]
    return "\n".join(["# Repeat this run: nextchar train --config THIS_FILE -o ELSEWHERE", *lines]) + "\n"
