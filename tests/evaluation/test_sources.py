"""Every verb takes a model, its file or its path, with the same result; options with fixed choices are checked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import nextchar
from nextchar.errors import ConfigError, ModelFileError
from nextchar.language_model import LanguageModel
from nextchar.storage import ModelSource, to_file, to_language_model, to_networks

Verb = Callable[[ModelSource, str], Any]

VERBS: dict[str, Verb] = {
    "evaluate": lambda model, text: nextchar.evaluate(model, text).nats_per_char,
    "evaluate several": lambda model, text: nextchar.evaluate([model, model], text).nats_per_char,
    "evaluate_dynamic": lambda model, text: (
        nextchar.evaluate_dynamic(
            model, text[:99], text, adaptation=nextchar.Adaptation(0.001, 0.001)
        ).dynamic.nats_per_char
    ),
    "trace": lambda model, text: nextchar.trace(model, text).surprisal.mean(),
    "strip": lambda model, text: nextchar.strip(model, text, 0, 1).values.mean(),
    "gates": lambda model, text: nextchar.gates(model, text)[0].left,
    "reach": lambda model, text: nextchar.reach(model, text, places=2, distance=20).loss,
    "inspect": lambda model, text: len(nextchar.inspect(model, text)),
}


@pytest.fixture
def sources(lm: LanguageModel, tmp_path: Path) -> list[ModelSource]:
    """Return one model in every form in which a verb takes it."""
    nextchar.save(lm, tmp_path / "model.safetensors")
    return [lm, to_file(lm), tmp_path / "model.safetensors", str(tmp_path / "model.safetensors"), tmp_path]


@pytest.mark.parametrize("verb", VERBS)
def test_a_model_is_taken_in_every_form(verb: str, sources: list[ModelSource], text: str) -> None:
    """A model, a model file, and the path of a file or a folder have the same result."""
    results = [VERBS[verb](source, text[:300]) for source in sources]
    np.testing.assert_allclose(results, results[0], rtol=1e-6)


@pytest.mark.parametrize("verb", VERBS)
def test_what_is_no_model_is_refused(verb: str, tmp_path: Path) -> None:
    """Another type, and a path without a model, have one sentence."""
    with pytest.raises(ModelFileError, match="a LanguageModel, a ModelFile or a path, but int was given"):
        VERBS[verb](7, "text")  # type: ignore[arg-type]
    with pytest.raises(ModelFileError, match="no model file"):
        VERBS[verb](tmp_path / "missing.safetensors", "text")


def test_a_model_stays_where_it_is(lm: LanguageModel) -> None:
    """A language model is not copied; one model and a list of models are told apart, a path among them."""
    assert to_language_model(lm) is lm
    assert to_networks(lm) == ([lm.network], lm.vocabulary)
    assert to_networks([lm, lm]) == ([lm.network] * 2, lm.vocabulary)
    file = to_file(lm)
    assert to_file(file) is file


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda lm: nextchar.evaluate(lm, "a", unknown="ignore"), "unknown is 'ignore', .* error, skip"),
        (lambda lm: nextchar.trace(lm, "a", unknown="ignore"), "unknown is 'ignore', .* error, skip"),
        (lambda lm: nextchar.evaluate(lm, "a", protocol="steam"), "protocol is 'steam', .* mean 'stream'"),
        (lambda lm: nextchar.evaluate_dynamic(lm, "a", "a", unknown=""), "unknown is '', .* error, skip"),
    ],
)
def test_choices_are_checked(lm: LanguageModel, call: Callable[[LanguageModel], object], message: str) -> None:
    """A value that is not among the choices is refused with the choices."""
    with pytest.raises(ConfigError, match=message):
        call(lm)
