"""What people type first in Python: methods of a language model, keywords, and what is said about a mistake."""

import typing
import webbrowser
from pathlib import Path

import pytest

import nextchar
from conftest import make_model
from nextchar import keywords
from nextchar.errors import ConfigError, NextcharError, TextError
from nextchar.language_model import LanguageModel
from nextchar.sampling.options import SampleOptions, SamplingParams
from nextchar.text.vocabulary import Vocabulary

LETTERS = make_model(Vocabulary("characters", tuple(map(ord, "\n <>abcdeé"))))


def test_methods_do_what_the_functions_do(tmp_path: Path) -> None:
    """Each method gives the result of its function, with the same options."""
    one = LETTERS.sample("ab", length=30, temperature=0.7, top_k=5, seed=3)
    options = SampleOptions(length=30, params=SamplingParams(0.7, 5), seed=3)
    assert one == nextchar.sample(LETTERS, "ab", options)
    assert "".join(LETTERS.stream("ab", length=30, temperature=0.7, top_k=5, seed=3)) == one.text
    assert LETTERS.sample("ab", count=2, length=30, temperature=0.7, top_k=5, seed=3)[0] == one
    assert LETTERS.score("abba", protocol="windows", window=2) == nextchar.evaluate(
        LETTERS, "abba", protocol="windows", window=2
    )
    page = LETTERS.inspect("abba", title="two letters")
    assert page == nextchar.inspect(LETTERS, "abba", title="two letters")
    LETTERS.save(tmp_path / "model.safetensors")
    again = nextchar.load(tmp_path / "model.safetensors")
    assert again.sample("ab", length=9) == LETTERS.sample("ab", length=9)


def test_functions_take_keywords_over_options() -> None:
    """A keyword wins over the same field of the options; all the others stay."""
    options = SampleOptions(length=20, params=SamplingParams(0.5, top_p=0.9), seed=7)
    expected = SampleOptions(length=20, params=SamplingParams(0.5, top_p=0.8), seed=8)
    assert nextchar.sample(LETTERS, "", options, seed=8, top_p=0.8) == nextchar.sample(LETTERS, "", expected)
    stopped = nextchar.sample(LETTERS, "", stop="a", length=2000)
    assert (stopped.finish_reason, "a" in stopped.text) == ("stop", False)


def test_a_path_is_enough(tmp_path: Path) -> None:
    """Every verb takes the path of a file or of a run folder, also with a tilde."""
    LETTERS.save(tmp_path / "run" / "model.safetensors")
    expected = LETTERS.sample("a", length=9)
    for place in (tmp_path / "run", str(tmp_path / "run"), tmp_path / "run" / "model.safetensors"):
        assert nextchar.sample(place, "a", length=9) == expected
        assert nextchar.load(place).sample("a", length=9) == expected


@pytest.mark.parametrize("verb", ["sample", "stream"])
def test_a_tilde_is_the_home_folder(verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is saved below ~ is found there."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    LETTERS.save("~/letters.safetensors")
    assert (tmp_path / "letters.safetensors").exists()
    found = getattr(nextchar, verb)("~/letters.safetensors", length=5)
    assert "".join(map(str, [found] if verb == "sample" else found)) == LETTERS.sample(length=5).text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: LETTERS.sample("a", temprature=1), "^unknown option 'temprature'; did you mean 'temperature'"),
        (lambda: LETTERS.stream("a", lenght=1), "^unknown option 'lenght'; did you mean 'length'"),
        (lambda: LETTERS.score("a", protocl="stream"), "^unknown option 'protocl'; did you mean 'protocol'"),
        (lambda: LETTERS.inspect("a", titel="x"), "^unknown option 'titel'; did you mean 'title'"),
        (lambda: nextchar.sample(LETTERS, "a", topk=3), "^unknown option 'topk'; did you mean 'top_k'"),
        (lambda: LETTERS.sample("a", max_new_tokens=3), "^unknown option 'max_new_tokens'; did you mean 'length'"),
        (lambda: LETTERS.sample("a", params=3), "^unknown option 'params'"),
        (lambda: nextchar.train("x", lr=3), "^unknown option 'lr'; did you mean 'learning_rate'"),
        (lambda: nextchar.train("x", rnn_size=3), "^unknown option 'rnn_size'; did you mean 'hidden'"),
        (lambda: nextchar.train("x", hiden=3), "^unknown option 'hiden'; did you mean 'hidden'"),
        (lambda: LETTERS.sample("a", length=2.5), r"^the length is 2\.5, but must be a whole number"),
        (lambda: LETTERS.sample("a", count=0), "^the count is 0, but must be 1 or more"),
    ],
)
def test_a_mistake_is_explained_in_one_sentence(call: typing.Callable[[], object], message: str) -> None:
    """A misspelt option names the nearest one, at once."""
    with pytest.raises(ConfigError, match=message) as error:
        call()
    assert "\n" not in str(error.value)


def test_a_model_is_not_saved_over_a_folder(tmp_path: Path) -> None:
    """A folder is named as what is in the way."""
    with pytest.raises(NextcharError, match="is a folder; name a file in it"):
        LETTERS.save(tmp_path)


def test_a_device_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """Loading names the devices that there are."""
    LETTERS.save(tmp_path / "a.safetensors")
    with pytest.raises(ConfigError, match=r"^the device is 'gpu', but this machine"):
        nextchar.load(tmp_path / "a.safetensors", "gpu")


@pytest.mark.parametrize("verb", ["score", "inspect"])
def test_the_name_of_a_file_is_not_read_as_a_text(verb: str, text_file: Path) -> None:
    """Its few characters would be scored without a word."""
    for name in (text_file, str(text_file)):
        with pytest.raises(TextError, match=r"is the name of a file; give its text, as in Path\('.*small\.txt'\)"):
            getattr(LETTERS, verb)(name)
    assert LETTERS.score("a\0b", unknown="skip").chars == 2


def test_keywords_are_the_declared_options() -> None:
    """The types of the keywords have every option, and take one str where several are possible."""
    assert keywords.TrainKeywords.__annotations__.keys() == nextchar.Config.model_fields.keys()
    hints = typing.get_type_hints(keywords.SampleKeywords)
    assert hints.keys() == {*SampleOptions.__dataclass_fields__, *SamplingParams.__dataclass_fields__} - {"params"}
    assert typing.get_args(hints["unknown"]) == ("error", "skip")
    assert str in typing.get_args(hints["stop"])
    for method, given in (("score", keywords.ScoreKeywords), ("sample", keywords.SampleKeywords)):
        (unpacked,) = typing.get_args(typing.get_type_hints(getattr(LanguageModel, method))["options"])
        assert unpacked is given


def test_a_page_is_shown_and_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A page is text; it opens in a browser as a file, and in a notebook as a frame in which nothing is left unescaped."""
    page = LETTERS.inspect("<a>")
    page.save(tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text(encoding="utf-8") == str(page)
    assert repr(page).startswith("<Page of ")
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: not opened.append(address))
    page.show()
    assert opened[0].startswith("file:")
    framed = page._repr_html_()
    assert framed.count("<") == framed.count(">") == 2
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    with pytest.raises(NextcharError, match=r"no browser opens here; the page is .*page\.html"):
        page.show()
