"""The exceptions that a user's input or files can cause, and the checks that several modules share.

    NextcharError
    ├── ConfigError (ValueError)           an option, or a combination of options, is invalid
    ├── TextError (ValueError)             a text is missing, empty, too short or in another encoding
    │   └── UnknownCharacterError          a text has characters that are not in the model's vocabulary
    ├── ModelFileError (ValueError)        a file is damaged, of another kind, or of a newer version
    ├── HubError                           the Hub cannot be used: the network, an address, or a right is missing
    ├── DivergenceError (ArithmeticError)  the training loss is no longer finite
    └── MissingExtraError (ImportError)    an optional dependency is not installed

A message is one sentence: what is wrong, with which value, and what to do about it.
"""

import math
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from numbers import Real
from operator import index
from types import UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

FIELDS: dict[object, type] = {float: Real, bool: bool, str: str}
"""What `check_fields` accepts for a declared type."""


class NextcharError(Exception):
    """The base class of every exception raised on purpose."""


class ConfigError(NextcharError, ValueError):
    """An option, or a combination of options, is invalid."""


class TextError(NextcharError, ValueError):
    """A text cannot be read, or is too short."""


class UnknownCharacterError(TextError):
    """A text has characters that are not in the model's vocabulary."""


class ModelFileError(NextcharError, ValueError):
    """A model file or run folder cannot be used."""


class HubError(NextcharError):
    """A model or a text on the Hub cannot be read or written."""


class DivergenceError(NextcharError, ArithmeticError):
    """The training loss is no longer finite; the last good state is saved."""


class MissingExtraError(NextcharError, ImportError):
    """An optional dependency is not installed."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the closest known word, or an empty string."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""


def check_options(given: Iterable[str], known: Mapping[str, object], where: str = "") -> None:
    """Check names of options, which Python does not check where a function collects keywords.

    Args:
        given: The names.
        known: All that there are; if the value of one is a `str`, it has other names of it, such as "lr adam-lr".
        where: Where they come from, for the message.

    Raises:
        ConfigError: One is unknown; names it and the nearest that is known.
    """
    for name in given:
        if name not in known:
            also = [each for each, others in known.items() if name.replace("_", "-") in str(others).split()]
            raise ConfigError(f"unknown option '{name}'{where}{did_you_mean(also[0] if also else name, known)}")


def as_integer(name: str, value: Any, bounds: str = "0 or more", least: float = 0) -> int:
    """Return an option as an int, which may be of any size.

    Raises:
        ConfigError: It is not a whole number, or less than `least`.
    """
    try:
        number = index(value)
    except TypeError:
        raise ConfigError(f"{name} is {value!r}, but must be a whole number, {bounds}") from None
    if number < least:
        raise ConfigError(f"{name} is {number}, but must be {bounds}")
    return number


def check_choice(name: str, value: object, literal: Any) -> None:
    """Check that a value is one of the choices of a `Literal` type, which Python does not check.

    Args:
        name: What the value is called, for the message.
        value: The value.
        literal: The type, such as `Literal["error", "skip"]`.

    Raises:
        ConfigError: It is not; names the choices.
    """
    choices = get_args(literal)
    if value not in choices:
        raise ConfigError(
            f"{name} is {value!r}, but must be one of {', '.join(choices)}{did_you_mean(str(value), choices)}"
        )


def check_fields(options: Any) -> None:
    """Check the numbers, switches, texts and choices of a dataclass by their declared types, which Python does not check.

    Raises:
        ConfigError: One is of another type.
    """
    for name, declared in get_type_hints(type(options)).items():
        value, several = getattr(options, name), get_origin(declared) is UnionType
        kind = get_args(declared)[0] if several else declared
        if several and value is None:
            continue
        if get_origin(kind) is Literal:
            check_choice(name, value, kind)
        elif kind is int:
            as_integer(name, value, "of any size", -math.inf)
        elif kind in FIELDS and not isinstance(value, FIELDS[kind]):
            raise ConfigError(f"{name} is {value!r}, but must be a {kind.__name__}")


def check_is(name: str, value: object, kind: type) -> None:
    """Check that a value is of a class; of a dict, for example, its fields would fail one by one.

    Raises:
        ConfigError: It is not.
    """
    if not isinstance(value, kind):
        raise ConfigError(f"{name} must be a {kind.__name__}, but {type(value).__name__} was given")


def check_types(values: Mapping[str, Any], kinds: Mapping[str, type], *needed: str, where: str = "") -> None:
    """Check values that were read from a file, by name.

    Args:
        values: The values.
        kinds: Types of those that are checked; a value that is missing or None has none.
        *needed: Those that must be there.
        where: Begins the message.

    Raises:
        ModelFileError: One has another type, or is a number beyond 64 bits or not finite; or one that is needed is missing.
    """
    for name, kind in kinds.items():
        value = values.get(name)
        large = isinstance(value, Real) and not -(2**63) <= value < 2**63  # type: ignore[operator]  # true for NaN, too
        if large or not isinstance(value, kind | None) or (value is None and name in needed):
            raise ModelFileError(f"{where}{name} is {value!r:.80}")
