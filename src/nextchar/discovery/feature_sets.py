"""Sets of features: those of a kind of text by name, or the user's own from a TOML or Python file."""

import re
import tomllib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from runpy import run_path
from typing import Any

import numpy as np

from nextchar.errors import ConfigError, did_you_mean
from nextchar.features.feature import Feature, binary, ordinal
from nextchar.features.profiles import PROFILES, guess, ruled

Labeller = Callable[[str], Iterator[Feature]]
SPAN_FIELDS = {**dict.fromkeys(("opens", "closes", "resets", "opener", "closer"), str), "nests": bool, "limit": int}


def labeller(features: str, text: str) -> tuple[str, Labeller]:
    """Return the name of a set of features, and a function that makes them of any text.

    Args:
        features: "auto" (detected from the text), a profile of `profiles.PROFILES`, or the path of a .toml or .py file, whose
            features are added to those of "auto" and replace those of the same name.
        text: The text from which "auto" detects the profile.

    Raises:
        ConfigError: There is no such profile or file, or the file is not valid.
    """
    if features.endswith((".toml", ".py")):
        name, common = labeller("auto", text)
        mine = from_toml(Path(features)) if features.endswith(".toml") else from_python(Path(features))

        def both(given: str) -> Iterator[Feature]:
            own = list(mine(given))
            names = {feature.name for feature in own}
            yield from own
            yield from (feature for feature in common(given) if feature.name not in names)

        return f"{Path(features).name} and {name}", both
    name = guess(text) if features == "auto" else features
    if name not in PROFILES:
        hint = did_you_mean(name, PROFILES) or f"; there is auto, {', '.join(PROFILES)}, or a .toml or .py file"
        raise ConfigError(f"there are no features '{name}'{hint}")

    def all_of(given: str) -> Iterator[Feature]:
        for part in PROFILES[name]:
            yield from part(given)

    return name, all_of


def from_toml(path: Path) -> Labeller:
    """Read features from TOML: `name = 'regular expression'`, or a table with `opens` and `closes`.

    Raises:
        ConfigError: The file is missing or not valid; names the feature.
    """
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        raise ConfigError(f"there is no file {path} that could be read") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    for name, value in given.items():
        _check(path, name, value)

    return partial(ruled, given)


def _check(path: Path, name: str, value: Any) -> None:
    """Refuse what is neither a regular expression nor a table with the fields of a span, each of its type."""
    rule = {"opens": value, "closes": value} if isinstance(value, str) else value
    if not isinstance(rule, dict) or not {"opens", "closes"} <= set(rule) <= set(SPAN_FIELDS):
        raise ConfigError(f"{name} in {path} must be a regular expression, or a table with opens and closes")
    for key, given in rule.items():
        if type(given) is not SPAN_FIELDS[key]:
            raise ConfigError(
                f"{key} of {name} in {path} is {given!r}, but must be of type {SPAN_FIELDS[key].__name__}"
            )
        if key in ("opens", "closes", "resets"):
            try:
                re.compile(str(given), re.MULTILINE)
            except re.error as error:
                raise ConfigError(f"{name} in {path} is no regular expression: {error}") from None


def from_python(path: Path) -> Labeller:
    """Run a Python file and take its public functions, each of which returns one label per character of a text.

    Booleans make a binary feature, numbers an ordinal one.

    Raises:
        ConfigError: The file is missing, raises an error or defines no function; or a function raises an error, or does not
            return one label per character.
    """
    if not path.exists():
        raise ConfigError(f"there is no file {path}")
    functions = {
        name: value
        for name, value in _run(path, run_path, str(path)).items()
        if callable(value) and not name.startswith("_") and getattr(value, "__module__", "") == "<run_path>"
    }
    if not functions:
        raise ConfigError(f"{path} defines no function that could be a feature")

    def label(text: str) -> Iterator[Feature]:
        for name, function in functions.items():
            values = np.asarray(_run(path, function, text))
            if values.shape != (len(text),) or values.dtype.kind not in "biuf":
                raise ConfigError(
                    f"{name} in {path} returned {values.dtype} of shape {values.shape} for {len(text)} characters; "
                    "return one number, or true or false, for each"
                )
            yield binary(name, values) if values.dtype.kind == "b" else ordinal(name, values)

    return label


def _run(path: Path, code: Callable[[str], Any], argument: str) -> Any:
    """Call code of the user; an error in it becomes one sentence."""
    try:
        return code(argument)
    except Exception as error:
        raise ConfigError(f"{path} raised {type(error).__name__}: {error}") from error
