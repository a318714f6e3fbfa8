from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_model
from nextchar.evaluation.score import nats_of
from nextchar.sampling.engine import Engine
from nextchar.sampling.options import SampleOptions, SamplingParams
from nextchar.sampling.sample import sample
from nextchar.serving.prefixes import OVERHEAD, PrefixCache
from nextchar.serving.scheduler import QueueFullError, Scheduler, ShuttingDownError
from nextchar.serving.texts import Job, Piece, PromptRead, Request, Token
from nextchar.storage import to_file
from nextchar.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("characters", tuple(map(ord, "\n abcdeé☃")))
BYTES = Vocabulary("bytes", tuple(sorted((10, 32, 97, 98, *"é☃".encode()))))
LM = make_model(VOCABULARY)
ENGINES = {"characters": Engine(LM), "bytes": Engine(make_model(BYTES, 1))}


class Client:
    """Collects what a scheduler sends."""

    def __init__(self) -> None:
        self.prompt: PromptRead | None = None
        self.pieces: defaultdict[int, list[Piece]] = defaultdict(list)

    def __call__(self, event: PromptRead | Piece) -> None:
        """Take one event, and check that nothing follows a last piece."""
        if isinstance(event, PromptRead):
            assert self.prompt is None
            self.prompt = event
            return
        assert not self.pieces[event.index] or self.pieces[event.index][-1].finish_reason is None
        self.pieces[event.index].append(event)

    def text(self, index: int = 0) -> str:
        """Return a text as far as it has come."""
        return "".join(piece.text for piece in self.pieces[index])

    def tokens(self, index: int = 0) -> list[Token]:
        """Return the tokens of a text as far as it has come."""
        return [token for piece in self.pieces[index] for token in piece.tokens]

    def reason(self, index: int = 0) -> str | None:
        """Return why a text ended."""
        return self.pieces[index][-1].finish_reason if self.pieces[index] else None


class Clock:
    """A clock that advances a little at every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        """Return the time in seconds."""
        self.now += 0.001
        return self.now


def _scheduler(units: str = "characters", **options: int) -> Scheduler:
    return Scheduler(ENGINES[units], clock=Clock(), **options)


def _request(prompt: str = "", units: str = "characters", count: int = 1, **options: object) -> Request:
    names = ("alternatives", "score_prompt", "seconds")
    own = {name: options.pop(name) for name in names if name in options}
    ids = ENGINES[units].vocabulary.encode(prompt).astype(np.int64)
    return Request(ids=ids, options=SampleOptions(**options), count=count, **own)  # type: ignore[arg-type]


def _finish(scheduler: Scheduler) -> None:
    rounds = 0
    while scheduler.step():
        rounds += 1
        assert rounds < 10_000


PARAMS = st.builds(
    SamplingParams,
    st.sampled_from([0.0, 0.5, 1.0, 2.0]),
    st.integers(0, 5),
    st.sampled_from([1.0, 0.8]),
    st.sampled_from([0.0, 0.1]),
    st.sampled_from([1.0, 1.5]),
    st.sampled_from([0.0, 1.0]),
    st.sampled_from([0.0, 0.5]),
    st.sampled_from([(), ((1, 2.0), (3, -100.0))]),
)
ASKED = st.fixed_dictionaries(
    {
        "prompt": st.text("\n abé", max_size=20),
        "length": st.integers(0, 40),
        "params": PARAMS,
        "seed": st.integers(0, 10**6),
        "count": st.integers(1, 3),
        "stop": st.lists(st.text("\n abé☃x", min_size=1, max_size=3), max_size=3),
        "alternatives": st.sampled_from([None, None, 0, 2]),
        "score_prompt": st.booleans(),
    }
)
# After how many rounds a request comes, and after how many more its client leaves.
ARRIVALS = st.lists(st.tuples(st.integers(0, 20), st.one_of(st.none(), st.integers(0, 10)), ASKED), max_size=8)


@settings(max_examples=100)
@given(arrivals=ARRIVALS, streams=st.integers(1, 5), units=st.sampled_from(["characters", "bytes"]))
def test_a_text_is_that_of_sample_whatever_else_runs(
    arrivals: list[tuple[int, int | None, dict[str, object]]], streams: int, units: str
) -> None:
    """With other requests joining and leaving at any round, a request's texts are those of `sample` to the bit."""
    scheduler = _scheduler(units, streams=streams)
    clients: list[tuple[Client, Job, int | None, dict[str, object]]] = []
    for number in range(500):
        for when, leaves, asked in arrivals:
            if when == number:
                client = Client()
                job = scheduler.submit(_request(units=units, **asked), client)  # type: ignore[arg-type]
                clients.append((client, job, None if leaves is None else number + leaves, asked))
        for _, job, leaves, _ in clients:
            if leaves == number:
                scheduler.cancel(job)
        if not scheduler.step() and number > 20:
            break
    assert scheduler.unfinished == 0
    assert len(clients) == len(arrivals)
    for client, job, _, asked in clients:
        given = {name: asked[name] for name in ("length", "params", "seed", "stop")}
        expected = sample(ENGINES[units], str(asked["prompt"]), SampleOptions(**given), count=asked["count"])  # type: ignore[arg-type]
        for index, text in enumerate(expected):
            if job.cancelled and client.reason(index) is None:
                assert text.text.startswith(client.text(index))
                continue
            assert client.text(index) == text.text
            assert client.reason(index) == text.finish_reason
            assert client.pieces[index][-1].chars == text.chars
            assert client.pieces[index][-1].nats == pytest.approx(text.nats_per_char * text.chars, abs=1e-9)
            assert len(client.tokens(index)) == (0 if asked["alternatives"] is None else text.chars)


def test_tokens_are_those_of_the_model() -> None:
    """The prompt's and the text's probabilities are those of evaluation, and the alternatives are ordered."""
    scheduler, client = _scheduler(), Client()
    scheduler.submit(_request("abc é", length=30, alternatives=3, score_prompt=True, seed=4), client)
    _finish(scheduler)
    assert client.prompt
    tokens = client.prompt.tokens + client.tokens()
    ids = VOCABULARY.encode("abc é" + client.text())
    assert [token.id for token in tokens] == ids.tolist()
    (nats,) = nats_of(LM.network, ids, VOCABULARY.start)
    np.testing.assert_allclose([-token.logprob for token in tokens], nats, rtol=0, atol=1e-5)
    for token in tokens:
        assert len(token.top) == 3
        assert [*token.top.values()] == sorted(token.top.values(), reverse=True)
        assert token.logprob <= max(token.top.values())
        assert token.top.get(token.id, token.logprob) == token.logprob


def test_a_prompt_that_was_read_is_not_read_again() -> None:
    """The next keystroke costs one character, and a continued text none; the texts stay the same."""
    prompt = "abcde " * 200
    scheduler = _scheduler(streams=2)
    texts = {}
    for asked, cached in ((prompt, 0), (prompt + "a", 1200), (prompt, 1200), (prompt[:700], 512)):
        client = Client()
        scheduler.submit(_request(asked, length=20, seed=1), client)
        _finish(scheduler)
        assert client.prompt
        assert client.prompt.cached == cached
        texts[asked] = client.text()
        assert texts[asked] == sample(ENGINES["characters"], asked, length=20, seed=1).text
    client = Client()
    scheduler.submit(_request(prompt + texts[prompt], length=5), client)
    _finish(scheduler)
    assert client.prompt
    assert client.prompt.cached == 1220


def test_a_long_prompt_does_not_stall_the_others() -> None:
    """While a long prompt is read in slices, a text that began before continues in every round."""
    scheduler, writer, reader = _scheduler(), Client(), Client()
    scheduler.submit(_request(length=5000, alternatives=0), writer)
    scheduler.step()
    scheduler.submit(_request("abcd" * 200, length=1), reader)
    rounds, before = 0, len(writer.tokens())
    while reader.prompt is None:
        scheduler.step()
        assert len(writer.tokens()) > before
        rounds, before = rounds + 1, len(writer.tokens())
    assert rounds > 5
    assert writer.reason() is None


def test_a_client_that_leaves_frees_its_place_in_the_next_round() -> None:
    """Also while its prompt is read, and while it waits; the one that waited begins at once."""
    scheduler = _scheduler(streams=1)
    first, second, third = Client(), Client(), Client()
    jobs = [scheduler.submit(_request(length=4000), client) for client in (first, second)]
    scheduler.submit(_request(length=3, seed=9), third)
    scheduler.step()
    for job in jobs:
        scheduler.cancel(job)
    _finish(scheduler)
    assert third.text() == sample(ENGINES["characters"], length=3, seed=9).text
    assert second.pieces == {}
    assert scheduler.counts["cancelled"] == 2


def test_a_full_queue_refuses_at_once() -> None:
    """As many texts as there are streams and places in the queue are taken; the next is refused until one ends."""
    scheduler = _scheduler(streams=2, queue=3)
    scheduler.submit(_request(length=5, count=4), Client())
    job = scheduler.submit(_request(length=5), Client())
    with pytest.raises(QueueFullError, match="5 texts are drawn or wait, and the limit is 5"):
        scheduler.submit(_request(length=5), Client())
    scheduler.cancel(job)
    scheduler.step()
    scheduler.submit(_request(length=5), Client())
    _finish(scheduler)


def test_shutting_down_ends_texts_with_a_reason() -> None:
    """No request is taken any more; those that run may end within the time, the others are told why they end."""
    clock = Clock()
    scheduler = Scheduler(ENGINES["characters"], streams=1, clock=clock)
    short, long, waiting = Client(), Client(), Client()
    scheduler.submit(_request(length=2), short)
    scheduler.submit(_request(length=100_000), long)
    scheduler.submit(_request(length=2, count=2), waiting)
    scheduler.shut_down(3.0)
    with pytest.raises(ShuttingDownError):
        scheduler.submit(_request(), Client())
    for _ in range(3):
        scheduler.step()
    assert short.reason() == "length"
    assert long.reason() is None
    clock.now += 3
    assert not scheduler.step()
    assert [long.reason(), waiting.reason(0), waiting.reason(1)] == ["shutdown"] * 3
    scheduler.run()  # returns at once


def test_a_text_ends_when_its_time_is_over() -> None:
    """A limit in seconds ends a text between two rounds, with the reason length and a beginning of the text."""
    scheduler, client = _scheduler(), Client()
    scheduler.submit(_request(length=100_000, seed=2, seconds=0.02), client)
    _finish(scheduler)
    assert client.reason() == "length"
    assert 0 < len(client.text()) < 100_000
    assert sample(ENGINES["characters"], length=len(client.text()), seed=2).text == client.text()


def test_pieces_come_together_but_for_the_first() -> None:
    """The first characters come at once, then those of some time together."""
    scheduler, client = _scheduler(), Client()
    scheduler.submit(_request(length=3000), client)
    _finish(scheduler)
    sizes = [len(piece.text) for piece in client.pieces[0]]
    assert sizes[0] == 1
    assert len(sizes) < 3000 / 64


def test_a_failing_round_ends_its_requests_and_the_next_ones_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error in a round is logged, its texts end with the reason error, and later texts are right."""
    scheduler, failing, later = _scheduler(), Client(), Client()
    scheduler.submit(_request("abc", length=30), failing)
    with monkeypatch.context() as context:
        context.setattr(scheduler._texts, "generate", lambda *_: 1 / 0)
        scheduler.shut_down(1e9)
        scheduler.run()
    assert failing.reason() == "error"
    scheduler._closing = None
    scheduler.submit(_request("abc", length=30), later)
    _finish(scheduler)
    assert later.text() == sample(ENGINES["characters"], "abc", length=30).text


def test_the_cache_keeps_to_its_size() -> None:
    """States that were not used for longest are dropped; what is kept is found by exactly its ids."""
    state = (to_state(0),)
    size = OVERHEAD + sum(array.nbytes for array in state[0])
    cache = PrefixCache(3 * size)
    ids = np.arange(2000)
    for length in (10, 600, 1200):
        cache.put(ids[:length], (to_state(length),))
    assert cache.longest(ids[:11])[0] == 10
    cache.put(ids[:1999], (to_state(1999),))
    assert [cache.longest(ids[:length])[0] for length in (2000, 1998, 1199, 11, 9)] == [1999, 1200, 10, 10, 0]
    assert cache.longest(np.append(ids[:599], 7))[0] == 10
    found = cache.longest(ids)[1]
    assert found
    assert found[0].hidden[0, 0, 0, 0] == 1999


def to_state(number: int) -> object:
    """Return a state that can be told from others."""
    state = ENGINES["characters"].backend.networks[0].start  # type: ignore[union-attr]
    return state._replace(hidden=np.full_like(state.hidden, number))


def test_models_are_files_too() -> None:
    """An engine of a model file serves like that of a model."""
    scheduler, client = Scheduler(Engine(to_file(LM))), Client()
    scheduler.submit(_request("a", length=9), client)
    _finish(scheduler)
    assert client.text() == sample(LM, "a", length=9).text
