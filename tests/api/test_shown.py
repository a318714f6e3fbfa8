"""How values are shown: one line at a prompt, and in a notebook small HTML in which every text stays text."""

import math
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace

import pytest

import nextchar
from browser import BROWSER, browser
from conftest import make_model
from nextchar.evaluation.score import Score
from nextchar.language_model import LanguageModel
from nextchar.notebook import coloured, curve, escape
from nextchar.storage import to_file
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Vocabulary
from nextchar.training.run import Run, train

SMALL = {"hidden": 12, "embedding": 8, "batch_size": 4, "seq_length": 16, "eval_every": 5}
ODD = "<b>&\"'\x1b\u202e</pre><script>alert(1)</script>"
LETTERS = make_model(Vocabulary("characters", tuple(sorted(set(map(ord, ODD + "abc"))))))


class Shown(HTMLParser):
    """Takes HTML apart: the elements that it opens, whether all are closed, and its text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.tags, self.opened = "", set[str](), list[str]()
        self.feed(html)
        self.close()
        assert self.opened == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note an element."""
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        if tag != "polyline":
            self.opened.append(tag)

    def handle_startendtag(self, tag: str, _attrs: list[tuple[str, str | None]]) -> None:
        """Note an element without content."""
        self.tags.add(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that it ends the last one that was opened."""
        assert self.opened.pop() == tag

    def handle_data(self, data: str) -> None:
        """Collect the text."""
        self.text += data


@pytest.fixture(scope="module")
def trained(text: str) -> LanguageModel:
    """Return a model of a few steps, in memory."""
    return train(Corpus.from_text(text), steps=15, progress=False, **SMALL)


def test_a_model_is_one_line(trained: LanguageModel) -> None:
    """Shape, vocabulary, and the score on the validation part if there is one."""
    bits = trained.provenance["valid"]["bits_per_char"]
    assert repr(trained) == f"<LanguageModel lstm 2x12, {len(trained.vocabulary)} characters, {bits:.2f} bits/char>"
    assert repr(to_file(trained)) == repr(trained).replace("LanguageModel", "ModelFile")
    assert repr(LETTERS) == f"<LanguageModel lstm 2x8, {len(LETTERS.vocabulary)} characters>"


def test_samples_and_scores_are_readable() -> None:
    """A sample prints as its text, and both have one short line."""
    sample = LETTERS.sample("ab", length=300)
    assert str(sample) == sample.text
    assert repr(sample).startswith(f"<Sample 300 characters, {sample.nats_per_char / math.log(2):.2f} bits/char, ")
    assert len(sample.nats) == 300
    assert sample.nats.mean() == pytest.approx(sample.nats_per_char)
    score = Score("stream", 50, 60, 2 * math.log(2), 2.0, 5 / 3)
    assert str(score) == "2.000 bits per character, stream, over 50 characters"
    assert repr(score) == "<Score 2.000 bits/char, stream, 50 characters>"


@pytest.mark.parametrize("make", [lambda lm: lm.sample(length=500), lambda lm: nextchar.strip(lm, "abc", 0, 3)])
def test_a_line_is_short(make: Callable[[LanguageModel], object]) -> None:
    """Long values are shortened, and arrays are not shown."""
    assert len(repr(make(LETTERS))) < 150
    assert "array" not in repr(make(LETTERS))
    assert "\n" not in repr(make(LETTERS))


def test_a_text_without_a_character_is_shown() -> None:
    """A sample that a stop string ended at once has HTML, too."""
    sample = LETTERS.sample("ab", length=0)
    assert Shown(sample._repr_html_()).text == "ab"


def test_a_corpus_and_a_run_are_one_line(tmp_path: Path, text_file: Path) -> None:
    """Length, vocabulary and names; folder, shape and steps."""
    corpus = nextchar.open_corpus([text_file, text_file])
    different = len(corpus.vocabulary)
    assert repr(corpus) == f"<Corpus {len(corpus):,} characters, {different} different, of small.txt and 1 more>"
    assert repr(Corpus.from_text("abca")) == "<Corpus 4 characters, 3 different>"
    folder = tmp_path / "run"
    assert repr(Run(folder, nextchar.Config())) == f"<Run {folder}, not started>"
    train(text_file, steps=5, out=folder, progress=False, **SMALL)
    assert repr(Run.open(folder)) == f"<Run {folder}, lstm 2x12, step 5 of 5>"
    assert repr(nextchar.Config(hidden=3)) == "Config(hidden=3)"


def test_a_trained_model_has_a_card(tmp_path: Path, trained: LanguageModel, text_file: Path) -> None:
    """It says shape, score and sample; the curve is there after a training, and after loading a run."""
    shown = Shown(trained._repr_html_())
    bits = trained.provenance["valid"]["bits_per_char"]
    for words in ("lstm 2x12", f"{bits:.3f} bits per character", "15 steps", "a uniform guess is"):
        assert words in shown.text
    assert "polyline" in shown.tags
    train(text_file, steps=5, out=tmp_path / "run", progress=False, **SMALL)
    loaded = nextchar.load(tmp_path / "run")
    assert {entry["event"] for entry in loaded.log} >= {"progress", "validated"}
    assert "polyline" in Shown(loaded._repr_html_()).tags
    loaded.save(tmp_path / "alone.safetensors")
    assert "polyline" not in Shown(nextchar.load(tmp_path / "alone.safetensors")._repr_html_()).tags


def test_nothing_from_a_text_becomes_markup() -> None:
    """Tags, controls and directions of a text are displayed, in every place where a text can be."""
    prompt = ODD + "abc"
    sample = LETTERS.sample(prompt, length=400)
    shown = Shown(sample._repr_html_())
    assert shown.tags == {"pre", "b", "span", "small"}
    assert shown.text.startswith("<b>&\"'\\x1b\\u202e</pre><script>alert(1)</script>abc")
    assert "\x1b" not in shown.text
    named = LanguageModel(LETTERS.network, LETTERS.vocabulary, {}, {"texts": [{"name": ODD}]})
    assert "script" not in Shown(named._repr_html_()).tags
    assert Shown(Score(ODD, 1, 1, 1.0, 1.0, 1.0)._repr_html_()).tags == {"div", "b", "span"}
    assert "script" not in Shown(nextchar.strip(LETTERS, prompt, 0, 0)._repr_html_()).tags
    assert escape("a\n<") == "a\n&lt;"


def test_surprising_characters_are_marked() -> None:
    """Neighbours of one shade share an element; without the bits of each character nothing is marked."""
    html = coloured("", "abcd", [0.0, 0.0, 9.0, 20.0])
    assert html.count("<span") == 2
    assert 'rgba(224,130,20,0)">ab<' in html
    assert 'rgba(224,130,20,0.7)">cd<' in html
    assert "small" not in Shown(coloured("", "é", [1.0, 2.0])).tags


def test_a_curve_needs_two_losses() -> None:
    """An empty log, or one of other events, has no curve; a loss of zero has one."""
    assert curve([]) == ""
    assert curve([{"event": "sampled", "step": 3, "text": "x"}]) == ""
    assert curve([{"event": "progress", "step": 1, "loss": 2.0}]) == ""
    assert "polyline" in curve([{"event": "progress", "step": step, "loss": 0.0} for step in (1, 2)])


def test_claims_say_what_was_found() -> None:
    """The verdicts are counted, and each finding is given in words."""
    made = [SimpleNamespace(verdict=verdict) for verdict in ("tracks", "nothing", "nothing")]
    words = "Score 0.9 <i>."
    finding = SimpleNamespace(unit="0:3", name="knows it is inside { }", numbers=words, sentences=lambda: [words])
    claims = nextchar.Claims({"vocabulary": 65}, {}, {}, made, {}, [], {}, [finding])  # type: ignore[arg-type]
    assert repr(claims) == "<Claims about 3 features: 1 tracks, 2 nothing>"
    assert "0:3 knows it is inside { }" in str(claims)
    shown = Shown(claims._repr_html_())
    assert "0:3knows it is inside { }. Score 0.9 <i>." in shown.text
    assert "i" not in shown.tags


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [390, 1440])
def test_values_fit_a_browser(tmp_path: Path, trained: LanguageModel, width: int) -> None:
    """Cards are no wider than the window, and a page in a frame is drawn, without a complaint in the console."""
    shown = [trained, trained.sample("def ", length=200), trained.score("def "), trained.inspect("def f(self):\n" * 20)]
    html = "".join(value._repr_html_() for value in shown)  # type: ignore[attr-defined]
    (tmp_path / "notebook.html").write_text(
        f"<!doctype html><meta charset=utf-8><meta name=viewport content='width=device-width'><body data-ready=1>{html}",
        encoding="utf-8",
    )
    with browser(tmp_path / "profile") as page:
        page.open((tmp_path / "notebook.html").as_uri(), width)
        framed = "document.querySelector('iframe').contentDocument.body"
        look = f"const look = () => ({framed}?.dataset.ready ? done(1) : setTimeout(look, 5)); look();"
        page.ask(f"new Promise((done) => {{ {look} }})")
        assert page.ask("document.documentElement.scrollWidth") <= width
        assert page.ask(f"{framed}.innerText").startswith("nextchar inspect")
        page.key("ArrowRight")
        assert page.complaints == []
        assert [request for request in page.requests if not request.startswith(("file:", "data:", "about:"))] == []
