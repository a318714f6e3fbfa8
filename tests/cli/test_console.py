"""Encodings, escapes and quoting: what commands print arrives on every system."""

import io
import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from conftest import make_model
from nextchar.cli import console
from nextchar.cli.console import print_json, shell_command, stderr
from nextchar.cli.main import COMMANDS, main
from nextchar.storage import ModelFile, to_file, write_model
from nextchar.text.display import visible
from nextchar.text.vocabulary import Vocabulary

Shell = Callable[..., SimpleNamespace]


@pytest.fixture
def stdout(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], io.BytesIO]:
    """Return a way to give standard output an encoding, and to have the bytes that are written to it."""

    def replace(encoding: str) -> io.BytesIO:
        raw = io.BytesIO()
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding, newline="\r\n", write_through=True))
        return raw

    return replace


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain\n\ttext", "plain\n\ttext"),
        ("\u3000a\u00a0b\u2028c", "\u3000a\u00a0b\u2028c"),
        ("👩\u200d💻 नमस्\u200dते \U000e0001", "👩\u200d💻 नमस्\u200dते \U000e0001"),
        ("\ue000\U0010ffff", "\ue000\U0010ffff"),
        ("\x1b[31m\r\x07\x7f\x9b\x00", r"\x1b[31m\x0d\x07\x7f\x9b\x00"),
        ("\u202eabc\u2066\u200f\u061c", r"\u202eabc\u2066\u200f\u061c"),
        ("a\ud800\udcff", r"a\ud800\udcff"),
    ],
)
def test_only_what_controls_a_terminal_is_escaped(text: str, shown: str) -> None:
    """Control characters, bidirectional controls and surrogates are escaped; everything else is as it was written."""
    assert visible(text) == shown


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1", "cp1252"])
def test_json_is_json_in_every_encoding(stdout: Callable[[str], io.BytesIO], encoding: str) -> None:
    """What an encoding lacks, and half a character, is escaped as JSON escapes it."""
    raw = stdout(encoding)
    value = {"text": "é€😀\n", "name": os.fsdecode(b"\xff"), "é": [1.5, None]}
    print_json(value)
    assert json.loads(raw.getvalue().decode(encoding)) == value
    assert raw.getvalue().count(b"\n") == 1


@pytest.mark.parametrize("name", ["my run", "a'b", 'say "yes"', "[red]x", "$HOME;ls", "é", "-x"])
def test_a_command_to_copy_is_quoted(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A POSIX shell splits a command into the same words; on Windows it has that system's quotes."""
    monkeypatch.setattr(console, "WINDOWS", False)
    assert shlex.split(shell_command("nextchar", "sample", Path(name))) == ["nextchar", "sample", name]
    monkeypatch.setattr(console, "WINDOWS", True)
    assert shell_command("nextchar", "info", r"C:\my runs\a") == r'nextchar info "C:\my runs\a"'


def test_messages_are_never_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Brackets and colons of names and texts are printed as they are."""
    stderr().print("r/a[/b] [red]x[bold] :smile: http://a 50% {x}")
    assert capsys.readouterr().err == "r/a[/b] [red]x[bold] :smile: http://a 50% {x}\n"


def test_windows_streams_are_utf_8(stdout: Callable[[str], io.BytesIO], monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows, a pipe takes UTF-8 and line feeds; an encoding that the user asked for is kept."""
    monkeypatch.setattr(console, "WINDOWS", True)
    monkeypatch.delenv("PYTHONIOENCODING", raising=False)
    raw = stdout("cp1252")
    console.prepare_streams()
    sys.stdout.write("日\nb\n")
    assert raw.getvalue() == "日\nb\n".encode()
    monkeypatch.setenv("PYTHONIOENCODING", "cp1252")
    raw = stdout("cp1252")
    console.prepare_streams()
    sys.stdout.write("é日\n")
    assert raw.getvalue() == b"\xe9\\u65e5\n"


@pytest.fixture
def model(tmp_path: Path, model_file: ModelFile) -> Path:
    """Return a model file whose text has a name that ASCII lacks."""
    model_file.provenance["texts"] = [{"name": "日記.txt", "bytes": 1, "sha256": ""}]
    write_model(tmp_path / "é.safetensors", model_file)
    return tmp_path / "é.safetensors"


@pytest.mark.parametrize(
    "words",
    [
        ["info", "MODEL"],
        ["info", "MODEL", "--json"],
        ["sample", "MODEL", "-n", "3"],
        ["sample", "MODEL", "-n", "3", "-p", "日", "--unknown", "skip", "--json"],
        ["evaluate", "MODEL", "TEXT"],
        ["inspect", "MODEL", "TEXT", "--terminal", "-n", "20"],
        ["inspect", "MODEL", "TEXT", "--gates"],
        ["corpora"],
        ["--help"],
        *([name, "--help"] for name in COMMANDS),
    ],
    ids=" ".join,
)
def test_every_command_prints_in_ascii(
    model: Path, tmp_path: Path, text: str, stdout: Callable[[str], io.BytesIO], words: list[str]
) -> None:
    """Where standard output is ASCII, what it lacks is escaped, and no command fails."""
    (tmp_path / "日.txt").write_text(text[:600], encoding="utf-8")
    raw = stdout("ascii")
    places = {"MODEL": str(model), "TEXT": str(tmp_path / "日.txt")}
    assert main([places.get(word, word) for word in words]) == 0
    assert raw.getvalue().decode("ascii")


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_an_old_model_of_lone_surrogates_is_usable(
    tmp_path: Path, stdout: Callable[[str], io.BytesIO], encoding: str
) -> None:
    """Texts with half characters are refused today; a model that has learnt some generates them escaped."""
    path = tmp_path / "m.safetensors"
    write_model(path, to_file(make_model(Vocabulary("characters", (97, 0xD800, 0xDCE9)))))
    for words in (["info"], ["info", "--json"], ["sample", "-n", "40", "--seed", "1"], ["sample", "-n", "9", "--json"]):
        raw = stdout(encoding)
        assert main([words[0], str(path), *words[1:]]) == 0
        assert "\\ud800" in raw.getvalue().decode(encoding)


def test_a_closed_pipe_on_windows_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows reports a closed pipe as an invalid argument without a file name."""

    def closed(_: str) -> int:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=closed, flush=lambda: None, encoding="utf-8"))
    assert main(["corpora", "--json"]) == 0


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="the commands are split as a POSIX shell does")
def test_names_appear_as_they_are(tmp_path: Path, text: str, shell: Shell) -> None:
    """Names that look like markup, format strings or shell words are printed unchanged by every command that takes them."""
    folder, source = tmp_path / "r [red]x[bold] 50% {a}" / "o[/b]", tmp_path / "m[/b] $x.txt"
    source.parent.mkdir()
    source.write_text(text, encoding="utf-8", newline="")
    sizes = ["--hidden", 8, "--embedding", 4, "--batch-size", 2, "--seq-length", 16]
    trained = shell("train", source, "--steps", 2, *sizes, "-o", folder)
    assert trained.code == 0, trained.err
    assert f"{folder} holds model.safetensors" in trained.err
    copied = [shlex.split(line) for line in trained.err.splitlines() if line.startswith("  nextchar ")]
    assert len(copied) == 3
    assert all(words[0] == "nextchar" and str(folder) in words for words in copied)
    taken = shell("train", source, "--steps", 2, *sizes, "-o", folder)
    assert f"{folder} already holds a run" in taken.err
    for words, said in (
        (("evaluate", folder, source), f"{source}: 20,000 characters"),
        (("inspect", folder, source, "-o", folder / "p.html", "-n", 50), f"{folder / 'p.html'}: "),
        (("info", folder / "gone[/b]"), "gone[/b]"),
        (("info", folder), "b] $x.txt"),
    ):
        result = shell(*words)
        assert said in result.err + result.out


@pytest.mark.slow
@pytest.mark.parametrize("command", list(COMMANDS))
def test_no_integer_is_too_large(
    command: str, model: Path, text_file: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every integer option refuses a number that does not fit into 64 bits in one sentence, with its name."""
    monkeypatch.chdir(model.parent)
    usage = shell(command, "--help-all").out
    arguments = {"sample": [model], "evaluate": [model], "discover": [model], "inspect": [model], "train": [text_file]}
    given = {**arguments, "structure": [model, "--as", "c"]}.get(command, [])
    options = [line.split() for line in usage.splitlines() if " INT " in line]
    assert bool(options) == (command in given_integers())
    for words in options:
        flag = next(word for word in words if word.startswith("--"))
        result = shell(command, *given, f"{flag}={10**24}")
        if flag == "--top-k":  # more than all is all
            assert (result.code, len(result.out)) == (0, 500)
        else:
            assert (result.code, result.out) == (1, ""), flag
            assert str(10**24) in result.err
            assert "Traceback" not in result.err


def given_integers() -> set[str]:
    """Return the commands that have options of integers."""
    return {"train", "sample", "evaluate", "inspect", "discover", "structure", "serve"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["info", "a", "b"], "unexpected argument 'b' (see nextchar info --help)"),
        (["sample"], "sample needs a MODEL, a run folder or a model file, and runs/ holds none"),
        (["sample", "x", "-t"], "-t needs a value (see nextchar sample --help)"),
        (["sample", "x", "-n", "1", "-n", "2"], "-n is given more than once"),
        (["train", "x", "--hiden", "3"], "there is no option --hiden; did you mean '--hidden'?"),
        (["bench", "--only"], "--only needs a value"),
        (["trian"], "there is no command 'trian'; did you mean 'train'? (see nextchar --help)"),
    ],
)
def test_wrong_usage_says_where_help_is(
    shell: Shell, words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command line that cannot be parsed is one sentence that names the word, and the help to read."""
    monkeypatch.chdir(tmp_path)
    result = shell(*words)
    assert (result.code, result.out) == (2, "")
    assert message in result.err
    assert result.err.count("\n") == 1
