"""The command line as a user meets it: streams, JSON keys, exit codes and sentences."""

import csv
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from nextchar.cli.main import main
from nextchar.storage import read_model
from nextchar.text.corpus import Corpus
from nextchar.training.folder import default_folder

SIZES = ["--hidden", "12", "--embedding", "8", "--batch-size", "4", "--seq-length", "16", "--eval-every", "10"]
SCORE = {"protocol", "chars", "bytes", "nats_per_char", "bits_per_char", "bits_per_byte"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, text: str) -> Path:
    """Return the folder of a small finished run, which must not be changed."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "small.txt").write_text(text, encoding="utf-8", newline="")
    words = ["train", str(folder / "small.txt"), "--steps", "30", *SIZES, "-o", str(folder / "run")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEXTCHAR_CACHE", str(folder / "cache"))
        assert main(words) == 0
    return folder / "run"


@pytest.fixture
def run(tmp_path: Path, trained: Path) -> Path:
    """Return a copy of that folder."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.mark.slow
def test_training_keeps_the_contract(tmp_path: Path, text_file: Path, shell: Callable[..., SimpleNamespace]) -> None:
    """`train --json` prints one object with the agreed keys, and talks on standard error."""
    result = shell("train", text_file, "--steps", 30, *SIZES, "-o", tmp_path / "run", "--json")
    assert result.code == 0
    value = json.loads(result.out)
    assert set(value) == {"run", "model", "steps", "epochs", "seconds", "chars_per_second", "parameters", "valid"}
    assert set(value["valid"]) == SCORE
    assert value["steps"] == 30
    assert "bits per character" in result.err
    assert "nextchar sample" in result.err


def test_without_json_training_prints_no_data(
    run: Path, text_file: Path, shell: Callable[..., SimpleNamespace]
) -> None:
    """Standard output stays empty, and plain lines go to standard error where there is no terminal."""
    result = shell("train", text_file, "--steps", 30, *SIZES, "-o", run.parent / "other")
    assert result.out == ""
    assert "\x1b" not in result.err
    assert "step      10 · validation " in result.err


def test_sampling_keeps_the_contract(run: Path, shell: Callable[..., SimpleNamespace]) -> None:
    """`sample --json` gives what was written after the prompt, and plain output gives prompt and text and nothing else."""
    value = json.loads(shell("sample", run, "-p", "def ", "-n", 40, "--seed", 3, "--count", 2, "--json").out)
    assert {"samples", "chars_per_second"} <= set(value)
    first, second = value["samples"]
    assert set(first) == {"text", "chars", "finish_reason", "nats_per_char"}
    assert (first["chars"], len(first["text"]), first["finish_reason"]) == (40, 40, "length")
    assert first["text"] != second["text"]
    plain = shell("sample", run, "-p", "def ", "-n", 40, "--seed", 3)
    assert plain.out == "def " + first["text"]
    assert plain.err == ""


def test_prompts_come_from_files_and_standard_input(
    run: Path, tmp_path: Path, shell: Callable[..., SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prompt from a file or a pipe is the same as one from the command line."""
    (tmp_path / "prompt").write_text("import ", encoding="utf-8")
    said = shell("sample", run, "-p", "import ", "--seed", 1).out
    assert shell("sample", run, "--prompt-file", tmp_path / "prompt", "--seed", 1).out == said
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"import ")))
    assert shell("sample", run, "--prompt-file", "-", "--seed", 1).out == said


def test_evaluation_keeps_the_contract(run: Path, text: str, shell: Callable[..., SimpleNamespace]) -> None:
    """`evaluate --json` prints a score of every character of the part, and the table scores the same characters."""
    value = json.loads(shell("evaluate", run, "--split", "valid", "--ngram", 3, "--json").out)
    expected = len(Corpus.from_text(text).part("valid", 0.05, 0.05))
    assert set(value) == SCORE | {"ngram"}
    assert value["chars"] == expected == value["ngram"]["chars"]
    assert value["bits_per_char"] == pytest.approx(value["nats_per_char"] / math.log(2))
    windows = json.loads(
        shell("evaluate", run, "--split", "valid", "--protocol", "windows", "--window", 64, "--json").out
    )
    assert windows["protocol"] == "windows"
    assert windows["nats_per_char"] != value["nats_per_char"]


def test_the_score_of_training_is_the_score_of_evaluation(run: Path, shell: Callable[..., SimpleNamespace]) -> None:
    """What a run reports of its best model, `evaluate` finds again."""
    reported = read_model(run).provenance["valid"]
    found = json.loads(shell("evaluate", run, "--split", "valid", "--json").out)
    assert found["chars"] == reported["chars"]
    assert found["nats_per_char"] == pytest.approx(reported["nats_per_char"], abs=1e-6)


def test_every_character_can_be_looked_at(run: Path, tmp_path: Path, shell: Callable[..., SimpleNamespace]) -> None:
    """The CSV has one line a character, and its mean is the score."""
    (tmp_path / "t.txt").write_text('import "os",\n\n', encoding="utf-8", newline="")
    value = json.loads(shell("evaluate", run, tmp_path / "t.txt", "--per-char", tmp_path / "p.csv", "--json").out)
    with (tmp_path / "p.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert "".join(row["character"] for row in rows) == 'import "os",\n\n'
    assert sum(float(row["nats"]) for row in rows) / len(rows) == pytest.approx(value["nats_per_char"], abs=1e-5)


def test_unseen_characters_of_a_text(run: Path, tmp_path: Path, shell: Callable[..., SimpleNamespace]) -> None:
    """They are counted and named, and with `--unknown skip` the rest is scored and the number said."""
    (tmp_path / "t.txt").write_text("import é, é, ß", encoding="utf-8")
    refused = shell("evaluate", run, tmp_path / "t.txt")
    assert refused.code == 1
    assert "2 characters (in 3 places)" in refused.err
    assert "'é' (U+00E9) x2" in refused.err
    skipped = json.loads(shell("evaluate", run, tmp_path / "t.txt", "--unknown", "skip", "--json").out)
    assert (skipped["chars"], skipped["skipped"]) == (11, 3)


def test_info_keeps_the_contract(run: Path, shell: Callable[..., SimpleNamespace]) -> None:
    """`info --json` has the agreed keys, and `info` is a table a person can read."""
    value = json.loads(shell("info", run / "model.safetensors", "--json").out)
    keys = {"format", "parameters", "cell", "layers", "hidden", "vocabulary", "units", "provenance"}
    assert keys <= set(value)
    assert value["provenance"]["texts"][0]["name"] == "small.txt"
    assert "lstm, 2 layers of 12 units" in shell("info", run).out


def test_an_interrupt_without_anything_to_save_is_told(
    monkeypatch: pytest.MonkeyPatch, run: Path, shell: Callable[..., SimpleNamespace]
) -> None:
    """Ctrl-C in a command that saves nothing is one sentence and exit code 130."""

    def interrupt(_: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("nextchar.cli.info.read_model", interrupt)
    result = shell("info", run)
    assert (result.code, result.err) == (130, "nextchar: interrupted\n")


@pytest.mark.slow
def test_bench_measures_the_parts_that_are_asked_for(shell: Callable[..., SimpleNamespace]) -> None:
    """`bench --json` has the machine and each part, with positive speeds; one `--only` takes several parts."""
    words = ["bench", "--sizes", "1x16", "--seconds", "0.001", "--only", "training", "generation", "--only", "scoring"]
    result = shell(*words, "--json")
    assert result.code == 0, result.err
    report = json.loads(result.out)
    assert set(report) == {"machine", "training", "generation", "scoring"}
    generation = report["generation"]["1x16"]
    assert list(generation["one_stream"]) == ["fp32", "bf16", "int8"]
    speeds = [report[part]["1x16"]["chars_per_second"] for part in ("training", "scoring")]
    speeds += [value for row in generation["one_stream"].values() for value in row.values()]
    assert min(*speeds, generation["streams"]["chars_per_second"]) > 0
    assert "1x16" in shell(*words).out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sizes", "huge"], "the size is 'huge', but must be layers x units, such as 2x512"),
        (["--sizes", "0x16"], "the size is '0x16'"),
        (["--only", "flying"], "the part is 'flying', but must be one of training, generation"),
        (["--only", "scoring", "trainin"], "did you mean 'training'?"),
        (["--seconds", "0"], "the seconds are 0, but must be more than 0"),
        (["--seconds", "nan"], "the seconds are nan"),
    ],
)
def test_bench_refuses_what_it_cannot_measure(
    words: list[str], message: str, shell: Callable[..., SimpleNamespace]
) -> None:
    """An unknown size or part, or a time that is not positive, is one sentence."""
    result = shell("bench", *words)
    assert (result.code, result.out) == (1, "")
    assert message in result.err


@pytest.mark.parametrize(
    ("words", "stops"),
    [
        (["m", "--stop", "a", "b"], ("a", "b")),
        (["m", "--stop", "a", "--stop", "b", "c"], ("a", "b", "c")),
        (["--stop", "a", "m"], ("a",)),
        (["--stop", "a", "b", "--n", "3", "m"], ("a", "b")),
    ],
)
def test_an_option_of_several_values_takes_them_after_one_flag(
    words: list[str], stops: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """All values may follow one flag, or one flag each; what is needed as an argument stays an argument."""
    given: list[tuple[Path, tuple[str, ...]]] = []

    def command(model: Path, /, *, stop: tuple[str, ...] = (), n: int = 5) -> None:
        assert n
        given.append((model, stop))

    monkeypatch.setattr("nextchar.cli.sample.command", command)
    assert main(["sample", *words]) == 0
    assert given == [(Path("m"), stops)]


def test_corpora_are_listed_and_got(shell: Callable[..., SimpleNamespace]) -> None:
    """The list has every corpus; `get` prints its path; for a wrong name the closest one is suggested."""
    assert "tiny-shakespeare" in shell("corpora").out
    assert "argparse.py" in shell("corpora", "get", "stdlib").out
    wrong = shell("corpora", "get", "tiny-shakespear")
    assert wrong.code == 1
    assert "did you mean 'tiny-shakespeare'?" in wrong.err


def test_a_finished_run_goes_on_with_a_new_budget(run: Path, shell: Callable[..., SimpleNamespace]) -> None:
    """`--resume` of a finished run says so; with a new budget it continues; other options are refused."""
    assert "is finished" in shell("train", "--resume", run).err
    value = json.loads(shell("train", "--resume", run, "--steps", 8, "--json").out)
    assert value["steps"] == 38
    assert (
        "a resumed run keeps its options, but --hidden was given" in shell("train", "--resume", run, "--hidden", 9).err
    )


def test_fine_tuning_on_other_characters(run: Path, tmp_path: Path, shell: Callable[..., SimpleNamespace]) -> None:
    """`--init-from` takes a text with characters the model lacks."""
    (tmp_path / "other.txt").write_text("Ärger über Öl. " * 200, encoding="utf-8")
    tuned = tmp_path / "tuned"
    assert shell("train", tmp_path / "other.txt", "--init-from", run, "--steps", 5, "-o", tuned).code == 0
    assert shell("sample", tuned, "-p", "def Ä", "-n", 5).code == 0


@pytest.mark.slow
def test_training_from_standard_input_can_be_resumed(
    tmp_path: Path, text: str, shell: Callable[..., SimpleNamespace], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoded text of a pipe stays in the cache, so that its run can be resumed and evaluated."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(text.encode())))
    assert shell("train", "-", "--steps", 10, *SIZES, "-o", tmp_path / "r").code == 0
    assert shell("train", "--resume", tmp_path / "r", "--steps", 5).code == 0
    assert shell("evaluate", tmp_path / "r", "--split", "test").code == 0


def test_a_recipe_by_name(tmp_path: Path, text_file: Path, shell: Callable[..., SimpleNamespace]) -> None:
    """The preset of the post trains its own network, and flags win over it."""
    done = shell("train", text_file, "--preset", "karpathy2015", "--steps", 2, "--hidden", 16, "-o", tmp_path / "r")
    assert done.code == 0
    file = read_model(tmp_path / "r")
    assert (file.architecture.hidden, file.architecture.embedding, file.config["optimizer"]) == (16, 0, "rmsprop")


def bad(tmp_path: Path, run: Path, kind: str) -> list[Any]:
    """Return a command line with one mistake in it."""
    text = tmp_path / "bad.txt"
    toml = tmp_path / "bad.toml"
    model = tmp_path / "bad.safetensors"
    (tmp_path / "empty folder").mkdir(exist_ok=True)
    if kind == "truncated":
        model.write_bytes((run / "model.safetensors").read_bytes()[:5000])
    elif kind == "pickle":
        model.write_bytes(b"\x80\x04\x95\x0b")
    contents = {"empty": b"", "one": b"x", "latin": b"caf\xe9 au lait", "binary": bytes(range(256)) * 9}
    text.write_bytes(contents.get(kind, b"some text " * 500))
    toml.write_text("hiden = 3\n" if kind == "toml" else "hidden = 'x'\n", encoding="utf-8")
    return {
        "missing": ["train", tmp_path / "nowhere.txt"],
        "folder": ["train", tmp_path / "empty folder"],
        "toml": ["train", text, "--config", toml],
        "type": ["train", text, "--config", toml],
        "size": ["train", text, "--hidden", "0", "--steps", "1"],
        "huge": ["train", text, "--hidden", "16384", "--layers", "64", "--steps", "1"],
        "batch": ["train", text, "--batch-size", "500", "--seq-length", "500", "--steps", "1"],
        "budgets": ["train", text, "--steps", "1", "--minutes", "1"],
        "unseen": ["sample", run, "-p", "日"],
        "truncated": ["sample", model],
        "pickle": ["evaluate", model, text],
        "nothing": ["train"],
        "taken": ["train", text, "-o", run],
        "no model": ["info", tmp_path / "empty folder"],
        "temperature": ["sample", run, "-t", "-1"],
        "window": ["evaluate", run, "--protocol", "windows", "--window", "0"],
    }.get(kind, ["train", text, "--steps", "1", "-o", tmp_path / "out"])


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("missing", "there is no file, folder or corpus named"),
        ("folder", "holds no text"),
        ("empty", "the text is empty"),
        ("one", "the train part is 0.9 of 1 characters"),
        ("latin", "byte 0xE9 at offset 3"),
        ("binary", "byte 0x80 at offset 128"),
        ("toml", "unknown option 'hiden' in .*; did you mean 'hidden'?"),
        ("type", "hidden is 'x'"),
        ("size", "hidden is '0', but must be greater than or equal to 1"),
        ("huge", "make them smaller"),
        ("batch", "fewer than one batch of 500 sequences of 500"),
        ("budgets", "--minutes and --steps are both budgets"),
        ("unseen", r"the prompt holds 1 character .*'日' \(U\+65E5\); --unknown skip"),
        ("truncated", "is damaged"),
        ("pickle", "is a pickle"),
        ("nothing", "no text was given"),
        ("taken", "already holds a run"),
        ("no model", "holds no model.safetensors"),
        ("temperature", "temperature is -1"),
        ("window", "the window is 0"),
    ],
)
def test_a_mistake_is_one_sentence(
    tmp_path: Path, run: Path, shell: Callable[..., SimpleNamespace], kind: str, words: str
) -> None:
    """Every mistake gives exit code 1 and one sentence that says what, which value and what to do."""
    result = shell(*bad(tmp_path, run, kind))
    assert result.code == 1
    assert result.out == ""
    last = result.err.strip().splitlines()[-1]
    assert last.startswith("nextchar: error: ")
    assert "Traceback" not in result.err
    assert re.search(words, last)


@pytest.mark.parametrize(
    "words",
    [
        ["trian"],
        ["train", "x", "--hiden", "3"],
        ["sample"],
        ["sample", "x", "-n", "y"],
        ["train", "--hidden", "x"],
        ["train", "--cell", "lstn"],
    ],
)
def test_wrong_usage_is_told_apart(words: list[str], shell: Callable[..., SimpleNamespace]) -> None:
    """What is not understood gives exit code 2, in every command: a word, what is missing, a value of another type."""
    result = shell(*words)
    assert result.code == 2
    assert "Traceback" not in result.err


def test_a_folder_for_a_run_without_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs are named after their text, and never take another's place."""
    monkeypatch.chdir(tmp_path)
    assert default_folder(["/x/War & Peace.txt.gz"]) == Path("runs/War-Peace")
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    assert default_folder(["tiny.txt"]) == Path("runs/tiny-2")


@pytest.mark.shell
@pytest.mark.parametrize("words", [["-c", "import nextchar, sys"], ["-m", "nextchar", "--help"]])
def test_starting_does_not_import_torch(words: list[str]) -> None:
    """Neither `import nextchar` nor `nextchar --help` imports torch, numpy, numba or pydantic."""
    heavy = subprocess.run(
        [sys.executable, "-X", "importtime", *words], capture_output=True, text=True, check=True
    ).stderr
    loaded = {line.rpartition("|")[2].strip().partition(".")[0] for line in heavy.splitlines()}
    assert not loaded & {"torch", "numpy", "numba", "pydantic"}
    assert "nextchar" in loaded


@pytest.mark.shell
def test_sampling_does_not_import_torch(run: Path) -> None:
    """`nextchar sample` runs on numpy and numba alone."""
    code = f"import sys; from nextchar.cli.main import main; main(['sample', {str(run)!r}, '-n', '3']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("False\n")


@pytest.mark.slow
@pytest.mark.shell
@pytest.mark.skipif(os.name != "posix", reason="a program cannot send Ctrl-C to another one on Windows")
def test_an_interrupt_saves_and_says_how_to_resume(tmp_path: Path, text_file: Path) -> None:
    """Ctrl-C ends with code 130 after saving, and the message names the command that resumes."""
    folder = tmp_path / "r"
    train = [sys.executable, "-m", "nextchar", "train", str(text_file), *SIZES, "--steps", "1000000", "-o", str(folder)]
    with subprocess.Popen(train, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        for line in process.stderr:
            said += line
            if "step      10" in line:
                process.send_signal(2)
        code = process.wait()
    assert code == 130, said
    assert f"nextchar train --resume {folder}" in said
    assert "Traceback" not in said
    assert (folder / "training.safetensors").exists()


def test_inspect_writes_a_page(
    run: Path, text_file: Path, tmp_path: Path, shell: Callable[..., SimpleNamespace]
) -> None:
    """`inspect -o` writes one file, says where on standard error, and `--json` prints one object."""
    page = tmp_path / "page.html"
    result = shell("inspect", run, text_file, "-o", page, "-n", 500, "--neurons", "0:3,1:7", "--json")
    value = json.loads(result.out)
    assert value == {"page": str(page), "chars": 500, "shown": 500, "bytes": page.stat().st_size}
    assert "reading the first 500 of 20,000 characters; --all reads everything" in result.err
    assert str(page) in result.err
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


@pytest.mark.slow
def test_inspect_shows_strips_and_the_timeline(
    run: Path, text_file: Path, shell: Callable[..., SimpleNamespace]
) -> None:
    """`--terminal` shows text on standard output without colours where there is no terminal; `--timeline` the samples."""
    shown = shell("inspect", run, text_file, "--terminal", "--neurons", "0:3", "-n", 50)
    assert "tanh(c) of neuron 0:3: -1 blue, 0 white, 1 orange" in shown.out
    assert "# Author" in shown.out
    assert "\x1b" not in shown.out
    value = json.loads(shell("inspect", run, text_file, "--terminal", "-n", 50, "--json").out)
    assert [len(values) for values in value["units"].values()] == [50, 50, 50]
    assert all(re.match(rf"{name}( knows|, number [1-3] by importance)", said) for name, said in value["about"].items())
    guesses = shell("inspect", run, text_file, "--terminal", "--neurons", "0:3", "-n", 50, "--predictions").out
    assert "Below: the likeliest next characters" in guesses
    assert guesses.count("\n") > shown.out.count("\n") + 5
    samples = json.loads(shell("inspect", run, "--timeline", "--json").out)["timeline"]
    assert len(samples) > 1
    assert samples[-1]["validation_bits_per_char"] > 0
    plain = shell("inspect", run, "--timeline").out
    assert all(f"── step {sample['step']:,}, training " in plain for sample in samples)


def test_inspect_writes_what_the_name_asks_for(
    run: Path, text_file: Path, tmp_path: Path, shell: Callable[..., SimpleNamespace]
) -> None:
    """A picture of one unit, every number as npz or safetensors, the timeline as a page: by the ending of -o."""
    for name in ("strip.svg", "strip.png"):
        words = (run, text_file, "-o", tmp_path / name, "--neurons", "0:3", "--signal", "f", "-n", 30, "--json")
        value = json.loads(shell("inspect", *words).out)
        assert value["shown"] == 30
        assert value["legend"].startswith("f of neuron 0:3: 0 blue, 0.5 white, 1 orange")
    assert "<svg" in (tmp_path / "strip.svg").read_text(encoding="utf-8")
    assert (tmp_path / "strip.png").read_bytes().startswith(b"\x89PNG")
    for name in ("all.npz", "all.safetensors"):
        words = (run, text_file, "-o", tmp_path / name, "--units", "1:3,1:0", "-n", 30, "--json")
        value = json.loads(shell("inspect", *words).out)
        assert (value["trace"], value["chars"], value["shown"]) == (str(tmp_path / name), 30, 30)
        assert "layers.1.tanh_c" in value["arrays"]
        assert (tmp_path / name).stat().st_size > 1000
    page = tmp_path / "learning.html"
    samples = json.loads(shell("inspect", run, "--timeline", "-o", page, "--json").out)["timeline"]
    assert page.read_text(encoding="utf-8").count('"step":') == len(samples)


@pytest.mark.slow
def test_inspect_tells_how_saturated_the_gates_are(
    run: Path, text_file: Path, shell: Callable[..., SimpleNamespace]
) -> None:
    """`--gates` prints a line for each gate of each layer, and the same as JSON."""
    rows = json.loads(shell("inspect", run, text_file, "--gates", "--json").out)["gates"]
    assert [(row["layer"], row["gate"]) for row in rows] == [(layer, gate) for layer in (0, 1) for gate in "ifo"]
    assert all(0 <= row["left"] + row["right"] <= 1 for row in rows)
    lines = shell("inspect", run, text_file, "--gates").out.splitlines()
    assert len(lines) == 7
    assert lines[2].split()[:4] == ["0", "f", f"{100 * rows[1]['left']:.1f}", "%"]


@pytest.mark.slow
def test_what_inspect_cannot_do_is_one_sentence(
    run: Path, text_file: Path, tmp_path: Path, shell: Callable[..., SimpleNamespace]
) -> None:
    """Units that are not there, two ways to show, no text, and a folder without a run."""
    for words, said in (
        ((run, text_file, "--neurons", "0:12"), "there is no unit 0:12"),
        ((run, text_file, "--neurons", "12"), "LAYER:UNIT"),
        ((run, text_file, "--terminal", "--chars", 0), "1 or more"),
        ((run, text_file, "--chars", 10, "--all"), "--all and --chars were given; give one of them"),
        ((run, text_file, "-o", "x.html", "--terminal"), "give one of them"),
        ((run, text_file, "--timeline"), "give one of them"),
        ((run, text_file, "--terminal", "--timeline"), "give one of them"),
        ((run, text_file, "--gates", "-o", "x.html"), "-o and --gates were given; give one of them"),
        ((run, text_file, "-o", "x.gif"), "the output is 'x.gif', but its name must end in .html or .svg"),
        ((run, "--timeline", "-o", "x.svg"), "must end in .html"),
        ((run, text_file, "-o", "x.svg", "--neurons", "0:1,0:2"), "a picture shows one"),
        ((run, text_file, "--terminal", "--signal", "q"), "has no signal 'q'"),
        ((run, text_file, "--signal", "f"), "--signal f colours a strip; give --terminal"),
        ((run, text_file, "--signal", "f", "-o", "x.npz"), "or -o with a .svg or .png"),
        ((run,), "no text was given"),
        ((tmp_path, "--timeline"), "holds no run"),
    ):
        result = shell("inspect", *words)
        assert (result.code, result.out) == (1, "")
        assert said in result.err
        assert result.err.count("\n") == 1


@pytest.mark.slow
def test_discover_writes_claims_and_a_page(
    tmp_path: Path, text_file: Path, shell: Callable[..., SimpleNamespace]
) -> None:
    """`discover` writes the claims, prints findings and a line for each feature, and follows them over the checkpoints that were kept."""
    run, folder = tmp_path / "run", tmp_path / "found"
    assert shell("train", text_file, "--steps", 20, *SIZES, "--keep-checkpoints", "-o", run).code == 0
    quick = ["--last-chars", 8000, "--shifts", 99, "--rotations", 1, "--features", "general", "-o", folder]
    result = shell("discover", run, text_file, *quick, "--emergence", "--json")
    assert result.code == 0, result.err
    value = json.loads(result.out)
    kept = json.loads((folder / "claims.json").read_text(encoding="utf-8"))
    assert kept["claims"] == value["claims"]
    assert value["births"]["steps"] == [10, 20]
    names = {claim["feature"] for claim in kept["claims"]}
    assert {"space", "column"} <= names
    assert names.isdisjoint(kept["dropped"])
    page = (folder / "discover.html").read_text(encoding="utf-8")
    assert "http" not in re.sub(r'<script type="application/json".*?</script>', "", page, flags=re.DOTALL).replace(
        "http://www.w3.org/2000/svg", ""
    ).replace("http-equiv", "")
    plain = shell("discover", run, text_file, *quick, "--no-causal")
    found, _, table = plain.out.partition(f"\nAll {len(names)} features")
    assert found.startswith("What this network noticed by itself\n")
    assert max(map(len, found.splitlines())) <= 80
    assert len(table.splitlines()) == 2 + len(names)
    assert kept["findings"] == value["findings"]


def test_old_flags_of_discover_still_work(run: Path, text_file: Path, shell: Callable[..., SimpleNamespace]) -> None:
    """`--length` and `-n` are `--last-chars`, `--births` is `--emergence`; the help shows the new names only."""
    for flag in ("--length", "--last-chars", "-n"):
        assert "the text has 100 characters" in shell("discover", run, text_file, flag, 100).err
    for flag in ("--births", "--emergence"):
        assert "--keep-checkpoints" in shell("discover", run, text_file, flag).err
    shown = shell("discover", "--help").out
    assert "--last-chars" in shown
    assert "--length" not in shown
    assert "--births" not in shown


def test_what_discover_cannot_do_is_one_sentence(
    run: Path, text_file: Path, shell: Callable[..., SimpleNamespace]
) -> None:
    """No text, too short a text, no such features, no checkpoints: each is a sentence and exit code 1."""
    for words, said in (
        ((run,), "no text was given"),
        ((run, text_file, "-n", 100), "discovering needs 5,000"),
        ((run, text_file, "-n", 0), "--last-chars is 0, but must be 1 or more"),
        ((run, text_file, "--features", "pyton"), "did you mean 'python'?"),
        ((run, text_file, "--shifts", 3), "shifts is 3, but must be 99 or more"),
        ((run, text_file, "--emergence"), "--keep-checkpoints"),
    ):
        result = shell("discover", *words)
        assert (result.code, result.out) == (1, "")
        assert said in result.err
