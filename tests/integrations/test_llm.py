from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from conftest import make_model
from nextchar.sampling.sample import sample
from nextchar.storage import save
from nextchar.text.vocabulary import Vocabulary

pytest.importorskip("llm")

LM = make_model(Vocabulary("characters", tuple(map(ord, "\n abcdeé☃"))))


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return the only model that the plugin registers."""
    from nextchar.integrations import llm as plugin

    (tmp_path / "small").mkdir()
    save(LM, tmp_path / "small" / "model.safetensors")
    monkeypatch.setenv("NEXTCHAR_RUNS", str(tmp_path))
    found: list[Any] = []
    register: Callable[[Any], None] = found.append
    plugin.register_models(register)
    (only,) = found
    return only


def test_a_run_continues_a_prompt(model: Any) -> None:
    """The text is that of `sample` for the same options, in pieces and whole."""
    assert model.model_id == "nextchar/small"
    options = {"length": 60, "temperature": 0.7, "seed": 3, "stop": "☃☃"}
    expected = sample(LM, "abc", **options).text
    assert model.prompt("abc", **options).text() == expected
    pieces = list(model.prompt("abc", **options))
    assert "".join(pieces) == expected
    assert len(pieces) > 1


def test_a_conversation_is_one_text(model: Any) -> None:
    """What came before, and the new prompt, are joined by line ends."""
    talk = model.conversation()
    first = talk.prompt("ab", length=9, seed=1).text()
    second = talk.prompt("c", length=9, seed=1).text()
    assert second == sample(LM, f"ab\n{first}\nc", length=9, seed=1).text


def test_the_entry_point_is_this_plugin() -> None:
    """What pyproject.toml names can be imported."""
    assert EntryPoint("nextchar", "nextchar.integrations.llm", "llm").load().register_models
