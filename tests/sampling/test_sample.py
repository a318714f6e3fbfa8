import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import make_model
from nextchar.architecture import WeightKind
from nextchar.errors import ConfigError, UnknownCharacterError
from nextchar.language_model import LanguageModel
from nextchar.sampling.compiled import CompiledNetwork
from nextchar.sampling.engine import Engine
from nextchar.sampling.generation import Generator, Sample, overlap
from nextchar.sampling.options import SampleOptions, SamplingParams
from nextchar.sampling.sample import sample, stream
from nextchar.storage import ModelFile, save, to_file
from nextchar.text.vocabulary import Vocabulary

LETTERS = make_model(Vocabulary("characters", tuple(map(ord, "\nabcdeé☃"))))
BYTES = make_model(Vocabulary("bytes", tuple(range(0x60, 0x100))))
BOTH = pytest.mark.parametrize("lm", [LETTERS, BYTES], ids=["characters", "bytes"])


def _options(length: int = 120, **options: object) -> SampleOptions:
    return SampleOptions(length=length, **options)  # type: ignore[arg-type]


def _alone(generator: Generator, prompt: str, index: int) -> Sample:
    """Return text number `index`, generated without the others."""
    return [each for each, _ in generator._one(generator._prefill(prompt), index)][-1].sample()


def _one(lm: LanguageModel = LETTERS, prompt: str = "", **options: object) -> Sample:
    return sample(lm, prompt, _options(**options))


@BOTH
def test_the_same_seed_gives_the_same_text(lm: LanguageModel) -> None:
    """A seed decides the text, from the model in memory and from its file alike; another seed gives another."""
    assert _one(lm, seed=3) == _one(lm, seed=3) == sample(to_file(lm), "", _options(seed=3))
    assert _one(lm, seed=3).text != _one(lm, seed=4).text


def test_a_text_does_not_depend_on_the_others() -> None:
    """Text k depends on neither the count nor the texts before it, and differs from its neighbours."""
    together = sample(LETTERS, "ab", _options(seed=3), count=4)
    assert sample(LETTERS, "ab", _options(seed=3), count=2) == together[:2]
    for index in (3, 1):
        assert _alone(Generator(LETTERS, _options(seed=3)), "ab", index) == together[index]
    assert len({one.text for one in together}) == 4


@pytest.mark.parametrize("weights", ["fp32", "bf16", "int8"])
@pytest.mark.parametrize("processors", [1, 3])
def test_each_of_many_texts_is_what_it_is_alone(
    weights: WeightKind, processors: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text k of 70, in any number of threads, ending at stops at different times, is text k alone."""
    monkeypatch.setattr("nextchar.sampling.compiled.available_cores", lambda: processors)
    options = _options(9, seed=5, stop=("a", "db"), weights=weights)
    generator = Generator(LETTERS, options)
    together = [text.sample() for text in generator.generations("b", 70)]
    assert together == [_alone(generator, "b", index) for index in range(70)]
    assert len({one.chars for one in together}) > 5
    assert {one.finish_reason for one in together} == {"stop", "length"}


def test_a_caller_may_stop_before_the_last_text() -> None:
    """Closing the iterator early does not wait for the other texts, and leaves no thread behind."""
    texts = Generator(LETTERS, _options(100_000)).generations("", 3)
    texts.close()  # type: ignore[attr-defined]
    before = threading.active_count()
    texts = Generator(LETTERS, _options(10)).generations("", 200)
    assert next(texts).index == 0
    texts.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_an_error_in_a_thread_is_raised_in_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of one thread reaches the thread that takes the texts."""

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Generator, "_extend", fail)
    with pytest.raises(MemoryError):
        sample(LETTERS, "", _options(), count=3)


def test_other_weights_are_other_texts() -> None:
    """Rounded weights give other texts than fp32, with nearly the same nats."""
    long = {weights: _one(length=4000, weights=weights) for weights in ("fp32", "bf16", "int8")}
    assert len({one.text for one in long.values()}) == 3
    for one in long.values():
        assert one.nats_per_char == pytest.approx(long["fp32"].nats_per_char, abs=0.1)


def test_a_stop_with_unknown_characters_never_occurs() -> None:
    """A stop with an unknown character does not end a text, and neither do its known characters."""
    assert _one(seed=1, stop=("za", "az")) == _one(seed=1)


def test_text_k_does_not_repeat_another_seeds_text() -> None:
    """The second text of seed 0 is not the first text of seed 1."""
    assert sample(LETTERS, "", _options(seed=0), count=2)[1].text != _one(seed=1).text


def test_a_text_has_the_length_asked_for() -> None:
    """Without a stop, a text has `length` characters and the reason is "length"."""
    one = _one(length=77)
    assert (len(one.text), one.chars, one.finish_reason) == (77, 77, "length")


@BOTH
def test_the_length_may_be_zero(lm: LanguageModel) -> None:
    """Length 0 gives an empty text of 0 nats."""
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
    """The order in which stops are given does not matter."""
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


def test_a_stop_that_does_not_occur_changes_nothing() -> None:
    """Text, length and reason are as without it."""
    assert _one(seed=1, stop=("no such thing", "☃☃☃☃☃☃☃")) == _one(seed=1)


def test_what_is_held_back_is_returned_at_the_end() -> None:
    """A text that ends in the beginning of a stop is complete."""
    free = _one(seed=2).text
    pieces = list(Generator(LETTERS, _options(seed=2, stop=(free[-3:] + "X",))).pieces("", 0))
    assert b"".join(pieces).decode() == free
    assert pieces[-1].decode().endswith(free[-3:])


def test_no_piece_has_the_beginning_of_a_stop() -> None:
    """What could still become a stop is held back until it is known not to."""
    free = _one(seed=2).text
    stop = free[50:55]
    sent = b""
    for piece in Generator(LETTERS, _options(seed=2, stop=(stop,))).pieces("", 0):
        sent += piece
        assert free[: free.index(stop)].encode().startswith(sent)
    assert sent.decode() == free[: free.index(stop)]


@BOTH
def test_a_stream_joins_to_the_whole(lm: LanguageModel) -> None:
    """The streamed pieces are the whole text, also where its end cuts a character of a byte model."""
    for seed in range(8):
        options = _options(40, seed=seed)
        assert "".join(stream(lm, "", options)) == sample(lm, "", options).text


def test_a_byte_model_generates_raw_bytes() -> None:
    """Pieces are bytes of the model, counted as such, and what is not UTF-8 shows as U+FFFD."""
    whole = b"".join(Generator(BYTES, _options(200, seed=1)).pieces("", 0))
    assert len(whole) == 200
    assert min(whole) >= 0x60
    one = _one(BYTES, length=200, seed=1)
    assert one.text == whole.decode(errors="replace")
    assert "\ufffd" in one.text
    assert one.chars == 200


def test_the_first_character_comes_at_once() -> None:
    """The first piece of a stream is one character, and later ones are longer, so that fewer calls are needed."""
    sizes = [len(piece.decode()) for piece in Generator(LETTERS, _options(200)).pieces("", 0)]
    assert sizes[0] == 1
    assert max(sizes) > 10
    assert sum(sizes) == 200


@pytest.mark.parametrize(
    "params", [SamplingParams(), SamplingParams(temperature=0.5), SamplingParams(temperature=2, top_k=4)]
)
@pytest.mark.parametrize("stopped", [False, True])
def test_nats_per_char_is_that_of_the_model_over_the_text(params: SamplingParams, stopped: bool) -> None:
    """nats_per_char is the mean over the generated part of prompt and text, without the stop."""
    free = _one(prompt="abc", params=params).text
    one = _one(prompt="abc", params=params, stop=(free[-20:-10],) if stopped else ())
    assert (one.finish_reason == "stop") == stopped
    ids = LETTERS.vocabulary.encode("abc" + one.text)
    nats = CompiledNetwork(to_file(LETTERS)).read(ids)[0][3:]
    assert one.nats_per_char == pytest.approx(nats.mean(), abs=1e-9)


def test_the_prompt_is_read_and_not_repeated() -> None:
    """A text continues the prompt, which is not part of it."""
    greedy = SamplingParams(temperature=0)
    long = _one(length=30, params=greedy).text
    assert _one(prompt=long[:10], length=20, params=greedy).text == long[10:]


def test_an_unknown_character_of_the_prompt_is_refused_or_skipped() -> None:
    """An unknown character is an error that names it, at once in a stream too, unless it is to be skipped."""
    with pytest.raises(UnknownCharacterError, match=r"the prompt holds 1 character .*'z'"):
        _one(prompt="azb")
    with pytest.raises(UnknownCharacterError):
        stream(LETTERS, "azb")
    assert _one(prompt="azb", unknown="skip") == _one(prompt="ab")


def test_an_engine_packs_nothing_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls with an engine give the texts of calls with the model, and no call packs weights."""
    expected = [sample(LETTERS, "ab", _options(seed=3), count=count) for count in (1, 5)]
    engine = Engine(LETTERS)

    def fail(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr("nextchar.sampling.compiled.pack", fail)
    assert [sample(engine, "ab", _options(seed=3), count=count) for count in (1, 5)] == expected
    assert "".join(stream(engine, "ab", _options(seed=3))) == expected[0][0].text
    with pytest.raises(AssertionError):
        sample(LETTERS)


@pytest.mark.slow
def test_a_model_may_be_a_path_a_file_or_in_memory(tmp_path: Path) -> None:
    """All give the same text, alone and in an ensemble."""
    path = tmp_path / "model.safetensors"
    save(LETTERS, path)
    one = _one(seed=2)
    for model in (path, str(path), tmp_path, to_file(LETTERS), [path], Engine(path), Engine([LETTERS])):
        assert sample(model, "", _options(seed=2)) == one  # type: ignore[arg-type]
    assert sample([path, LETTERS], "") == sample(Engine([to_file(LETTERS), path]), "")


def test_an_engine_of_other_weights_is_refused() -> None:
    """Options that contradict the engine are an error; options that leave it open take what it has."""
    engine = Engine(LETTERS, "int8")
    assert sample(engine, "") == sample(LETTERS, "", SampleOptions(weights="int8"))
    with pytest.raises(ConfigError, match="the options ask for weights bf16, but the engine was made with int8"):
        sample(engine, "", SampleOptions(weights="bf16"))
    with pytest.raises(ConfigError, match="the options ask for device cuda, but the engine was made with cpu"):
        stream(engine, "", SampleOptions(device="cuda"))


def test_a_lone_surrogate_is_escaped() -> None:
    """A model trained on lone surrogates, which no encoding has, gives texts in which they are escaped."""
    lm = make_model(Vocabulary("characters", (ord("a"), 0xD800, 0x1F600)))
    one = _one(lm, prompt="a\ud800")
    assert one.chars == 120
    assert "\\ud800" in one.text
    assert "\U0001f600" in one.text
    assert one.text.encode().decode() == one.text == "".join(stream(lm, "a\ud800", _options()))


@given(text=st.text("ab☃", max_size=12), stop=st.text("ab☃", min_size=1, max_size=6))
def test_overlap_is_the_longest_beginning_that_ends_the_text(text: str, stop: str) -> None:
    """The overlap is the largest size below the stop's whose beginning ends the text, or 0."""
    sizes = [size for size in range(len(stop)) if text[len(text) - size :] == stop[:size]]
    assert overlap(text, stop) == max(size for size in sizes if size <= len(text))


def test_a_generator_can_be_used_again(model_file: ModelFile) -> None:
    """One generator gives the same text however many it generated before, counts included."""
    generator = Generator(model_file, _options(50))
    first = _alone(generator, "", 0)
    _alone(generator, "", 1)
    assert _alone(generator, "", 0) == first
    assert np.isfinite(first.nats_per_char)
