import asyncio
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from nextchar.evaluation.score import nats_of
from nextchar.sampling.options import SampleOptions, SamplingParams
from nextchar.sampling.sample import sample
from serving.service import BYTES, CHARACTERS, serving

openai = pytest.importorskip("openai")


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Return the address of a server."""
    with serving() as at:
        yield at


@pytest.fixture(scope="module")
def client(address: str) -> Iterator[Any]:
    """Return the official client, sync."""
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none") as made:
        yield made


def _text(prompt: str = "", count: int | None = None, model: Any = CHARACTERS, **options: Any) -> Any:
    """Return the text, or texts, that `sample` gives."""
    params = {name: options.pop(name) for name in [*options] if name in SamplingParams.__match_args__}
    made = sample(model, prompt, SampleOptions(params=SamplingParams(**params), **options), count=count)
    return made.text if count is None else [each.text for each in made]


def _ids(text: str) -> list[int]:
    return CHARACTERS.vocabulary.encode(text).tolist()


PAIRS = [2 * chr(97 + number) for number in range(16)]
# What is sent to /v1/completions, and the texts that must come back.
CALLS: list[tuple[dict[str, Any], Callable[[], list[str]]]] = [
    ({}, lambda: [_text(length=16, seed=1)]),
    ({"prompt": "abc"}, lambda: [_text("abc", length=16, seed=1)]),
    ({"prompt": ["abc", "d"]}, lambda: [_text("abc", length=16, seed=1), _text("d", length=16, seed=1)]),
    ({"prompt": _ids("abc")}, lambda: [_text("abc", length=16, seed=1)]),
    ({"prompt": [_ids("abc"), _ids("é")]}, lambda: [_text(each, length=16, seed=1) for each in ("abc", "é")]),
    ({"prompt": [len(CHARACTERS.vocabulary), *_ids("abc")]}, lambda: [_text("abc", length=16, seed=1)]),
    ({"max_tokens": 0}, lambda: [""]),
    ({"max_tokens": 100}, lambda: [_text(length=100, seed=1)]),
    ({"prompt": "abc", "n": 3}, lambda: _text("abc", 3, length=16, seed=1)),
    ({"temperature": 0}, lambda: [_text(length=16, temperature=0)]),
    ({"temperature": 0.3, "seed": 7}, lambda: [_text(length=16, temperature=0.3, seed=7)]),
    ({"top_p": 0.5}, lambda: [_text(length=16, top_p=0.5, seed=1)]),
    ({"presence_penalty": 2.0}, lambda: [_text(length=16, presence_penalty=2, seed=1)]),
    ({"frequency_penalty": 1.0}, lambda: [_text(length=16, frequency_penalty=1, seed=1)]),
    ({"logit_bias": {"3": -100}}, lambda: [_text(length=16, logit_bias={3: -100}, seed=1)]),
    ({"stop": "b"}, lambda: [_text(length=16, stop="b", seed=1)]),
    ({"stop": ["é\n", "cb", "x"], "max_tokens": 90}, lambda: [_text(length=90, stop=("é\n", "cb"), seed=1)]),
    ({"stop": PAIRS}, lambda: [_text(length=16, stop=PAIRS, seed=1)]),
    ({"prompt": "abc", "echo": True}, lambda: ["abc" + _text("abc", length=16, seed=1)]),
    ({"prompt": "abc", "echo": True, "max_tokens": 0}, lambda: ["abc"]),
    ({"extra_body": {"top_k": 3}}, lambda: [_text(length=16, top_k=3, seed=1)]),
    ({"extra_body": {"min_p": 0.3}}, lambda: [_text(length=16, min_p=0.3, seed=1)]),
    ({"extra_body": {"repetition_penalty": 3}}, lambda: [_text(length=16, repetition_penalty=3, seed=1)]),
    ({"extra_body": {"nonsense": {"a": [1]}, "guided_json": None}}, lambda: [_text(length=16, seed=1)]),
    ({"suffix": "", "user": "somebody"}, lambda: [_text(length=16, seed=1)]),
    ({"model": "bytes", "max_tokens": 60}, lambda: [_text(length=60, seed=1, model=BYTES)]),
    ({"model": "bytes", "prompt": "é", "stop": "é"}, lambda: [_text("é", length=16, stop="é", seed=1, model=BYTES)]),
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize(("asked", "expected"), CALLS, ids=[str(asked)[:60] for asked, _ in CALLS])
def test_a_completion_is_the_text_of_sample(
    client: Any, asked: dict[str, Any], expected: Callable[[], list[str]], stream: bool
) -> None:
    """Each option does what it does in `sample`, whole and streamed."""
    given = {"model": "letters", "prompt": "", "seed": 1, **asked}
    if not stream:
        reply = client.completions.create(**given)
        assert [choice.text for choice in reply.choices] == expected()
        assert [choice.index for choice in reply.choices] == list(range(len(reply.choices)))
        assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens
        return
    texts: dict[int, str] = {}
    reasons: dict[int, str] = {}
    usage = None
    for chunk in client.completions.create(**given, stream=True, stream_options={"include_usage": True}):
        usage = chunk.usage
        for choice in chunk.choices:
            assert choice.index not in reasons
            texts[choice.index] = texts.get(choice.index, "") + choice.text
            if choice.finish_reason:
                reasons[choice.index] = choice.finish_reason
    assert [texts[index] for index in sorted(texts)] == expected()
    assert {*reasons.values()} <= {"stop", "length"}
    assert usage.completion_tokens <= given.get("max_tokens", 16) * len(texts)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("starts", [False, True], ids=["text", "ids from START"])
def test_logprobs_are_those_of_the_model(client: Any, stream: bool, starts: bool) -> None:
    """With echo, every character of prompt and text has the probability of evaluation; its own is among the alternatives."""
    prompt: Any = [len(CHARACTERS.vocabulary), *_ids("abc")] if starts else "abc"
    given = {"model": "letters", "prompt": prompt, "max_tokens": 9, "seed": 3, "echo": True, "logprobs": 2}
    if stream:
        chunks = [chunk.choices[0] for chunk in client.completions.create(**given, stream=True)]
        assert all(len(chunk.logprobs.tokens) <= 1 for chunk in chunks[1:])
        text = "".join(chunk.text for chunk in chunks)
        names = ("tokens", "token_logprobs", "top_logprobs", "text_offset")
        table = [[value for chunk in chunks for value in getattr(chunk.logprobs, name)] for name in names]
    else:
        (choice,) = client.completions.create(**given).choices
        text, logprobs = choice.text, choice.logprobs
        table = [logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, logprobs.text_offset]
    tokens, own, tops, offsets = table
    assert "".join(tokens) == text
    assert [text[begin : begin + len(token)] for begin, token in zip(offsets, tokens, strict=True)] == tokens
    if starts:
        assert (tokens[0], own[0], tops[0]) == ("<START>", None, None)
    (nats,) = nats_of(CHARACTERS.network, CHARACTERS.vocabulary.encode(text[7 * starts :]), len(CHARACTERS.vocabulary))
    np.testing.assert_allclose([-each for each in own[starts:]], nats, rtol=0, atol=1e-5)
    for token, logprob, top in zip(tokens[starts:], own[starts:], tops[starts:], strict=True):
        assert top[token] == logprob
        assert len(top) in (2, 3)
        assert max(top.values()) >= logprob


def test_the_best_texts_come_first(client: Any) -> None:
    """Of best_of texts the n most likely per character are returned, and all are counted."""
    reply = client.completions.create(model="letters", prompt="ab", seed=1, max_tokens=12, n=2, best_of=5)
    texts = sample(CHARACTERS, "ab", length=12, seed=1, count=5)
    best = sorted(texts, key=lambda each: each.nats_per_char)[:2]
    assert [choice.text for choice in reply.choices] == [each.text for each in best]
    assert reply.usage.completion_tokens == 60


def test_the_models_are_listed(client: Any) -> None:
    """Both models have entries of their own; another one has none."""
    assert [model.id for model in client.models.list()] == ["letters", "bytes"]
    assert client.models.retrieve("bytes").owned_by == "nextchar"
    with pytest.raises(openai.NotFoundError, match="there is no model 'letter'; did you mean 'letters'"):
        client.models.retrieve("letter")


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_chat_is_continued_as_it_is(client: Any, stream: bool) -> None:
    """The contents, of strings or of parts, are joined by line ends."""
    messages = [
        {"role": "system", "content": "abc"},
        {"role": "user", "content": [{"type": "text", "text": "d"}, {"type": "text", "text": "e"}]},
    ]
    expected = _text("abc\nde", 2, length=20, seed=5, stop="é")
    given = {"model": "letters", "messages": messages, "max_tokens": 20, "seed": 5, "n": 2, "stop": "é"}
    if stream:
        texts, roles = ["", ""], []
        for chunk in client.chat.completions.create(**given, stream=True):
            (choice,) = chunk.choices
            roles += [choice.delta.role] * bool(choice.delta.role)
            texts[choice.index] += choice.delta.content or ""
        assert texts == expected
        assert roles == ["assistant", "assistant"]
    else:
        reply = client.chat.completions.create(**given)
        assert [choice.message.content for choice in reply.choices] == expected
        assert reply.object == "chat.completion"


def test_a_chat_has_logprobs(client: Any) -> None:
    """Every token has its bytes, and as many alternatives as were asked for."""
    messages = [{"role": "user", "content": "é"}]
    reply = client.chat.completions.create(
        model="bytes", messages=messages, max_completion_tokens=12, seed=5, logprobs=True, top_logprobs=3
    )
    (choice,) = reply.choices
    raw = bytes(byte for token in choice.logprobs.content for byte in token.bytes)
    assert raw.decode(errors="replace") == choice.message.content
    assert all(len(token.top_logprobs) == 3 for token in choice.logprobs.content)


def test_the_async_client_gets_the_same(address: str) -> None:
    """Twenty requests at the same time, streamed and whole, each get their text."""

    async def run() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none") as client:

            async def one(seed: int) -> str:
                given = {"model": "letters", "prompt": "ab", "max_tokens": 50, "seed": seed}
                if seed % 2:
                    return (await client.completions.create(**given)).choices[0].text
                return "".join(
                    [chunk.choices[0].text async for chunk in await client.completions.create(**given, stream=True)]
                )

            return await asyncio.gather(*map(one, range(20)))

    assert asyncio.run(run()) == [_text("ab", length=50, seed=seed) for seed in range(20)]


# What is wrong with a request, the status, and words of the sentence that says it.
WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"model": "none"}, 404, "there is no model 'none'; there is letters, bytes"),
    ({"prompt": "xyz"}, 400, "the prompt holds 3 characters .* that this model has never seen: 'x'"),
    ({"prompt": [99]}, 400, "the prompt has the id 99, but the ids of this model are 0 to 8, and 9"),
    ({"prompt": [1, 9]}, 400, "the prompt has the id 9"),
    ({"prompt": []}, 400, "prompt is an empty list"),
    ({"prompt": {"a": 1}}, 400, "prompt: "),
    ({"prompt": "a" * 300_000}, 400, "the prompt has 300000 characters, and the limit is 200000"),
    ({"suffix": "end"}, 400, "the model only continues texts; leave out suffix"),
    ({"temperature": -1}, 400, "temperature is -1, but must be 0 or more"),
    ({"top_p": 2}, 400, "top_p is 2, but must be above 0 and at most 1"),
    ({"presence_penalty": 3}, 400, "presence_penalty is 3, but must be from -2 to 2"),
    ({"logit_bias": {"77": 1}}, 400, "logit_bias has id 77, but this model's are 0 to 8"),
    ({"logit_bias": {"a": 1}}, 400, "logit_bias: "),
    ({"n": 0}, 400, "n is 0, but must be from 1 to 128"),
    ({"n": 500}, 400, "n is 500, but must be from 1 to 128"),
    ({"n": 3, "best_of": 2}, 400, "best_of is 2, but must be n .3. or more"),
    ({"best_of": 2, "stream": True}, 400, "and n in a stream"),
    ({"max_tokens": -1}, 400, "max_tokens is -1, but must be from 0 to 100000"),
    ({"max_tokens": 10**9}, 400, "max_tokens is 1000000000, but must be from 0 to 100000"),
    ({"stop": [str(number) for number in range(17)]}, 400, "stop: "),
    ({"logprobs": 9, "max_tokens": 90_000, "n": 9}, 400, "a reply has at most 2000000 alternatives; ask for fewer"),
    ({"prompt": ["a"] * 200}, 400, "200 prompts of 1 texts are more than 128"),
]


@pytest.mark.parametrize(("asked", "status", "words"), WRONG, ids=[str(asked)[:50] for asked, _, _ in WRONG])
def test_a_mistake_gets_one_sentence(client: Any, asked: dict[str, Any], status: int, words: str) -> None:
    """The client raises its own exception, with a sentence that has the value."""
    given = {"model": "letters", "prompt": "", **asked}
    with pytest.raises(openai.APIStatusError, match=words) as raised:
        client.completions.create(**given)
    assert raised.value.status_code == status
    assert raised.value.body["type"] == "invalid_request_error"
    assert raised.value.request_id


def test_a_full_server_is_tried_again(address: str) -> None:
    """With one place taken, the client is told to wait, tries again, and succeeds when the place is free."""
    del address
    with serving(streams=1, queue=0) as at, openai.OpenAI(base_url=f"{at}/v1", api_key="none", max_retries=0) as client:
        taken = client.completions.create(model="letters", prompt="", max_tokens=100_000, stream=True)
        next(iter(taken))
        with pytest.raises(openai.RateLimitError, match="1 texts are drawn or wait, and the limit is 1") as raised:
            client.completions.create(model="letters", prompt="")
        assert raised.value.response.headers["retry-after"] == "1"
        patient = client.with_options(max_retries=5)
        assert patient.completions.create(model="bytes", prompt="", max_tokens=3).usage.completion_tokens == 3
        taken.close()
        assert patient.completions.create(model="letters", prompt="", max_tokens=3).usage.completion_tokens == 3


def test_a_prompt_is_cached(client: Any) -> None:
    """The usage tells how much of a prompt was not read again."""
    prompt = "abcde" * 50
    first = client.completions.create(model="letters", prompt=prompt + "\n", max_tokens=1)
    second = client.completions.create(model="letters", prompt=prompt + "\na", max_tokens=1)
    assert second.usage.prompt_tokens_details.cached_tokens in (251, 252)  # the text may have been an a
    assert first.system_fingerprint == second.system_fingerprint
    assert math.isfinite(first.created)


@pytest.mark.slow
def test_two_hundred_random_requests_beside_load_are_the_texts_of_sample(address: str) -> None:
    """Each with options of its own, 25 at a time, beside long texts that come and go; equal to the bit."""
    random = np.random.default_rng(0)
    asked = [
        {
            "prompt": "".join(random.choice([*"\n abcdeé☃"], random.integers(0, 60))),
            "max_tokens": int(random.integers(1, 120)),
            "seed": int(random.integers(0, 2**31)),
            "temperature": float(random.choice([0, 0.5, 1, 1.5])),
            "top_p": float(random.choice([1, 0.9])),
            "frequency_penalty": float(random.choice([0, 0, 0.5])),
            "stop": [None, "ab", ["☃", "cc"]][random.integers(0, 3)],
        }
        for _ in range(200)
    ]

    async def run() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as client:
            done = asyncio.Event()
            places = asyncio.Semaphore(25)

            async def load(seed: int) -> None:
                while not done.is_set():
                    long = await client.completions.create(
                        model="letters", prompt="abc" * seed, max_tokens=20_000, seed=seed, stream=True
                    )
                    async for _ in long:
                        if done.is_set():
                            break
                    await long.close()

            async def one(given: dict[str, Any]) -> str:
                async with places:
                    reply = await client.completions.create(model="letters", **given)
                    return reply.choices[0].text

            loads = [asyncio.create_task(load(seed)) for seed in range(5)]
            texts = await asyncio.gather(*map(one, asked))
            done.set()
            await asyncio.gather(*loads)
            return texts

    expected = []
    for given in asked:
        options = {name: given[name] for name in ("temperature", "top_p", "frequency_penalty", "seed")}
        stop = given["stop"] or ()
        expected.append(_text(given["prompt"], length=given["max_tokens"], stop=stop, **options))
    assert asyncio.run(run()) == expected
