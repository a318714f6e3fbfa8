"""Python refuses what the command line refuses: each mistake is one sentence with the value, before any work is done."""

from collections.abc import Callable
from pathlib import Path

import pytest

import nextchar
from conftest import make_model
from nextchar.errors import NextcharError
from nextchar.evaluation.options import EvaluationOptions
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Vocabulary
from nextchar.training.run import Run

LM = make_model(Vocabulary("characters", tuple(map(ord, "\n abcde"))))
CORPUS = Corpus.from_text("abcde" * 100)

MISTAKES: dict[str, Callable[[], object]] = {
    "units is 'x', but must be 'characters' or 'bytes'": lambda: nextchar.Config(units="x"),  # type: ignore[arg-type]
    "hidden is 1.5, but must be a valid integer": lambda: nextchar.Config(hidden=1.5),  # type: ignore[arg-type]
    "suffix is 5, but must be a valid tuple": lambda: nextchar.Config(suffix=5),  # type: ignore[arg-type]
    "unknown option 'hiden'; did you mean 'hidden'?": lambda: nextchar.Config(hiden=5),  # type: ignore[call-arg]
    "layers is 0, but must be greater": lambda: nextchar.Config(layers=0),
    "config must be a Config, but dict was given": lambda: nextchar.train(CORPUS, {"hidden": 3}),  # type: ignore[arg-type]
    "minutes is 'two', but": lambda: nextchar.train(CORPUS, minutes="two"),  # type: ignore[arg-type]
    "shifts is 100.5, but must be a whole number": lambda: nextchar.Search(shifts=100.5),  # type: ignore[arg-type]
    "shifts is 'x', but must be a whole number": lambda: nextchar.Search(shifts="x"),  # type: ignore[arg-type]
    "shifts is 98, but must be 99 or more": lambda: nextchar.Search(shifts=98),
    "least_positives is 0, but must be 1 or more": lambda: nextchar.Search(least_positives=0),
    "causal is 'no', but must be a bool": lambda: nextchar.Search(causal="no"),  # type: ignore[arg-type]
    "search must be a Search, but dict was given": lambda: nextchar.discover(LM, "a" * 9000, search={"shifts": 99}),  # type: ignore[arg-type]
    "features must be a str, but int was given": lambda: nextchar.discover(LM, "a" * 9000, 5),  # type: ignore[arg-type]
    "learning_rate is 'x', but must be a float": lambda: nextchar.Adaptation("x", 0.1),  # type: ignore[arg-type]
    "segment is 2.5, but must be a whole number": lambda: nextchar.Adaptation(0.1, 0.1, segment=2.5),  # type: ignore[arg-type]
    "length is 2.5, but must be a whole number": lambda: nextchar.SampleOptions(length=2.5),  # type: ignore[arg-type]
    "a stop string must be a str, but int was given": lambda: nextchar.SampleOptions(stop=5),  # type: ignore[arg-type]
    "params must be a SamplingParams": lambda: nextchar.SampleOptions(params=0.8),  # type: ignore[arg-type]
    "weights is 'x', but must be one of fp32": lambda: nextchar.SampleOptions(weights="x"),  # type: ignore[arg-type]
    "options must be a SampleOptions": lambda: nextchar.sample(LM, "a", {"length": 3}),  # type: ignore[call-overload]
    "neurons are given as LAYER:UNIT,... such as 0:3,1:17, not (0, 3)": lambda: LM.inspect("ab", neurons=(0, 3)),  # type: ignore[arg-type]
    "not 'x'": lambda: LM.inspect("ab", neurons="x"),
    "the number of characters is 2.5, but": lambda: LM.inspect("ab", chars=2.5),  # type: ignore[arg-type]
    "device is 'gpu', but must be one of": lambda: LM.sample(device="gpu"),
    "a text is a str or bytes, but int was given": lambda: LM.sample(5),  # type: ignore[call-overload]
    "a model is a LanguageModel, a ModelFile or a path": lambda: nextchar.sample(None),  # type: ignore[call-overload]
    "protocol is 'x', but must be one of": lambda: EvaluationOptions(protocol="x"),  # type: ignore[arg-type]
    "window is 2.5, but must be": lambda: EvaluationOptions(window=2.5),  # type: ignore[arg-type]
    "the window is 2.5": lambda: LM.score("ab", protocol="windows", window=2.5),  # type: ignore[arg-type]
    "the window is 0, but must be 1 or more": lambda: LM.score("ab", window=0),
    "protocol is 'windws', but must be one of": lambda: LM.score("ab", protocol="windws"),  # type: ignore[arg-type]
    "unknown is 'x', but must be one of error, skip": lambda: LM.score("ab", unknown="x"),  # type: ignore[arg-type]
    "the order of the n-grams is 2.5": lambda: nextchar.NGram(CORPUS.take(0, 99), 5, order=2.5),  # type: ignore[arg-type]
    "the part is 'x', but must be one of": lambda: CORPUS.part("x", 0.1, 0.1),
    "there is no text encoding named '5'": lambda: nextchar.open_corpus(__file__, encoding=5),  # type: ignore[arg-type]
    "units is 'x', but must be one of": lambda: nextchar.open_corpus(__file__, units="x"),  # type: ignore[arg-type]
    "a text is named by a str or a path, but int": lambda: nextchar.open_corpus(5),  # type: ignore[arg-type]
    "a file is named by a str or a path, but int": lambda: nextchar.load(5),  # type: ignore[arg-type]
    "by a str or a path, but NoneType": lambda: Run.open(None),  # type: ignore[arg-type]
    "a layer is '0', but must be": lambda: nextchar.strip(LM, "abc", "0", 3),  # type: ignore[arg-type]
    "a unit is 1.5, but must be": lambda: nextchar.strip(LM, "abc", 0, 1.5),  # type: ignore[arg-type]
    "units must be a Mapping, but list was given": lambda: nextchar.trace(LM, "abc", units=[0]),  # type: ignore[arg-type]
    "lstm has no signal 'tanh'": lambda: nextchar.trace(LM, "abc", signals="tanh"),
    "places is 2.5, but must be": lambda: nextchar.reach(LM, "abc", places=2.5),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_is_one_sentence(words: str) -> None:
    """The error is nextchar's own, and says what is wrong, with which value."""
    with pytest.raises(NextcharError) as error:
        MISTAKES[words]()
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_one_is_as_good_as_a_list_of_one(tmp_path: Path, text_file: Path) -> None:
    """A str, a path or a number stands for a sequence of one, wherever several are possible."""
    assert nextchar.trace(LM, "abc", signals="h").values.keys() == {0, 1}
    assert nextchar.trace(LM, "abc", signals="h", units={0: 3}).units == {0: (3,)}
    assert nextchar.SampleOptions(stop="ab").stop == ("ab",)  # type: ignore[arg-type]
    assert nextchar.Config(suffix=".py").suffix == (".py",)
    one = nextchar.open_corpus(str(text_file))
    assert (one.key, len(one)) == (nextchar.open_corpus([text_file]).key, len(text_file.read_text(encoding="utf-8")))
    assert len(nextchar.open_corpus(tmp_path, suffixes=".txt")) == len(one)
