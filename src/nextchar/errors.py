"""Every error a user can cause, as one tree.

    NextcharError
    ├── ConfigError (ValueError)      an option, or a combination of options, that cannot be
    ├── TextError (ValueError)        a text that is missing, empty, too short or in another encoding
    │   └── UnknownCharacterError     characters a model has never seen
    ├── ModelFileError (ValueError)   a file that is damaged, foreign or from the future
    ├── DivergenceError (ArithmeticError)  training left the numbers
    └── MissingExtraError (ImportError)    an optional dependency is not installed

A message is one sentence: what is wrong, with which value, and what to do about it.
"""

from collections.abc import Iterable
from difflib import get_close_matches


class NextcharError(Exception):
    """The base of every error raised on purpose."""


class ConfigError(NextcharError, ValueError):
    """An option, or a combination of options, that cannot be."""


class TextError(NextcharError, ValueError):
    """A text that cannot be read or is too short for what is asked."""


class UnknownCharacterError(TextError):
    """Characters that a model has never seen."""


class ModelFileError(NextcharError, ValueError):
    """A model file or run folder that cannot be used."""


class DivergenceError(NextcharError, ArithmeticError):
    """Training left the finite numbers; the last good state is kept."""


class MissingExtraError(NextcharError, ImportError):
    """An optional dependency is not installed."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the nearest known word, or nothing."""
    close = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{close[0]}'?" if close else ""
