import threading

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_model
from nextchar.errors import ConfigError, UnknownCharacterError
from nextchar.kernels.packing import WeightKind
from nextchar.language_model import LanguageModel
from nextchar.sampling.engine import Engine, Filters
from nextchar.sampling.sample import Sample, SampleOptions, Writer, overlap, sample, stream
from nextchar.storage import ModelFile, to_file
from nextchar.text.vocabulary import Vocabulary

LETTERS = make_model(Vocabulary("characters", tuple(map(ord, "\nabcdeé☃"))))
BYTES = make_model(Vocabulary("bytes", tuple(range(0x60, 0x100))))
BOTH = pytest.mark.parametrize("lm", [LETTERS, BYTES], ids=["characters", "bytes"])


def _options(length: int = 120, **options: object) -> SampleOptions:
    return SampleOptions(length=length, **options)  # type: ignore[arg-type]


def _one(lm: LanguageModel = LETTERS, prompt: str = "", **options: object) -> Sample:
    return sample(lm, prompt, _options(**options))[0]


@BOTH
def test_the_same_seed_writes_the_same(lm: LanguageModel) -> None:
    """A seed decides the text, from the model in memory and from its file alike; another seed writes another."""
    assert _one(lm, seed=3) == _one(lm, seed=3) == sample(to_file(lm), "", _options(seed=3))[0]
    assert _one(lm, seed=3).text != _one(lm, seed=4).text


def test_a_text_is_the_same_in_any_company() -> None:
    """Text k depends on neither the count nor the texts before it, and differs from its neighbours."""
    together = sample(LETTERS, "ab", _options(seed=3), count=4)
    assert sample(LETTERS, "ab", _options(seed=3), count=2) == together[:2]
    for index in (3, 1):
        assert Writer(LETTERS, _options(seed=3)).whole("ab", index) == together[index]
    assert len({one.text for one in together}) == 4


@pytest.mark.parametrize("weights", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("processors", [1, 3])
def test_many_texts_are_each_what_they_are_alone(
    weights: WeightKind, processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text k of 70, written by any number of threads, ending at stops at different times, is text k written alone."""
    monkeypatch.setattr("nextchar.sampling.sample.cores", lambda: processors)
    options = _options(9, seed=5, stop=("a", "db"), weights=weights)
    writer = Writer(LETTERS, options)
    together = [text.sample() for text in writer.texts("b", 70)]
    assert together == [writer.whole("b", index) for index in range(70)]
    assert len({one.chars for one in together}) > 5
    assert {one.finish_reason for one in together} == {"stop", "length"}


def test_texts_may_be_left_before_the_last() -> None:
    """Who takes only some of many texts is not made to wait for the others, and no thread goes on."""
    texts = Writer(LETTERS, _options(100_000)).texts("", 3)
    texts.close()  # type: ignore[attr-defined]
    before = threading.active_count()
    texts = Writer(LETTERS, _options(10)).texts("", 200)
    assert next(texts).index == 0
    texts.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_an_error_in_a_thread_is_raised_where_the_texts_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong in one thread is not swallowed by it."""

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Writer, "_write", fail)
    with pytest.raises(MemoryError):
        sample(LETTERS, "", _options(), count=3)


def test_other_weights_are_other_texts() -> None:
    """Rounded weights write another text than the true ones, with much the same surprise."""
    long = {weights: _one(length=4000, weights=weights) for weights in ("fp32", "bf16", "int8")}
    assert len({one.text for one in long.values()}) == 3
    for one in long.values():
        assert one.nats_per_char == pytest.approx(long["fp32"].nats_per_char, abs=0.1)


def test_a_stop_that_the_model_cannot_write_never_comes() -> None:
    """A stop with an unknown character is no stop, and its known ones neither."""
    assert _one(seed=1, stop=("za", "az")) == _one(seed=1)


def test_text_k_does_not_repeat_another_seeds_text() -> None:
    """The second text of seed 0 is not the first text of seed 1."""
    assert sample(LETTERS, "", _options(seed=0), count=2)[1].text != _one(seed=1).text


def test_a_text_has_the_length_asked_for() -> None:
    """Without a stop, `length` characters come and the reason is "length"."""
    one = _one(length=77)
    assert (len(one.text), one.chars, one.finish_reason) == (77, 77, "length")


@BOTH
def test_nothing_may_be_asked_for(lm: LanguageModel) -> None:
    """Length 0 gives an empty text without surprise."""
    assert _one(lm, length=0) == Sample("", 0, "length", 0.0)
    assert "".join(stream(lm, "", _options(0))) == ""


def _expected(free: str, stops: tuple[str, ...]) -> tuple[str, str]:
    """Return where a text ends: as soon as any stop is complete, before the earliest that then is there."""
    for end in range(len(free) + 1):
        if begins := [free[:end].index(stop) for stop in stops if stop in free[:end]]:
            return free[: min(begins)], "stop"
    return free, "length"


@settings(max_examples=25)
@given(seed=st.integers(0, 5), data=st.data())
def test_a_text_ends_before_its_first_stop(seed: int, data: st.DataObject) -> None:
    """With any stops, the text is the free one up to the earliest, whole or streamed, and holds none of them."""
    free = _one(seed=seed).text
    begins = data.draw(st.lists(st.integers(0, 119), min_size=1, max_size=3))
    stops = tuple(free[begin : begin + data.draw(st.integers(1, 6))] for begin in begins)
    one = _one(seed=seed, stop=stops)
    assert (one.text, one.finish_reason) == _expected(free, stops)
    assert one.finish_reason == "stop"
    assert not any(stop in one.text for stop in stops)
    assert one.chars == len(one.text)
    assert "".join(stream(LETTERS, "", _options(seed=seed, stop=stops))) == one.text


def test_of_several_stops_the_earliest_wins() -> None:
    """The order in which stops are given has no say."""
    free = _one(seed=1).text
    late, early = free[60:68], free[30:38]
    assert _one(seed=1, stop=(late, early)) == _one(seed=1, stop=(early, late))
    assert _one(seed=1, stop=(late, early)).text == free[: free.index(early)]


def test_of_stops_that_end_together_the_one_that_begins_first_wins() -> None:
    """A stop that ends another does not leave the other's beginning in the text."""
    free = _one(seed=1).text
    inner, outer = free[33:38], free[30:38]
    assert _one(seed=1, stop=(inner, outer)) == _one(seed=1, stop=(outer, inner))
    assert _one(seed=1, stop=(inner, outer)).text == free[:30]


def test_a_stop_that_never_comes_changes_nothing() -> None:
    """A stop that does not come leaves text, length and reason as they were."""
    assert _one(seed=1, stop=("no such thing", "☃☃☃☃☃☃☃")) == _one(seed=1)


def test_what_was_held_back_is_let_go_at_the_end() -> None:
    """A text that ends in the beginning of a stop is written to its end."""
    free = _one(seed=2).text
    pieces = list(Writer(LETTERS, _options(seed=2, stop=(free[-3:] + "X",))).pieces("", 0))
    assert b"".join(pieces).decode() == free
    assert pieces[-1].decode().endswith(free[-3:])


def test_no_piece_gives_away_the_beginning_of_a_stop() -> None:
    """What could still become a stop is never written before it is known not to."""
    free = _one(seed=2).text
    stop = free[50:55]
    sent = b""
    for piece in Writer(LETTERS, _options(seed=2, stop=(stop,))).pieces("", 0):
        sent += piece
        assert free[: free.index(stop)].encode().startswith(sent)
    assert sent.decode() == free[: free.index(stop)]


@BOTH
def test_a_stream_joins_to_the_whole(lm: LanguageModel) -> None:
    """The streamed pieces are the whole text, also where its end cuts a character of a byte model."""
    for seed in range(8):
        options = _options(40, seed=seed)
        assert "".join(stream(lm, "", options)) == sample(lm, "", options)[0].text


def test_a_byte_model_writes_raw_bytes() -> None:
    """Pieces are bytes of the model, counted as such, and what is not UTF-8 shows as U+FFFD."""
    whole = b"".join(Writer(BYTES, _options(200, seed=1)).pieces("", 0))
    assert len(whole) == 200
    assert min(whole) >= 0x60
    one = _one(BYTES, length=200, seed=1)
    assert one.text == whole.decode(errors="replace")
    assert "\ufffd" in one.text
    assert one.chars == 200


def test_the_first_character_comes_at_once() -> None:
    """The first piece of a stream is one character, and later ones are longer, so that they cost less."""
    sizes = [len(piece.decode()) for piece in Writer(LETTERS, _options(200)).pieces("", 0)]
    assert sizes[0] == 1
    assert max(sizes) > 10
    assert sum(sizes) == 200


@pytest.mark.parametrize("filters", [Filters(), Filters(temperature=0.5), Filters(temperature=2, top_k=4)])
@pytest.mark.parametrize("stopped", [False, True])
def test_surprise_is_the_models_own_over_what_was_written(filters: Filters, stopped: bool) -> None:
    """nats_per_char is the engine's mean over the written part of prompt and text, a stop left out."""
    free = _one(prompt="abc", filters=filters).text
    one = _one(prompt="abc", filters=filters, stop=(free[-20:-10],) if stopped else ())
    assert (one.finish_reason == "stop") == stopped
    ids = LETTERS.vocabulary.encode("abc" + one.text)
    nats = Engine(to_file(LETTERS)).nats(ids)[3:]
    assert one.nats_per_char == pytest.approx(nats.mean(), abs=1e-9)


def test_the_prompt_is_read_and_not_repeated() -> None:
    """A prompt steers the text and is not part of it."""
    greedy = Filters(temperature=0)
    long = _one(length=30, filters=greedy).text
    assert _one(prompt=long[:10], length=20, filters=greedy).text == long[10:]


def test_an_unknown_character_of_the_prompt_is_refused_or_skipped() -> None:
    """An unknown character is an error that names it, at once in a stream too, unless it shall be left out."""
    with pytest.raises(UnknownCharacterError, match=r"the prompt holds 1 character .*'z'"):
        _one(prompt="azb")
    with pytest.raises(UnknownCharacterError):
        stream(LETTERS, "azb")
    assert _one(prompt="azb", unknown="skip") == _one(prompt="ab")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": -1}, "the length is -1"),
        ({"seed": -2}, "the seed is -2"),
        ({"stop": ("a", "")}, "a stop string is empty"),
    ],
)
def test_bad_options_are_refused(options: dict[str, object], message: str) -> None:
    """An option that cannot be raises an error that says which."""
    with pytest.raises(ConfigError, match=message):
        SampleOptions(**options)  # type: ignore[arg-type]


@given(text=st.text("ab☃", max_size=12), stop=st.text("ab☃", min_size=1, max_size=6))
def test_overlap_is_the_longest_beginning_that_ends_the_text(text: str, stop: str) -> None:
    """The overlap is the largest size below the stop's whose beginning ends the text, or 0."""
    sizes = [size for size in range(len(stop)) if text[len(text) - size :] == stop[:size]]
    assert overlap(text, stop) == max(size for size in sizes if size <= len(text))


def test_a_writer_forgets_the_text_before(model_file: ModelFile) -> None:
    """One writer writes a text the same however many it wrote before, counts included."""
    writer = Writer(model_file, _options(50))
    first = writer.whole("", 0)
    writer.whole("", 1)
    assert writer.whole("", 0) == first
    assert np.isfinite(first.nats_per_char)
