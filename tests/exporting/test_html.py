"""One HTML file: its engine draws what Python's draws."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import nextchar
from browser import BROWSER, Page
from conftest import make_model
from exporting.node import NODE, ids, run
from nextchar.architecture import WeightKind
from nextchar.errors import ConfigError
from nextchar.exporting.html import NEURONS, engine_data
from nextchar.kernels.cpu import HAS_FMA
from nextchar.language_model import LanguageModel
from nextchar.sampling.compiled import CompiledNetwork
from nextchar.sampling.sample import sample
from nextchar.storage import to_file
from nextchar.text.vocabulary import Vocabulary

in_node = pytest.mark.skipif(NODE is None, reason="node is not installed")
in_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
fused = pytest.mark.skipif(not HAS_FMA, reason="without fused multiply-add Python rounds otherwise")

Shell = Callable[..., SimpleNamespace]
LETTERS = Vocabulary("characters", tuple(map(ord, "\n abcdefghijé€🙂")))
BYTES = Vocabulary("bytes", tuple(range(256)))
SHAPES: list[dict[str, Any]] = [
    {"cell": "lstm", "layers": 2, "hidden": 40},
    {"cell": "lstm", "layers": 1, "hidden": 17, "embedding": 0, "sum_outputs": False},
    {"cell": "gru", "layers": 3, "hidden": 33, "sum_outputs": False},
    {"cell": "gru", "layers": 2, "hidden": 32, "embedding": 0},
    {"cell": "rnn", "layers": 2, "hidden": 70},
]
LENGTH = 1500
DRAWS: list[dict[str, Any]] = [
    {"temperature": 0, "seed": 0},
    {"seed": 0},
    {"seed": 2**31 - 1, "temperature": 0.7},
    {"seed": 2**150 + 5, "temperature": 1.5, "top_k": 4},
    {"seed": 3, "top_p": 0.8},
    {"seed": 4, "min_p": 0.1, "temperature": 2},
    {"seed": 5, "top_k": 9, "top_p": 0.95, "min_p": 0.02, "temperature": 1e-3},
]


def call(prompt: str, **options: object) -> dict[str, Any]:
    """Return the call of the page for options of `sample`."""
    names = {"top_k": "topK", "top_p": "topP", "min_p": "minP"}
    given = {names.get(name, name): value for name, value in options.items()}
    return {"task": "generate", "text": prompt, "length": LENGTH, **given, "seed": str(given.get("seed", 0))}


@in_node
@fused
@pytest.mark.slow
@pytest.mark.parametrize("weights", ["int8", "fp32"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_same_seed_gives_the_same_text(shape: dict[str, Any], weights: WeightKind) -> None:
    """Every cell, with all ways of drawing, with a prompt: the same characters as `nextchar.sample`, and their ln p."""
    file = to_file(make_model(LETTERS, **shape))
    replies, checked = run(engine_data(file, weights), [call("aé🙂\n", **options) for options in DRAWS])
    for options, reply in zip(DRAWS, replies, strict=True):
        expected = sample(file, "aé🙂\n", length=LENGTH, weights=weights, **options)
        assert "".join(chr(LETTERS.codes[id_]) for id_ in ids(reply)) == expected.text
        assert -np.array([step["logprob"] for step in reply["steps"]]) == pytest.approx(expected.nats, abs=2e-6)
    assert checked["checked"]["characters"] == 200
    assert checked["checked"]["largest"] < 2e-6


@in_node
@fused
@pytest.mark.parametrize("vocabulary", [LETTERS, BYTES], ids=["characters", "bytes"])
def test_a_text_is_scored_with_alternatives_and_neurons(vocabulary: Vocabulary) -> None:
    """Every character of a text with its ln p, those of the likeliest in order, and what the chosen neurons hold after it."""
    file = to_file(make_model(vocabulary))
    chosen = [(0, 3), (1, 7)]
    text = "a bé🙂€\n"
    calls = [{"task": "score", "text": text, "alternatives": 3}, {"task": "look", "text": text}]
    (reply, looked), _ = run(engine_data(file, "int8", chosen), calls)
    network = CompiledNetwork(file, "int8")
    given = vocabulary.encode(text)
    assert ids(reply) == given.tolist()
    nats, _ = network.read(given)
    assert [step["logprob"] for step in reply["steps"]] == pytest.approx((-nats).tolist(), abs=2e-6)
    for place, step in enumerate(reply["steps"]):
        _, state = network.read(given[: place + 1])
        memory = state.memory.reshape(2, -1)
        assert looked["steps"][place]["neurons"] == pytest.approx([np.tanh(memory[at]) for at in chosen], abs=1e-6)
        before = network.read(given[:place])[1] if place else network.start
        logits = before.logits[0, : len(vocabulary)].astype(np.float64)
        order = np.argsort(-logits, kind="stable")[:3]
        assert [id_ for id_, _ in step["alternatives"]] == order.tolist()
        logprobs = logits - np.log(np.exp(logits).sum())
        assert [each for _, each in step["alternatives"]] == pytest.approx(logprobs[order].tolist(), abs=1e-6)


@in_node
@fused
def test_a_text_ends_before_a_stop_string() -> None:
    """The first stop string ends it, of two that end together the longer; one with an unknown character never comes."""
    file = to_file(make_model(LETTERS))
    whole = sample(file, "", length=LENGTH, weights="int8").text
    cases = [(whole[40:43],), (whole[31:33], whole[30:33]), ("z",), ("az", whole[100:104]), (whole[-3:],)]
    calls = [call("", stop=list(stop)) for stop in cases]
    for stop, reply in zip(cases, run(engine_data(file, "int8"), calls)[0], strict=True):
        expected = sample(file, "", length=LENGTH, weights="int8", stop=stop).text
        assert "".join(chr(LETTERS.codes[id_]) for id_ in ids(reply)) == expected
        assert len(expected) < LENGTH or stop == ("z",)


@in_node
def test_what_is_unknown_is_named() -> None:
    """A prompt or a text with characters that the model does not have is refused in one sentence."""
    calls = [call("aZ\t"), {"task": "score", "text": "Z"}, {"task": "score", "text": "a"}]
    replies, _ = run(engine_data(to_file(make_model(LETTERS)), "int8"), calls)
    assert [reply.get("error") for reply in replies] == [
        "The text has characters that this model has never seen: 'Z' (U+005A), (U+0009).",
        "The text has characters that this model has never seen: 'Z' (U+005A).",
        None,
    ]


@in_node
def test_damaged_weights_are_found() -> None:
    """What cannot be unpacked is reported; other numbers differ from the stored log-probabilities."""
    data = engine_data(to_file(make_model(LETTERS)), "int8")
    arrays = data["arrays"]
    cut = run({**data, "arrays": {**arrays, "first": arrays["first"][:-8]}})[1]
    assert cut["damaged"]
    other = engine_data(to_file(make_model(LETTERS, seed=1)), "int8")["arrays"]
    assert run({**data, "arrays": {**arrays, "head": other["head"]}})[1]["checked"]["largest"] > 0.01


@in_node
@fused
def test_a_text_goes_on_from_the_states_of_the_last_one() -> None:
    """A text that begins like the last one, whatever follows, gives the same as if it were read from its beginning."""
    file = to_file(make_model(LETTERS))
    whole = sample(file, "", length=300, weights="int8", seed=1).text
    prompts = [whole, whole[:200], whole[:130] + "abc" + whole[130:], whole[:64], "", "c" + whole]
    calls = [call(prompt, seed=2, length=100) for prompt in prompts] + [{"task": "look", "text": whole}]
    *replies, looked = run(engine_data(file, "int8", [(1, 4)]), calls, together=False)[0]
    for prompt, reply in zip(prompts, replies, strict=True):
        expected = sample(file, prompt, length=100, weights="int8", seed=2)
        assert "".join(chr(LETTERS.codes[id_]) for id_ in ids(reply)) == expected.text
    fresh = run(engine_data(file, "int8", [(1, 4)]), [calls[-1]])[0][0]
    assert looked == fresh
    assert len(looked["steps"]) == 300


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a page of a small model, whose title looks like HTML."""
    path = tmp_path_factory.mktemp("exported") / "<b>x&.html"
    nextchar.export(make_model(LETTERS), path)
    return path


WRITTEN = """new Promise((done) => {
    const button = document.querySelector("button.main"), look = () => (button.textContent === "Write" ? done(1) : setTimeout(look, 5));
    button.click();
    look();
})"""


FOLLOWED = """new Promise((done) => {
    const text = document.querySelector("textarea"), seen = $("seen").getElementsByTagName("span");
    const look = () => (text.value && seen.length === [...text.value].length ? done(1) : setTimeout(look, 5));
    look();
})"""


@in_browser
@fused
@pytest.mark.slow
def test_the_file_writes_what_python_writes(chromium: Page, exported: Path) -> None:
    """From a file, without a request or a complaint; it has checked itself; Write gives the text of its seed."""
    chromium.requests.clear()
    chromium.complaints.clear()
    chromium.open(exported.as_uri(), 1440, 900)
    assert "Checked: 200 characters" in chromium.ask("$('checked').textContent")
    assert chromium.ask("[$('note').hidden, $('title').textContent, document.title]") == [True, "<b>x&", "<b>x&"]
    chromium.ask("document.querySelector('button.main').click()")  # it writes as soon as it is open
    begun = chromium.ask("document.querySelector('textarea').value")
    seeded = sample(to_file(make_model(LETTERS)), "", length=500, weights="int8", seed=1).text
    assert begun
    assert seeded.startswith(begun)
    chromium.ask("""(() => {
        const [seed, length] = document.querySelectorAll("input[type=number]"), pace = document.querySelector(".options select");
        Object.assign(seed, { value: 7 });
        Object.assign(length, { value: 400 });
        pace.value = "as fast as it can";
        const area = document.querySelector("textarea");
        area.value = "abé🙂";
        area.dispatchEvent(new InputEvent("input"));
    })()""")
    chromium.ask(WRITTEN)
    expected = sample(to_file(make_model(LETTERS)), "abé🙂", length=400, weights="int8", seed=7)
    assert chromium.ask("document.querySelector('textarea').value") == "abé🙂" + expected.text
    chromium.ask(
        "new Promise((done) => { const look = () => (location.hash.includes('seed=7') ? done(1) : setTimeout(look, 5)); look(); })"
    )
    chromium.open(chromium.ask("location.href"))
    assert chromium.ask("document.querySelector('textarea').value") == "abé🙂" + expected.text
    assert [each for each in chromium.requests if not each.startswith(("file:", "blob:null"))] == []
    assert chromium.complaints == []
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', exported.read_text(encoding="utf-8"))
    assert policy
    own = "style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; worker-src blob:"
    assert policy[1] == f"default-src 'none'; {own}"


@in_browser
@pytest.mark.slow
def test_the_text_is_coloured_by_neurons(chromium: Page, exported: Path) -> None:
    """Arrow keys choose a neuron; the colours below the text are those of its values."""
    chromium.open(exported.as_uri(), 390, 844)
    chromium.ask("nextchar.look('abc').then(() => document.querySelector('button.main').click())")
    chromium.ask(
        "new Promise((done) => { const look = () => ($('neurons').hidden ? setTimeout(look, 5) : done(1)); look(); })"
    )
    checked = "[...$('units').children].findIndex((each) => each.ariaChecked === 'true')"
    count = chromium.ask("$('units').children.length")
    assert (count, chromium.ask(checked)) == (NEURONS, 0)
    chromium.ask("$('units').firstChild.focus()")
    for key, expected in (("ArrowRight", 1), ("ArrowLeft", 0), ("ArrowLeft", count - 1)):
        chromium.key(key)
        assert chromium.ask(checked) == expected
    assert chromium.ask("document.activeElement === $('units').lastChild")
    shown = chromium.ask("[...$('seen').querySelectorAll('span')].map((each) => [each.textContent, each.title])")
    text = chromium.ask("document.querySelector('textarea').value")
    values = chromium.ask(f"nextchar.look({json.dumps(text)})")
    letters = [letter.replace("\n", "↵") for letter in text]
    assert [letter for letter, _ in shown] == letters
    assert [float(title) for _, title in shown] == pytest.approx([each[-1] for each in values], abs=0.006)


@in_browser
@fused
@pytest.mark.slow
def test_characters_of_a_byte_model(chromium: Page, tmp_path: Path) -> None:
    """The bytes of a character come as one step; what is no character is shown as Python shows it."""
    file = to_file(make_model(BYTES))
    nextchar.export(file, tmp_path / "bytes.html")
    chromium.open((tmp_path / "bytes.html").as_uri())
    assert "over 256 bytes. It runs" in chromium.ask("$('about').textContent")
    asked = "{ prompt: 'aé', seed: 9, length: 700, stop: ['🙂'], alternatives: 3 }"
    steps = chromium.ask(
        f"(async () => {{ const all = []; for await (const s of nextchar.generate({asked})) all.push(s); return all; }})()"
    )
    expected = sample(file, "aé", length=700, weights="int8", seed=9)
    assert "".join(step["text"] for step in steps) == expected.text
    assert sum(step["logprob"] for step in steps) == pytest.approx(-expected.nats.sum(), abs=1e-4)
    assert all(len(letter) == 1 for step in steps for letter, _ in step["alternatives"])
    scored = chromium.ask("nextchar.score({ text: 'é🙂a', alternatives: 0 })")
    assert [step["text"] for step in scored] == ["é", "🙂", "a"]


@in_browser
@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1440])
def test_the_page_fits_light_and_dark(chromium: Page, exported: Path, width: int) -> None:
    """Nothing is wider than the window, and the ground follows the scheme of the system."""
    grounds = []
    for scheme in ("light", "dark"):
        chromium.open(exported.as_uri(), width, 900)
        chromium.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        assert chromium.ask("document.documentElement.scrollWidth") <= width
        grounds.append(chromium.ask("getComputedStyle(document.body).backgroundColor"))
    assert grounds == ["rgb(255, 255, 255)", "rgb(22, 24, 28)"]


def _cut(html: str) -> str:
    return html[: html.index('"above"') + 50] + '</script><script>document.body.dataset.ready = "1"</script>'


def _scrambled(html: str) -> str:
    at = html.index('"head":"') + 40
    return html[:at] + html[at : at + 8][::-1] + html[at + 8 :]


def _other(html: str) -> str:
    return html.replace('"logprobs":[', '"logprobs":[0.5,', 1)


@in_browser
@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (_cut, "If this line stays, the file is damaged: download it again, or export it again."),
        (_scrambled, "This file is damaged: its weights cannot be unpacked. Download or export it again."),
        (_other, "This model does not compute what it computed when it was exported"),
    ],
)
def test_a_damaged_file_says_so(
    chromium: Page, exported: Path, tmp_path: Path, change: Callable[[str], str], sentence: str
) -> None:
    """Cut off, with other bytes, or with other numbers: one sentence, and nothing that looks as if it worked."""
    path = tmp_path / "damaged.html"
    path.write_text(change(exported.read_text(encoding="utf-8")), encoding="utf-8")
    chromium.open(path.as_uri())
    assert sentence in chromium.ask("$('note').textContent")
    assert chromium.ask("[$('note').hidden, $('checked').textContent]") == [False, ""]


@pytest.mark.slow
def test_export_names_what_it_writes(tmp_path: Path, text_file: Path, lm: LanguageModel, shell: Shell) -> None:
    """The command writes a page; neurons are searched on the given text, which other forms refuse."""
    lm.save(tmp_path / "model.safetensors")
    made = shell("export", tmp_path / "model.safetensors", tmp_path / "page.html", "--text", text_file, "--json")
    assert (made.code, json.loads(made.out)["weights"]) == (0, "int8")
    assert "found on small.txt" in (tmp_path / "page.html").read_text(encoding="utf-8")
    refused = shell("export", tmp_path / "model.safetensors", tmp_path / "page.pt", "--text", text_file)
    assert (refused.code, refused.out) == (1, "")
    assert "only an .html file shows neurons that follow it, not page.pt" in refused.err


def test_a_network_too_large_for_integers_is_refused_with_the_remedy() -> None:
    """The page has no bf16, so the remedy is fp32."""
    with pytest.raises(ConfigError, match="too large for the integers of int8 weights; use --weights fp32"):
        nextchar.export(make_model(LETTERS, layers=9), "page.html")
