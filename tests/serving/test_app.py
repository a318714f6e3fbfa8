import json
import math
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nextchar.sampling.sample import sample
from serving.service import BYTES, CHARACTERS, serving

ORIGIN = "http://localhost:5500"


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    """Return a client of a server."""
    with serving() as at, httpx.Client(base_url=at, timeout=30) as client:
        yield client


def _lines(response: httpx.Response) -> list[str]:
    """Return the data of the events of a stream."""
    assert response.headers["content-type"].startswith("text/event-stream")
    return [line.removeprefix("data: ") for line in response.text.splitlines() if line]


# Requests as the clients send them, recorded from their sources.
LLAMA_VIM = {
    "input_prefix": "abc\n",
    "input_suffix": "\nde\n",
    "input_extra": [{"filename": "a", "text": "b"}],
    "prompt": "ab",
    "n_predict": 128,
    "n_indent": 0,
    "top_k": 40,
    "top_p": 0.9,
    "samplers": ["top_k", "top_p", "infill"],
    "stream": False,
    "cache_prompt": True,
    "t_max_prompt_ms": 500,
    "t_max_predict_ms": 1000,
    "response_fields": [
        "content",
        "timings/prompt_n",
        "timings/prompt_ms",
        "timings/predicted_n",
        "truncated",
        "no/such",
    ],
}
CONTINUE = {
    "prompt": "abc",
    "stream": True,
    "n_predict": 40,
    "stop": ["☃☃"],
    "temperature": 0.5,
    "top_k": 4,
    "top_p": 0.95,
    "min_p": 0.05,
    "seed": 3,
}
MIKUPAD = {
    "model": "letters",
    "prompt": "abc",
    "max_tokens": 12,
    "stream": True,
    "logprobs": 10,
    "seed": 4,
    "temperature": 0.7,
    "dynatemp_range": 0,
    "dynatemp_exponent": 1,
    "repetition_penalty": 1.1,
    "repetition_penalty_range": 1024,
    "top_k": 0,
    "top_p": 1,
    "min_p": 0.05,
    "typical_p": 1,
    "tfs": 1,
    "mirostat_mode": 0,
    "xtc_threshold": 0.1,
    "dry_multiplier": 0,
    "ignore_eos": False,
    "stop": None,
    "sampler_order": ["a"],
    "banned_tokens": [],
}


def test_llama_vim_is_answered_in_its_form(http: httpx.Client) -> None:
    """The fields that it names come flat; there is no blank before the content, which it looks for in the raw text."""
    response = http.post("/infill", json=LLAMA_VIM)
    assert '"content":"' in response.text
    reply = response.json()
    assert {*reply} == {"content", "timings/prompt_n", "timings/prompt_ms", "timings/predicted_n", "truncated"}
    assert 0 < reply["timings/prompt_n"] <= len("abc\nab")  # the server may have read its beginning before
    assert reply["timings/predicted_n"] == len(reply["content"]) == 128
    warm = http.post("/infill", json={**LLAMA_VIM, "n_predict": 0, "response_fields": [""]}).json()
    assert warm == {}
    assert http.post("/infill", json={**LLAMA_VIM, "n_predict": 1}).json()["timings/prompt_n"] == 0


def test_the_time_of_a_prediction_is_kept(http: httpx.Client) -> None:
    """A text that may take 50 ms ends soon after, with what there is."""
    begun = time.monotonic()
    reply = http.post("/completion", json={"prompt": "a", "n_predict": -1, "t_max_predict_ms": 50, "seed": 2}).json()
    assert time.monotonic() - begun < 10
    assert reply["stop_type"] == "limit"
    assert 0 < reply["tokens_predicted"] < 100_000
    assert reply["content"] == sample(CHARACTERS, "a", length=reply["tokens_predicted"], seed=2).text


def test_continue_gets_events_of_content(http: httpx.Client) -> None:
    """The contents of all events are the text; the last one says stop, and nothing follows it."""
    *pieces, last = [json.loads(line) for line in _lines(http.post("/completion", json=CONTINUE))]
    assert [piece["stop"] for piece in pieces] == [False] * len(pieces)
    assert last["stop"] is True
    expected = sample(CHARACTERS, "abc", length=40, stop="☃☃", temperature=0.5, top_k=4, top_p=0.95, min_p=0.05, seed=3)
    assert "".join(piece["content"] for piece in (*pieces, last)) == expected.text


def test_n_probs_have_alternatives(http: httpx.Client) -> None:
    """Each character has its probability, and as many alternatives as were asked for."""
    reply = http.post("/completion", json={"prompt": "a", "n_predict": 6, "n_probs": 2}).json()
    shown = reply["completion_probabilities"]
    assert "".join(token["token"] for token in shown) == reply["content"]
    assert all(len(token["top_logprobs"]) == 2 and token["logprob"] <= 0 for token in shown)


def test_mikupad_gets_one_event_for_each_character(http: httpx.Client) -> None:
    """It reads the first alternative table of each event only, so that each event has one."""
    *chunks, end, done = _lines(http.post("/v1/completions", json=MIKUPAD, headers={"origin": ORIGIN}))
    assert done == "[DONE]"
    assert json.loads(end)["choices"][0]["finish_reason"] == "length"
    choices = [json.loads(chunk)["choices"][0] for chunk in chunks]
    assert [choice["text"] for choice in choices] == [choice["logprobs"]["tokens"][0] for choice in choices]
    assert all(len(choice["logprobs"]["top_logprobs"]) == 1 for choice in choices)
    assert len(choices) == 12
    error = http.post("/v1/completions", json={**MIKUPAD, "prompt": "xyz"}).json()
    assert "never seen: 'x'" in error["error"]["message"]
    assert "--unknown" not in error["error"]["message"]


@pytest.mark.parametrize("logprobs", [None, 1])
def test_a_byte_model_sends_whole_characters(http: httpx.Client, logprobs: int | None) -> None:
    """Every event is a text by itself: half a character waits for its other half."""
    asked = {"model": "bytes", "prompt": "", "max_tokens": 300, "seed": 2, "stream": True, "logprobs": logprobs}
    chunks = [json.loads(line)["choices"][0] for line in _lines(http.post("/v1/completions", json=asked))[:-1]]
    expected = sample(BYTES, "", length=300, seed=2).text
    assert "".join(chunk["text"] for chunk in chunks) == expected
    if logprobs:
        assert {chunk["text"] for chunk in chunks} >= {"é", ""}
        names = [name for chunk in chunks for name in chunk["logprobs"]["tokens"]]
        assert len(names) == 300
        assert "bytes:\\xc3" in names


def test_a_text_is_tokenized_and_back(http: httpx.Client) -> None:
    """The name of START, which is bos and eos, is one id; other texts are their characters."""
    info = http.get("/tokenizer_info").json()
    assert info["eos_token"] == info["bos_token"]
    assert http.post("/tokenize", json={"prompt": info["eos_token"]}).json()["tokens"] == [9]
    ids = http.post("/tokenize", json={"prompt": "abé☃", "add_special_tokens": False}).json()["tokens"]
    assert ids == CHARACTERS.vocabulary.encode("abé☃").tolist()
    assert http.post("/detokenize", json={"tokens": [9, *ids]}).json()["prompt"] == "<START>abé☃"
    unknown = http.post("/tokenize", json={"content": "axb"}).json()["tokens"]
    assert unknown == [2, 10, 3]
    message = http.post("/v1/completions", json={"prompt": unknown}).json()["error"]["message"]
    assert message.endswith("this id to characters that the model does not know")
    assert http.get("/tokenizer_info", params={"model": "bytes"}).json()["units"] == "bytes"


def test_health_metrics_and_index(http: httpx.Client) -> None:
    """The server says that it runs, what it has done, and what it can do."""
    http.post("/v1/completions", json={"prompt": "ab", "max_tokens": 5})
    assert http.get("/health").json() == {"status": "ok"}
    text = http.get("/metrics").text
    assert 'nextchar_texts_total{model="letters",reason="length"}' in text
    drawn = next(line for line in text.splitlines() if line.startswith('nextchar_generated_characters_total{model="l'))
    assert float(drawn.split()[-1]) >= 5
    assert "/v1/completions" in http.get("/").text


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        ("POST", "/v1/completions", b"{", 400),
        ("POST", "/v1/completions", b"", 400),
        ("POST", "/v1/completions", b"[1]", 400),
        ("POST", "/v1/completions", b'{"prompt": "\\ud800"}', 400),
        ("POST", "/v1/completions", b"\xff", 400),
        ("POST", "/v1/completions", b'{"temperature": NaN}', 400),
        ("POST", "/v1/completions", b"[" * 100_000, 400),
        ("POST", "/v1/completions", b" " * (5 << 20), 413),
        ("GET", "/v1/completions", b"", 405),
        ("POST", "/v1/nothing", b"{}", 404),
        ("GET", "/../../etc/passwd", b"", 404),
    ],
)
def test_what_is_no_request_gets_an_error(
    http: httpx.Client, method: str, path: str, content: bytes, status: int
) -> None:
    """The error is in OpenAI's form, and of the client's kind."""
    response = http.request(method, path, content=content)
    assert response.status_code == status
    assert response.json()["error"]["type"] == "invalid_request_error"
    assert response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "localhost:8080"}, 200),
        ({"host": "[::1]:8080"}, 200),
        ({"host": "evil.example"}, 403),
        ({"host": "127.0.0.1.evil.example"}, 403),
        ({"host": ""}, 403),
        ({"origin": ORIGIN}, 200),
        ({"origin": "https://127.0.0.1"}, 200),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "http://localhost.evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),
        ({"sec-fetch-site": "same-origin", "sec-fetch-mode": "cors"}, 200),
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "cors", "origin": ORIGIN}, 200),
        ({"origin": "http://evil.example", "host": "evil.example"}, 403),
    ],
)
def test_only_pages_of_this_machine_may_ask(http: httpx.Client, headers: dict[str, str], status: int) -> None:
    """A name that another site gives to this machine is refused, and so are other sites' pages."""
    response = http.get("/v1/models", headers=headers)
    assert response.status_code == status
    allowed = headers.get("origin") if status == 200 else None
    assert response.headers.get("access-control-allow-origin") == allowed


def test_a_browser_may_ask_before(http: httpx.Client) -> None:
    """The preflight of a page of this machine is answered; another's is refused."""
    asked = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
    response = http.options("/v1/completions", headers={"origin": ORIGIN, **asked})
    assert response.status_code == 204
    assert "authorization" in response.headers["access-control-allow-headers"]
    assert http.options("/v1/completions", headers={"origin": "https://evil.example", **asked}).status_code == 403


def test_a_key_is_asked_for() -> None:
    """Without the key nothing is generated; health and tokenization, which some clients ask without it, are open."""
    with serving(api_key="sécret") as at, httpx.Client(base_url=at) as http:
        for given in ({}, {"authorization": "Bearer wrong"}, {"authorization": ""}):
            response = http.post("/v1/completions", json={"prompt": ""}, headers=given)
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
        right = {"authorization": "Bearer sécret".encode()}
        assert http.post("/v1/completions", json={"prompt": ""}, headers=right).status_code == 200
        assert [http.get(path).status_code for path in ("/health", "/tokenizer_info", "/metrics")] == [200, 200, 401]


def _generating(http: httpx.Client) -> float:
    lines = http.get("/metrics").text.splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("nextchar_texts_running{"))


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_place(stream: bool) -> None:
    """The texts of a closed connection end, streamed or not."""
    with serving() as at, httpx.Client(base_url=at) as http:
        body = json.dumps({"prompt": "", "max_tokens": 100_000, "stream": stream, "n": 8}).encode()
        with socket.create_connection(httpx.URL(at).netloc.decode().split(":")) as connection:
            head = f"POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {len(body)}\r\n\r\n"
            connection.sendall(head.encode() + body)
            while not _generating(http):
                pass
        begun = time.monotonic()
        while _generating(http):
            assert time.monotonic() - begun < 20
        assert 'reason="cancelled"' in http.get("/metrics").text


def test_connections_that_send_nothing_stop_nobody(http: httpx.Client) -> None:
    """With many silent and half-sent requests open, another is answered."""
    place = (http.base_url.host, http.base_url.port)
    silent = [socket.create_connection(place) for _ in range(100)]
    try:
        for connection in silent[::2]:
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n{")
        assert http.post("/v1/completions", json={"prompt": "a", "max_tokens": 3}).status_code == 200
    finally:
        for connection in silent:
            connection.close()


def test_a_request_that_does_not_come_is_given_up() -> None:
    """A body that does not come in time gets an error."""
    from nextchar.serving.models import Limits

    with serving(limits=Limits(body_seconds=0.05)) as at:
        place = httpx.URL(at)
        with socket.create_connection((place.host, place.port)) as connection:
            connection.sendall(b"POST /v1/completions HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 100\r\n\r\n{")
            assert b"408" in connection.recv(1000)


ANY = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-3, 20), st.floats(), st.text(max_size=5), st.just("abc")),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner, max_size=3)),
    max_leaves=5,
)
OTHERS = ["model", "top_k", "top_p", "min_p", "stop", "seed", "best_of", "echo", "logprobs", "stream_options", "suffix"]
OTHERS += ["logit_bias", "n_probs", "presence_penalty", "frequency_penalty", "repetition_penalty", "top_logprobs"]
OTHERS += ["t_max_predict_ms", "response_fields", "input_prefix", "content"]
SENSIBLE = {
    "prompt": st.one_of(st.text("abc☃", max_size=9), st.lists(st.integers(-1, 10), max_size=4)),
    "max_tokens": st.integers(-1, 20),
    "n": st.integers(0, 4),
    "temperature": st.floats(0, 2),
    "messages": st.lists(st.fixed_dictionaries({"content": st.text("ab", max_size=4)}), max_size=2),
    "stream": st.booleans(),
    "n_predict": st.integers(0, 20),
    "tokens": st.lists(st.integers(-1, 10), max_size=4),
}
PATHS = ["/v1/completions", "/v1/chat/completions", "/completion", "/infill", "/tokenize", "/detokenize"]
FIELD = st.sampled_from([*OTHERS, *SENSIBLE]).flatmap(
    lambda name: st.tuples(st.just(name), SENSIBLE.get(name, ANY) | ANY)
)


@pytest.mark.slow
@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(path=st.sampled_from(PATHS), fields=st.lists(FIELD, max_size=8), length=st.integers(0, 9))
def test_no_request_breaks_the_server(
    http: httpx.Client, path: str, fields: list[tuple[str, Any]], length: int
) -> None:
    """Whatever the fields hold, the answer is a reply or an error of the client's, and every event is an object."""
    body = {"prompt": "a", "max_tokens": length, "n_predict": length, **dict(fields)}
    if isinstance(body["n_predict"], int) and body["n_predict"] < 0:
        body["n_predict"] = length
    content = json.dumps(body).encode()
    response = http.post(path, content=content)
    assert response.status_code < 500
    if response.status_code != 200:
        assert response.status_code in (400, 404)
        assert response.json()["error"]["message"]
    elif response.headers["content-type"].startswith("text/event-stream"):
        values = [json.loads(line) for line in _lines(response) if line != "[DONE]"]
        assert all(isinstance(value, dict) and "error" not in value for value in values)
        assert values
    else:
        assert not any(isinstance(value, float) and math.isnan(value) for value in response.json().values())


def test_events_are_sent_at_once() -> None:
    """A socket names its protocol, without which asyncio leaves it to wait 40 ms for each acknowledgement."""
    from nextchar.serving.run import listen

    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.proto == socket.IPPROTO_TCP


@pytest.mark.shell
def test_the_server_starts_without_torch() -> None:
    """What starts the server does not import torch, which takes seconds; only the search for neurons needs it."""
    names = "nextchar.serving.run, nextchar.serving.models, nextchar.serving.trainings, nextchar.cli.serve"
    code = f"import sys, {names}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
