"""The routes of the tab Look: neurons with names, and texts with the values of neurons."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from conftest import make_model
from nextchar.discovery.interventions import Edit, clamp, intervening
from nextchar.discovery.states import as_memory
from nextchar.inspection.naming import digest
from nextchar.inspection.trace import trace
from nextchar.language_model import LanguageModel
from nextchar.model.reading import Reader, shift
from nextchar.sampling.sample import sample
from nextchar.serving.neurons import CALLS
from nextchar.storage import save
from nextchar.text.vocabulary import Vocabulary
from serving.service import BYTES, CHARACTERS, serving

UNITS = ["0:3", "1:5"]
PROMPT = "abé ba☃\n"
LETTERS = Vocabulary("characters", tuple(map(ord, "\n abcdeé☃")))


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    """Return a client of a server."""
    with serving() as at, httpx.Client(base_url=at, timeout=60) as client:
        yield client


def look(http: httpx.Client, **asked: Any) -> dict[str, Any]:
    """Return the reply to a request for a text: the columns of all events, one after the other, and how it ended."""
    response = http.post("/api/neurons/text", json=asked)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, last, done = [line.removeprefix("data: ") for line in response.text.splitlines() if line]
    assert done == "[DONE]"
    whole: dict[str, Any] = {"letters": [], "logprobs": [], "values": {unit: [] for unit in asked.get("units", ())}}
    for event in map(json.loads, events):
        whole["letters"] += event["letters"]
        whole["logprobs"] += event["logprobs"]
        for unit, values in event["values"].items():
            whole["values"][unit] += values
    lengths = {len(column) for column in (whole["letters"], whole["logprobs"], *whole["values"].values())}
    assert len(lengths) == 1
    return {**whole, "text": "".join(whole["letters"]), **json.loads(last)}


def wait_for_names(http: httpx.Client, **query: str) -> dict[str, Any]:
    """Return the result of the search, when it is there."""
    until = time.monotonic() + 120
    while (found := http.get("/api/neurons", params=query).json())["state"] == "searching":
        assert found["seconds"] >= 0
        assert time.monotonic() < until
    return dict(found)


def traced(lm: LanguageModel, text: str) -> dict[str, Any]:
    """Return the values of the units as `trace` has them."""
    seen = trace(lm, text, units={0: [3], 1: [5]})
    return {"values": {unit: seen.of(*map(int, unit.split(":"))) for unit in UNITS}, "surprisal": seen.surprisal}


@pytest.mark.parametrize("options", [{}, {"temperature": 0.7, "top_k": 4}, {"min_p": 0.1, "frequency_penalty": 0.3}])
@pytest.mark.parametrize("prompt", ["", PROMPT])
def test_a_free_text_is_that_of_sample(http: httpx.Client, prompt: str, options: dict[str, Any]) -> None:
    """It is the same to the bit; its values are those of a trace of the whole text."""
    reply = look(http, prompt=prompt, max_tokens=150, seed=5, units=UNITS, **options)
    expected = sample(CHARACTERS, prompt, length=150, seed=5, **options)
    assert reply["text"] == expected.text
    assert reply["finish_reason"] == "length"
    np.testing.assert_allclose(reply["logprobs"], -expected.nats, atol=1e-6)
    whole = traced(CHARACTERS, prompt + expected.text)["values"]
    for unit in UNITS:
        np.testing.assert_allclose(reply["values"][unit], whole[unit][len(prompt) :], atol=1e-5)


def test_a_text_that_is_read_has_values_and_probabilities(http: httpx.Client) -> None:
    """They are those of a trace, also if some text stands before it."""
    text = PROMPT * 40
    expected = traced(CHARACTERS, text)
    for before in (0, 100):
        reply = look(http, prompt=text[:before], text=text[before:], units=UNITS)
        assert reply["text"] == text[before:]
        np.testing.assert_allclose(reply["logprobs"], -expected["surprisal"][before:], atol=1e-5)
        for unit in UNITS:
            np.testing.assert_allclose(reply["values"][unit], expected["values"][unit][before:], atol=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("weights", ["fp32", "int8"])
def test_every_cell_can_be_looked_at(cell: str, weights: Any) -> None:
    """States are carried over from packed weights; int8 is as precise as int8 is."""
    lm = make_model(LETTERS, 3, cell=cell, hidden=24)
    with serving(models={"one": lm}, weights=weights) as at, httpx.Client(base_url=at, timeout=60) as http:
        reply = look(http, prompt=PROMPT, max_tokens=40, seed=1, units=UNITS)
        expected = sample(lm, PROMPT, length=40, seed=1, weights=weights).text
        assert reply["text"] == expected
        whole = traced(lm, PROMPT + expected)["values"]
        for unit in UNITS:
            atol = 1e-5 if weights == "fp32" else 0.1
            np.testing.assert_allclose(reply["values"][unit], whole[unit][len(PROMPT) :], atol=atol)
        held = look(http, prompt=PROMPT, max_tokens=40, seed=1, units=UNITS, clamp={"unit": "1:5", "value": -0.8})
        np.testing.assert_allclose(held["values"]["1:5"], -0.8, atol=1e-6)


@pytest.mark.parametrize("prompt", ["", PROMPT])
@pytest.mark.parametrize("value", [-0.9, 0.0, 1.0])
def test_a_unit_is_held_while_text_is_generated(http: httpx.Client, prompt: str, value: float) -> None:
    """From the last character of the prompt on, the unit has its value, and the probabilities are those of a network so held."""
    asked = {"prompt": prompt, "max_tokens": 120, "seed": 5, "units": UNITS}
    free, held = look(http, **asked), look(http, **asked, clamp={"unit": "0:3", "value": value})
    np.testing.assert_allclose(held["values"]["0:3"], np.clip(value, -0.999, 0.999), atol=1e-6)
    assert len(held["letters"]) == 120
    assert held["text"] != free["text"]
    assert np.std(held["values"]["1:5"]) > 0.01
    memory = float(as_memory(np.array(value), "lstm"))
    edit = Edit(0, (3,), clamp(memory), steps=lambda step: step >= len(prompt))
    ids = CHARACTERS.vocabulary.encode(prompt + held["text"]).astype(np.int64)[:, None]
    reader = Reader(CHARACTERS.network, recurrence=lambda first: intervening([edit], layers=2, first_step=first))
    inputs, state = shift(ids, CHARACTERS.vocabulary.start), CHARACTERS.network.empty_state(1)
    nats = reader.surprisals(inputs, ids, state)[0][len(prompt) :, 0]
    np.testing.assert_allclose(held["logprobs"], -nats, atol=1e-5)


def test_a_stop_string_ends_both_kinds_of_text(http: httpx.Client) -> None:
    """What is generated ends before it, with as many values as characters."""
    for held in ({}, {"clamp": {"unit": "0:3", "value": 0.5}}):
        asked: dict[str, Any] = {"max_tokens": 400, "seed": 2, "units": UNITS, **held}
        stop = look(http, **asked)["text"][60:62]
        reply = look(http, **asked, stop=stop)
        assert reply["finish_reason"] == "stop"
        assert len(reply["text"]) <= 60
        assert stop not in reply["text"]


def test_a_byte_model_has_a_value_for_each_byte(http: httpx.Client) -> None:
    """A character comes with its last byte; the bytes before it have no text."""
    asked: dict[str, Any] = {"model": "bytes", "text": "é☃", "max_tokens": 200, "seed": 2, "units": ["0:1"]}
    expected = "é☃" + sample(BYTES, "é☃", length=200, seed=2).text
    reply = look(http, **asked)
    assert expected.removesuffix("�").startswith(reply["text"].removesuffix("�"))
    assert reply["letters"][:5] == ["", "é", "", "", "☃"]
    assert len(reply["letters"]) == 205
    assert len(look(http, **asked, clamp={"unit": "0:1", "value": 0.5})["letters"]) == 205


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"units": ["0:3", "7"]}, "a unit is LAYER:UNIT, both counted from 0, such as 0:3, and not '7'"),
        ({"units": ["0:8"]}, "there is no unit 0:8; the units of this model are 0:0 to 1:7"),
        ({"units": ["2:0"]}, "there is no unit 2:0"),
        ({"units": ["0:1"] * 17}, "units: List should have at most 16 items"),
        ({"clamp": {"unit": "0:3", "value": 1.5}}, "the value of the clamp is 1.5, but must be from -1 to 1"),
        ({"clamp": {"unit": "9:3", "value": 0}}, "there is no unit 9:3"),
        ({"clamp": {"unit": "0:3"}}, "clamp: Field required"),
        ({"prompt": "axb"}, "the prompt holds 1 character (in 1 place) that this model has never seen: 'x'"),
        ({"text": "a" * 20_001}, "the text has 20,001 characters, and 20,000 is the most"),
        ({"max_tokens": 1 << 20}, "max_tokens is 1048576, but must be from 0 to 100000"),
        ({"temperature": -1}, "temperature is -1, but must be 0 or more"),
        ({"model": "leters"}, "there is no model 'leters'; did you mean 'letters'?"),
    ],
)
def test_a_mistake_gets_one_sentence(http: httpx.Client, asked: dict[str, Any], said: str) -> None:
    """Errors have OpenAI's form, and come before the stream begins."""
    response = http.post("/api/neurons/text", json=asked)
    assert response.status_code in (400, 404)
    message = response.json()["error"]["message"]
    assert message.startswith(said)
    assert "\n" not in message


def test_nan_is_no_value(http: httpx.Client) -> None:
    """Not a number is refused, too."""
    content = b'{"clamp": {"unit": "0:3", "value": NaN}}'
    assert http.post("/api/neurons/text", content=content).status_code == 400


def test_a_model_that_is_served_no_longer_takes_no_memory() -> None:
    """When another one is looked at, what is known of it is dropped."""
    from nextchar.serving.models import Model, Models
    from nextchar.serving.neurons import Neurons

    models = Models({name: Model(name, CHARACTERS) for name in ("one", "two")})
    neurons = Neurons(models)
    kept = [neurons._of(name) for name in models.by_name]
    models.remove("one")
    assert neurons._of("two") is kept[1]
    models.put(Model("three", CHARACTERS))
    neurons._of("three")
    assert [*neurons._watched] == ["two", "three"]
    neurons.close()
    for model in models.by_name.values():
        model.close()


def test_the_routes_are_behind_the_guard() -> None:
    """They need the key, and no page of another site may use them."""
    with serving(api_key="secret") as at, httpx.Client(base_url=at) as http:
        assert http.get("/api/neurons").status_code == 401
        assert http.post("/api/neurons/text", json={}).status_code == 401
        assert http.get("/api/neurons", headers={"origin": "https://evil.example"}).status_code == 403


@pytest.mark.parametrize("held", [{}, {"clamp": {"unit": "0:3", "value": 0.5}}], ids=["free", "held"])
def test_a_client_that_leaves_makes_room(held: dict[str, Any]) -> None:
    """There is a limit of texts at a time; when clients leave in the middle, their work ends and others are answered."""
    asked, small = {"max_tokens": 100_000, "units": UNITS, **held}, {"text": "a"}
    with serving() as at, httpx.Client(base_url=at, timeout=60) as http:
        with ExitStack() as texts:
            replies = [texts.enter_context(http.stream("POST", "/api/neurons/text", json=asked)) for _ in range(CALLS)]
            lines = [reply.iter_lines() for reply in replies]  # a reply whose iterator is dropped is closed
            assert all("letters" in next(each) for each in lines)
            refused = http.post("/api/neurons/text", json=small)
            assert refused.status_code == 429
            assert refused.headers["retry-after"]
            assert "try again" in refused.json()["error"]["message"]
        until = time.monotonic() + 30
        while (response := http.post("/api/neurons/text", json=small)).status_code == 429:
            assert time.monotonic() < until
        assert '"letters":["a"]' in response.text


def test_other_requests_go_on_while_neurons_are_searched_for(http: httpx.Client) -> None:
    """The answer is "searching" at once; a completion is the same as ever; then there is a result."""
    found = http.get("/api/neurons", params={"model": "letters"}).json()
    assert (found["model"], found["layers"], found["hidden"], found["cell"]) == ("letters", 2, 8, "lstm")
    text = http.post("/v1/completions", json={"prompt": "ab", "max_tokens": 30, "seed": 1}).json()["choices"][0]["text"]
    assert text == sample(CHARACTERS, "ab", length=30, seed=1).text
    found = wait_for_names(http)
    assert found["state"] == "done"
    assert re.fullmatch(r"none found in 20,000 characters of text of its own in [\d.]+ s", found["message"])
    assert len(found["neurons"]) == 16
    assert all(-1 <= each["low"] < each["high"] <= 1 for each in found["neurons"])
    assert set(found["text"]) <= set("\n abcdeé☃")


@pytest.fixture
def folder(tmp_path: Path, lm: LanguageModel, text: str) -> Path:
    """Return a run folder with a model and the text that it was trained on."""
    save(lm, tmp_path / "model.safetensors")
    (tmp_path / "book.txt").write_text(text, encoding="utf-8", newline="")
    (tmp_path / "config.toml").write_text(f"texts = [{json.dumps(str(tmp_path / 'book.txt'))}]\n", encoding="utf-8")
    return tmp_path


def test_the_text_of_the_run_is_searched(folder: Path, text: str) -> None:
    """If it is still where the run found it, its beginning is read."""
    with serving(models={"run": folder}) as at, httpx.Client(base_url=at, timeout=60) as http:
        found = wait_for_names(http)
    assert "found in 20,000 characters of book.txt in" in found["message"]
    assert found["text"] in text
    assert 300 < len(found["text"]) <= 600
    assert found["text"].endswith("\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "claims.json holds no findings; give the folder that nextchar discover wrote; it was left out. "),
        (
            '{"model": {"sha256": "0"}, "findings": []}',
            "claims.json is about another model; run nextchar discover with",
        ),
        ("wrong score", "claims.json holds no findings; give the folder"),
        ("wrong unit", "claims.json holds no findings; give the folder"),
        ("good", "from claims.json of nextchar discover"),
    ],
)
def test_claims_name_the_neurons(folder: Path, lm: LanguageModel, content: str, said: str) -> None:
    """The findings of `nextchar discover` are shown if they are about this model; others are left out, with a sentence."""
    (folder / "found").mkdir()
    finding = {"unit": "1:5", "feature": "braces", "score": 0.97, "measure": "balanced accuracy"}
    changes: dict[str, Any] = {"wrong score": {"score": []}, "wrong unit": {"unit": "1:999"}, "good": {}}
    if content in changes:
        content = json.dumps({"model": {"sha256": digest(lm)}, "findings": [finding | changes[content]]})
    (folder / "found" / "claims.json").write_text(content, encoding="utf-8")
    with serving(models={"run": folder}) as at, httpx.Client(base_url=at, timeout=60) as http:
        found = wait_for_names(http)
    assert found["message"].startswith(said)
    assert "\n" not in found["message"]
    first = found["neurons"][0]
    named = (first["unit"], first.get("phrase"), first.get("score"), first.get("measure"))
    assert (named == ("1:5", "knows it is inside { }", 0.97, "balanced accuracy")) == said.startswith("from")
