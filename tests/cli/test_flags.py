"""Flags as people type them, help on one screen, and the first mistakes of a newcomer."""

import json
import os
import re
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cyclopts import App

from nextchar.cli.flags import DEFAULTS, respell
from nextchar.cli.main import COMMANDS, LONG
from nextchar.cli.mistakes import ANSWERS
from nextchar.config import Config
from nextchar.errors import ConfigError
from nextchar.language_model import LanguageModel
from nextchar.sampling.options import SampleOptions, SamplingParams
from nextchar.storage import save

Shell = Callable[..., SimpleNamespace]
SCREEN = 40  # lines


@pytest.fixture
def newcomer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a text and a folder of texts, and no run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "book.txt").write_text("It was the best of times. " * 400, encoding="utf-8")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("abc\n" * 99, encoding="utf-8")
    return tmp_path


@pytest.fixture
def runs(newcomer: Path, lm: LanguageModel) -> Path:
    """Work in a folder with a new run, one of five hours ago without a score, and one that is damaged."""
    valid = {"protocol": "stream", "nats_per_char": 1.4357, "bits_per_char": 2.0713}
    scored = LanguageModel(lm.network, lm.vocabulary, lm.config, {"step": 3, "valid": valid})
    for name, model in (("new", scored), ("my run", lm)):
        (newcomer / "runs" / name).mkdir(parents=True)
        save(model, newcomer / "runs" / name / "model.safetensors")
    (newcomer / "runs" / "broken").mkdir()
    (newcomer / "runs" / "broken" / "model.safetensors").write_bytes(b"\x01\x00\x00\x00\x00\x00\x00\x00{")
    old = time.time() - 5 * 3600
    os.utime(newcomer / "runs" / "my run" / "model.safetensors", (old, old))
    return newcomer


@pytest.fixture
def options(shell: Shell, newcomer: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Return a function that parses a command line of `train`, and returns the options of training that it gave."""
    given: list[dict[str, Any]] = []

    def compose(explicit: dict[str, Any], **_: object) -> None:
        given.append(explicit)
        raise ConfigError("parsed")

    monkeypatch.setattr("nextchar.cli.train.compose", compose)

    def parse(*words: object) -> dict[str, Any]:
        assert "parsed" in shell("train", newcomer / "book.txt", *words).err
        return given.pop()

    return parse


@pytest.fixture
def generated(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Callable[..., SampleOptions]:
    """Return a function that parses a command line of `sample`, and returns the options of its generator."""
    given: list[SampleOptions] = []

    def generator(_: object, options: SampleOptions) -> None:
        given.append(options)
        raise ConfigError("parsed")

    monkeypatch.setattr("nextchar.sampling.generation.Generator", generator)

    def parse(*words: object) -> SampleOptions:
        assert "parsed" in shell("sample", "model", *words).err
        return given.pop()

    return parse


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--batch_size 7 --seq_length=9", {"batch_size": 7, "seq_length": 9}),
        ("-rnn_size 12 -num_layers 3 -model gru -dropout 0.5", {"hidden": 12, "layers": 3, "cell": "gru", "dropout": 0.5}),
        ("--n_layer=4 --block-size 64 --max_iters=9 --grad-clip 2", {"layers": 4, "seq_length": 64, "steps": 9, "grad_clip_norm": 2.0}),
        ("-m 2", {"minutes": 2.0}),
        ("--lanes 3 --cold_start 0.1", {"batch_size": 3, "state_reset_prob": 0.1}),
        ("--no_calibrate", {"calibrate": False}),
    ],
)  # fmt: skip
def test_flags_of_other_projects_mean_the_same(
    options: Callable[..., dict[str, Any]], words: str, expected: dict[str, Any]
) -> None:
    """Underscores, one dash in place of two, names of other projects and of version 0.1.0 set the option they name."""
    assert options(*words.split()) == expected


@pytest.mark.parametrize("name", Config.model_fields)
def test_every_alias_of_training_sets_its_option(options: Callable[..., dict[str, Any]], name: str) -> None:
    """Each declared alias, with dashes or with underscores, sets the option at which it is declared."""
    extra: Any = Config.model_fields[name].json_schema_extra
    values = {
        "cell": "gru",
        "dropout": 0.25,
        "valid": 0.25,
        "test": 0.25,
        "beta1": 0.25,
        "beta2": 0.25,
        "lr_decay": 0.25,
    }
    for alias in extra["alias"].split():
        flag = "-" + alias if len(alias) == 1 else "--" + alias
        value = values.get(name, 3)
        assert (
            options(flag, value) == options(flag.replace("-", "_").replace("__", "--", 1), value)
            if flag[1] == "-"
            else True
        )
        assert options(flag, value) == {name: value}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("", SampleOptions(seed=None)),
        ("-n 9 -t 0.5", SampleOptions(length=9, params=SamplingParams(0.5), seed=None)),
        ("--max_new_tokens=9 --top-n 3 --temp 0", SampleOptions(length=9, params=SamplingParams(0, 3), seed=None)),
        (r"-seed 5 --stop_strings \n END", SampleOptions(seed=5, stop=("\n", "END"))),
        ("--weights int8 --device auto --unknown skip --top_p 0.5 --min-p 0.1", SampleOptions(
            weights="int8", device="auto", unknown="skip", params=SamplingParams(top_p=0.5, min_p=0.1), seed=None)),
    ],
)  # fmt: skip
def test_flags_of_sample_are_its_options(
    generated: Callable[..., SampleOptions], words: str, expected: SampleOptions
) -> None:
    """Every field of `SampleOptions` and `SamplingParams` is a flag; only the seed has another default."""
    given = generated(*words.split())
    names = ("length", "stop", "seed", "unknown", "weights", "device")
    assert [getattr(given, name) for name in names] == [getattr(expected, name) for name in names]
    assert [getattr(given.params, n) for n in SamplingParams.__match_args__] == [
        getattr(expected.params, n) for n in SamplingParams.__match_args__
    ]


def test_a_text_without_a_seed_is_new_each_time(runs: Path, shell: Shell) -> None:
    """The seed of each text is in the JSON, gives the same text, and is another one the next time."""
    first, second = (json.loads(shell("sample", runs / "runs/new", "-n", 20, "--json").out) for _ in range(2))
    again = json.loads(shell("sample", runs / "runs/new", "-n", 20, "--json", "--seed", first["seed"]).out)
    assert first["seed"] != second["seed"]
    assert again["samples"] == first["samples"]


@pytest.mark.parametrize(
    ("words", "spelled"),
    [
        ("x --a_b=c_d e_f", "x --a-b=c_d e_f"),
        ("-seed 3 -n5 -phello -1", "--seed 3 -n5 -phello -1"),
        ("x -- --a_b", "x -- --a_b"),
        ("-p --a_b", "-p \0--a_b"),
        ("--start -seed", "--start \0-seed"),
        ("--prompt=- -seed 3", "--prompt=- --seed 3"),
        ("src --suffix=.c .h", "src --suffix=.c --suffix .h"),
        ("src --suffix .c .h more", "src --suffix .c --suffix .h more"),
        ("--suffix .c src .h", "--suffix .c src .h"),
        ("m --with a.safetensors b.safetensors t", "m --with a.safetensors --with b.safetensors t"),
        ("m --with a b", "m --with a b"),
    ],
)
def test_words_are_respelled_as_flags_are_declared(words: str, spelled: str, newcomer: Path) -> None:
    """Only names of flags change: no value, no argument, nothing after --."""
    assert newcomer == Path.cwd()
    assert list(respell(words.split(), lambda: {"--seed", "--prompt", "-n", "-p"})) == spelled.split()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_on_a_screen(shell: Shell, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """--help has at most 40 lines of 80 columns on the widest terminal, --help-all has every option, and usage names it."""
    monkeypatch.setenv("COLUMNS", "200")
    short, whole = shell(command, "--help").out, shell(command, "--help-all").out
    assert len(short.splitlines()) <= SCREEN
    assert max(map(len, whole.splitlines())) <= 80
    assert short.startswith(f"Usage: nextchar {command} ")
    assert shell("help", command).out == short
    if command in LONG:
        assert short.rstrip().endswith(f"nextchar {command} --help-all")
        assert len(whole) > len(short)
    else:
        assert whole == short


def test_help_shows_one_name_of_an_option(shell: Shell) -> None:
    """Aliases are not in help texts; a short name is."""
    whole = shell("train", "--help-all").out
    assert "--minutes -m FLOAT" in whole
    assert "--hidden INT" in whole
    assert "--rnn-size" not in whole
    assert "TEXTS" not in whole


def test_nextchar_alone_leads_to_the_first_command(shell: Shell) -> None:
    """Without a command, a short overview names the first ones."""
    result = shell()
    assert (result.code, result.err) == (0, "")
    assert "    nextchar demo " in result.out
    assert result.out.endswith("nextchar COMMAND --help their options.\n")
    assert len(result.out.splitlines()) <= 24


@pytest.mark.parametrize("command", ["sample", "evaluate", "inspect", "discover", "structure", "info"])
def test_without_a_model_the_runs_are_listed(runs: Path, shell: Shell, command: str) -> None:
    """Newest first, with score, shape and age, and the command for the newest; a damaged one is left out."""
    result = shell(command)
    assert (result.code, result.out) == (2, "")
    rows = [line.split() for line in result.err.splitlines() if line.startswith(f"  {Path('runs')}")]
    assert rows == [
        [str(Path("runs/new")), "2.07", "bits/char", "lstm", "2x8", "0", "min", "ago"],
        [*str(Path("runs/my run")).split(), "lstm", "2x8", "5", "h", "ago"],
    ]
    assert f"  nextchar {command} {Path('runs/new')}" in result.err
    assert "broken" in {path.name for path in (runs / "runs").iterdir()}


@pytest.fixture(scope="module")
def all_flags() -> set[str]:
    """Return the flags of all commands."""
    app = App(default_parameter=DEFAULTS)
    for name in COMMANDS:
        app.command(import_module(f"nextchar.cli.{name}").command, name=name)
    return {flag for name in COMMANDS for each in app[name].assemble_argument_collection() for flag in each.names}


MISTAKES = {
    "book.txt": "book.txt is a text, not a command; try: nextchar train book.txt",
    "notes": "notes is a text, not a command; try: nextchar train notes",
    "missing.txt": "missing.txt is a text, not a command; try: nextchar train missing.txt",
    "trian book.txt": "there is no command 'trian'; did you mean 'train'?",
    "generate runs/x": "did you mean 'sample'?",
    "quux": "there is no command 'quux'; there is demo, train, sample,",
    "--temperature 1": "there is no command '--temperature'",
    "sample": "runs/ holds none; train one: `nextchar demo`, or `nextchar train book.txt`",
    "info": "info needs a MODEL, a run folder or a model file",
    "sample book.txt": "book.txt is a text, not a model",
    "evaluate book.txt --split valid": "book.txt is a text, not a model",
    "sample notes": "the folder notes holds no model.safetensors",
    "sample m ROMEO:": "unexpected argument 'ROMEO:'; a prompt is given with -p: -p 'ROMEO:'",
    "sample m -p": "-p needs a value",
    "sample m --topk 3": "there is no option --topk; did you mean '--top-k'?",
    "sample m --tempreature 1": "did you mean '--temperature'?",
    "sample m --no_repeat_ngram_size 4": "--frequency-penalty makes characters less likely each time that they come",
    "sample m --beam-size 4": "there is no beam search",
    "sample m --hidden 9": "there is no option --hidden; it is an option of `nextchar train`",
    "sample --checkpoint m": "a model has no flag: `nextchar sample runs/book`",
    "sample m -t warm": "-t",
    "sample m -o text.txt": "results go to standard output, so that > FILE keeps them",
    "sample m --max_length 9": "--length counts the characters after the prompt",
    "train": "no text was given; name a file, a folder, - for standard input, or one of `nextchar corpora`",
    "train bok.txt": "there is no file, folder or corpus named 'bok.txt'; did you mean 'book.txt'?",
    "train shakespear": "did you mean 'shakespeare'?",
    "train zzz": "`nextchar corpora` lists the corpora",
    "train --data book.txt": "a text has no flag: `nextchar train book.txt`",
    "train book.txt --n_embd 64": "--hidden is the number of units in a layer",
    "train book.txt --n-head 4": "an LSTM has no attention heads",
    "train book.txt -gpuid 0": "--device cuda computes on a GPU",
    "train book.txt --temperature 1": "it is an option of `nextchar sample`",
    "train book.txt --hidden big": "hidden is 'big', but must be a valid integer",
    "train book.txt --minutes": "--minutes needs a value",
    "train book.txt --hidden 3 --rnn-size 4": "--rnn-size is given more than once",
    "train book.txt --model transformer": "cell is 'transformer', but must be 'lstm', 'gru' or 'rnn'",
}  # fmt: skip


@pytest.mark.parametrize("words", MISTAKES)
def test_first_mistakes_are_answered(newcomer: Path, shell: Shell, words: str) -> None:
    """What a newcomer types first and gets wrong is answered in one sentence with the nearest thing that exists."""
    result = shell(*words.split())
    assert result.code in (1, 2)
    assert result.out == ""
    assert MISTAKES[words] in result.err
    assert "Traceback" not in result.err
    assert sorted(path.name for path in newcomer.iterdir()) == ["book.txt", "notes"]


@pytest.mark.parametrize("names", ANSWERS["flags"])
def test_answers_name_what_exists(all_flags: set[str], names: str) -> None:
    """Every flag that an answer names is one of some command."""
    assert set(re.findall(r"--[a-z][a-z0-9-]*", ANSWERS["flags"][names])) <= all_flags
    assert set(ANSWERS["commands"].values()) <= set(COMMANDS)


def test_a_run_without_its_folder_is_found(runs: Path, shell: Shell) -> None:
    """`sample NAME` says that the run is runs/NAME; a run as a command leads to `sample`."""
    assert f"there is no model file new; did you mean '{Path('runs/new')}'?" in shell("sample", "new").err
    assert "try: nextchar sample " in shell(runs / "runs" / "new").err
