import pytest

from nextchar import errors
from nextchar.errors import NextcharError, UnknownCharacterError, did_you_mean


@pytest.mark.parametrize(
    ("name", "builtin"),
    [
        ("ConfigError", ValueError),
        ("TextError", ValueError),
        ("UnknownCharacterError", ValueError),
        ("ModelFileError", ValueError),
        ("DivergenceError", ArithmeticError),
        ("MissingExtraError", ImportError),
    ],
)
def test_every_error_is_ours_and_a_builtin(name: str, builtin: type[Exception]) -> None:
    """Errors can be caught as the package's own or as what Python calls them."""
    error = getattr(errors, name)
    assert issubclass(error, NextcharError)
    assert issubclass(error, builtin)


def test_unknown_characters_are_an_error_of_the_text() -> None:
    """An except clause for errors of the text also catches unknown characters."""
    assert issubclass(UnknownCharacterError, errors.TextError)


@pytest.mark.parametrize(
    ("word", "hint"), [("hiden", "; did you mean 'hidden'?"), ("xyz", ""), ("layer", "; did you mean 'layers'?")]
)
def test_the_nearest_word_is_suggested(word: str, hint: str) -> None:
    """A near miss is named, and nothing far-fetched."""
    assert did_you_mean(word, ["hidden", "layers"]) == hint
