"""The Hub: what is sent comes back as the same bytes, with its card, and every failure is one sentence. A server of our own answers."""

import json
import os
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PureWindowsPath
from types import SimpleNamespace

import pytest

import nextchar
from exporting.hub_server import Hub, serving
from nextchar.errors import ConfigError, HubError, MissingExtraError, NextcharError
from nextchar.exporting.card import MARK, code, fenced, write
from nextchar.language_model import LanguageModel
from nextchar.storage import MODEL, load, read_model, save, to_file
from nextchar.text import hub as addresses
from nextchar.text.corpus import open_corpus
from nextchar.text.hub import Address, hub, is_hub, parse_address

constants = pytest.importorskip("huggingface_hub.constants")

# huggingface_hub's own upload, of which nothing can be changed here.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

Shell = Callable[..., SimpleNamespace]
SMALL = ("--hidden", 8, "--layers", 1, "--steps", 2, "--batch-size", 2, "--seq-length", 8)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Return an empty Hub, a cache of its own, and a token that may write as `user`."""
    with serving() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        monkeypatch.setenv("HF_TOKEN", "hf_good")
        monkeypatch.setattr(constants, "ENDPOINT", served.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", served.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub-cache"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "no-token"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr("time.sleep", lambda _: None)  # it waits before it tries again
        yield served


@pytest.fixture
def run(tmp_path: Path, lm: LanguageModel, text_file: Path) -> Path:
    """Return a run folder with a provenance, beside its text."""
    folder = tmp_path / "small"
    folder.mkdir()
    corpus = open_corpus(text_file)
    valid = {"protocol": "stream", "chars": 1000, "bytes": 1000, "nats_per_char": 1.0, "bits_per_char": 1.4427}
    origin = {"texts": list(corpus.names), "corpus": corpus.key, "step": 1200, "epochs": 2.5, "valid": valid}
    save(replace(lm, provenance=origin), folder / MODEL)
    return folder


def model_bytes(lm: LanguageModel, folder: Path) -> bytes:
    """Return the model file of a model."""
    save(lm, folder / "some.safetensors")
    return (folder / "some.safetensors").read_bytes()


# -- addresses -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("hf://user/name", Address("user/name")),
        ("hf://user/name@v1.0", Address("user/name", "model", "v1.0")),
        ("hf://user/name@refs/pr/3", Address("user/name", "model", "refs/pr/3")),
        ("hf://user/name@refs%2Fpr%2F3", Address("user/name", "model", "refs/pr/3")),
        ("hf://models/user/name", Address("user/name")),
        ("hf://datasets/user/na.me_1", Address("user/na.me_1", "dataset")),
        ("hf://datasets/user/name@main/a/b c.txt", Address("user/name", "dataset", "main", "a/b c.txt")),
        (Path("hf://user/name@abc"), Address("user/name", "model", "abc")),
        (PureWindowsPath("hf://user/name@abc"), Address("user/name", "model", "abc")),
        (PureWindowsPath("hf://datasets/user/name/a/b.txt"), Address("user/name", "dataset", "main", "a/b.txt")),
    ],
)
def test_addresses_are_read(name: str | Path, address: Address) -> None:
    """A path keeps its meaning, though it has lost a slash; what is read is written in one form."""
    assert is_hub(name)
    assert parse_address(name) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    "name",
    [
        "hf://",
        "hf://name",
        "hf://us·er/name",
        "hf://user/na;me",
        "hf://user/name@",
        "hf://user/name@a..b",
        "hf://-user/name",
        "hf://user/na--me",
        "hf://user/name.git",
        "hf://user/..",
        "hf://user/nämé",
        "hf://user/na%20me",
        "hf://user/name@a%0Ab",
        "hf://datasets/user/name/../x",
        "hf://datasets/user/name/a\\b",
        "hf://user/name\n",
        "hf://user/a\x1b[2J",
        "hf://us er/name",
        "hf://datasets/user/name/a\nb",
    ],
)
def test_odd_addresses_are_refused_before_any_request(server: Hub, name: str) -> None:
    """The sentence says how an address is written."""
    with pytest.raises(HubError, match=r"is no address on the Hub; write hf://USER/NAME|is no name of a file"):
        load(name)
    with pytest.raises(HubError):
        open_corpus(name)
    assert server.requests == []


def test_names_that_are_no_addresses() -> None:
    """Files are told from addresses."""
    assert not any(map(is_hub, ["book.txt", "hf", "runs/hf:", "-", Path("hf"), 3, None]))


def test_a_missing_extra_is_one_sentence(monkeypatch: pytest.MonkeyPatch, shell: Shell, run: Path) -> None:
    """It has the line that installs it."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingExtraError, match=r"^huggingface_hub is not installed; pip install 'nextchar\[hub\]'$"):
        load("hf://user/name")
    assert "pip install 'nextchar[hub]'" in shell("push", run, "user/name", "--licence", "mit").err
    assert shell("push", run, "user/name", "--licence", "mit", "--dry-run").code == 0


# -- reading ---------------------------------------------------------------------------------------------------------


def test_a_model_comes_back_with_the_same_bits(server: Hub, shell: Shell, run: Path, tmp_path: Path) -> None:
    """What is sent is the file itself; what is read has the hash of its commit in its provenance."""
    sent = shell("push", run, "user/small", "--licence", "MIT")
    assert sent.code == 0, sent.err
    repository = server.repositories["model", "user/small"]
    commit = repository.refs["main"]
    assert sent.out == f"hf://user/small@{commit}\n"
    assert f"{server.url}/user/small" in sent.err
    files = repository.commits[commit]
    assert set(files) == {".gitattributes", MODEL, "config.json", "README.md"}
    assert files[MODEL] == (run / MODEL).read_bytes()
    config = json.loads(files["config.json"])
    assert (config["model_type"], config["cell"], config["hidden"], config["layers"]) == ("nextchar", "lstm", 8, 2)

    lm = load("hf://user/small")
    assert lm.provenance == {**read_model(run).provenance, "hub": f"hf://user/small@{commit}"}
    assert lm.sample("a", seed=1).text == nextchar.sample(run, "a", seed=1).text
    assert (
        shell("sample", "hf://user/small", "-n", 20, "--seed", 1).out == shell("sample", run, "-n", 20, "--seed", 1).out
    )
    info = json.loads(shell("info", f"hf://user/small@{commit}", "--json").out)
    assert info["provenance"]["hub"] == f"hf://user/small@{commit}"
    assert f"hf://user/small@{commit}" in shell("info", "hf://user/small").out
    lm.save(tmp_path / "copy.safetensors")
    assert nextchar.load(tmp_path / "copy.safetensors").provenance["hub"] == f"hf://user/small@{commit}"


@pytest.mark.slow
def test_every_command_takes_a_model_of_the_hub(
    server: Hub, shell: Shell, lm: LanguageModel, tmp_path: Path, text_file: Path
) -> None:
    """As it takes a file."""
    server.add("user/small", {MODEL: model_bytes(lm, tmp_path)})
    name, text = "hf://user/small", text_file
    for words in (
        ("sample", tmp_path / "some.safetensors", "--with", name, "-n", 5, "--seed", 1),
        ("evaluate", name, text, "--json"),
        ("inspect", name, text, "--chars", 100, "--neurons", "0:1", "-o", tmp_path / "page.html"),
        ("structure", name, "--as", "python", "--against", text, "--count", 2, "-n", 300, "--ngram", 0, "--json"),
        ("export", name, tmp_path / "small.pt"),
        ("push", name, "user/copy", "--licence", "mit", "--dry-run"),
    ):
        result = shell(*words)
        assert result.code == 0, result.err


@pytest.mark.shell
@pytest.mark.slow
def test_the_environment_says_where_the_hub_is(server: Hub, lm: LanguageModel, tmp_path: Path) -> None:
    """HF_ENDPOINT, HF_TOKEN and HF_HOME are huggingface_hub's own, in a process of its own."""
    server.add("user/secret", {MODEL: model_bytes(lm, tmp_path)}, private=True)
    place = {"HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": "hf_good"}
    words = [sys.executable, "-m", "nextchar", "sample", "hf://user/secret", "-n", "9", "--seed", "1"]
    result = subprocess.run(words, env={**os.environ, **place}, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout == lm.sample("", length=9, seed=1).text
    assert list((tmp_path / "home" / "hub").glob("models--user--secret"))


def test_a_revision_stays_what_it_was(server: Hub, lm: LanguageModel, tmp_path: Path) -> None:
    """A commit, a tag and a branch name what they name, whatever is sent later."""
    repository = server.add("user/small", {MODEL: model_bytes(lm, tmp_path)})
    first = repository.refs["v1"] = repository.refs["main"]
    second = repository.commit({MODEL: model_bytes(replace(lm, provenance={"step": 7}), tmp_path)})
    for name, commit, step in ((f"@{first}", first, 0), ("@v1", first, 0), ("@main", second, 7), ("", second, 7)):
        provenance = read_model(f"hf://user/small{name}").provenance
        assert (provenance["hub"], provenance["step"]) == (f"hf://user/small@{commit}", step)


def test_what_is_cached_works_offline(
    server: Hub, lm: LanguageModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models and texts are read from the cache: with HF_HUB_OFFLINE, and if nothing can be reached."""
    server.add("user/small", {MODEL: model_bytes(lm, tmp_path)})
    server.add("user/letters", {"a.txt": b"abc" * 50, "b.txt.md": b"no", "z/b.txt": b"xyz" * 50}, "dataset")
    online = read_model("hf://user/small").provenance, open_corpus("hf://datasets/user/letters").names
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = len(server.requests)
    assert (read_model("hf://user/small").provenance, open_corpus("hf://datasets/user/letters").names) == online
    assert len(server.requests) == asked
    with pytest.raises(
        HubError, match=r"^hf://user/other/.*: HF_HUB_OFFLINE forbids the network, and the cache does not"
    ):
        load("hf://user/other")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", dead)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", dead + "/{repo_id}/resolve/{revision}/{filename}")
    assert (read_model("hf://user/small").provenance, open_corpus("hf://datasets/user/letters").names) == online
    with pytest.raises(
        HubError, match=r"^hf://user/other/model.*: http://127.* cannot be reached; check the connection"
    ):
        load("hf://user/other")
    with pytest.raises(HubError, match="cannot be reached"):
        open_corpus("hf://datasets/user/other")


FAILURES = {
    "hf://user/none": "there is no such repository, or it is private; check the name, or log in",
    "hf://user/private": "there is no such repository, or it is private; check the name, or log in",
    "hf://user/gated": "its owner decides who may read it; ask for access at http://127",
    "hf://user/small@v9": "there is no such revision; leave out @REVISION for the newest",
    "hf://user/empty": "the repository holds no such file",
    "hf://datasets/user/small": "there is no such repository",
}


@pytest.mark.parametrize("name", FAILURES)
def test_every_failure_is_one_sentence(
    server: Hub, shell: Shell, lm: LanguageModel, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the address and the remedy, without a traceback."""
    monkeypatch.delenv("HF_TOKEN")
    model = {MODEL: model_bytes(lm, tmp_path)}
    server.add("user/small", model)
    server.add("user/private", model, private=True)
    server.add("user/gated", model, gated=True)
    server.add("user/empty", {"pytorch_model.bin": b"PK"})
    words = ("train", name, *SMALL) if "datasets" in name else ("sample", name, "-n", 5)
    result = shell(*words)
    assert result.code == 1
    said = [line for line in result.err.splitlines() if line.startswith("nextchar: error:")]
    assert len(said) == 1
    assert said[0].startswith(f"nextchar: error: {name.partition('@')[0]}")
    assert FAILURES[name] in said[0]


def test_a_wrong_token_is_one_sentence(server: Hub, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For reading and for writing."""
    monkeypatch.setenv("HF_TOKEN", "hf_bad")
    for call in (lambda: load("hf://user/small"), lambda: nextchar.push(run, "user/small", licence="mit")):
        with pytest.raises(HubError, match=r"^hf://user/small.*: the Hub does not accept the token; .*HF_TOKEN\)$"):
            call()
    assert not server.repositories


def test_an_interrupted_download_leaves_nothing(server: Hub, lm: LanguageModel, tmp_path: Path) -> None:
    """It is one sentence, and the next attempt succeeds."""
    server.add("user/small", {MODEL: model_bytes(lm, tmp_path)})
    server.broken.add(MODEL)
    with pytest.raises(HubError, match=rf"^hf://user/small/{MODEL}: the transfer broke off; try again$"):
        load("hf://user/small")
    server.broken.clear()
    assert load("hf://user/small").provenance["step"] == 0


def test_only_the_model_file_is_read(server: Hub, lm: LanguageModel, tmp_path: Path) -> None:
    """Pickles and other files are not even fetched; a file that is too large is refused before it is fetched."""
    server.add("user/small", {MODEL: model_bytes(lm, tmp_path), "pytorch_model.bin": b"\x80\x05", "a.py": b"1/0"})
    load("hf://user/small")
    fetched = {path.rpartition("/")[2] for method, path in server.requests if method in ("GET", "HEAD")}
    assert fetched <= {MODEL, "agent-harnesses"}
    with pytest.raises(HubError, match=rf"of a repository only {MODEL} is read, so write hf://USER/NAME"):
        load("hf://user/small/pytorch_model.bin")
    server.add("user/large", {MODEL: b"x"})
    server.sizes[MODEL] = addresses.LARGEST_MODEL + 1
    asked = len(server.requests)
    with pytest.raises(HubError, match=r"has 4,294,967,297 bytes, and at most 4,294,967,296 are read; name another"):
        load("hf://user/large")
    assert {method for method, _ in server.requests[asked:]} == {"HEAD"}


@pytest.mark.parametrize("content", [b"\x80\x05.", b"PK\x03\x04", b"", b"hello", b"\xff" * 40])
def test_a_file_that_is_no_model_is_refused(server: Hub, content: bytes) -> None:
    """As on disk; nothing is run."""
    server.add("user/odd", {MODEL: content})
    with pytest.raises(NextcharError, match=r"pickle|damaged|not one that nextchar|text, not a model"):
        load("hf://user/odd")


# -- texts -----------------------------------------------------------------------------------------------------------


def test_texts_fill_the_same_cache(server: Hub, tmp_path: Path) -> None:
    """A file, or all .txt files of a repository; the same content has the same entry as on disk."""
    server.add("user/letters", {"README.md": b"card", "b/two.txt": b"xyz\n" * 9, "one.txt": b"abc\n" * 9}, "dataset")
    commit = server.repositories["dataset", "user/letters"].refs["main"]
    (tmp_path / "one.txt").write_bytes(b"abc\n" * 9)
    one = open_corpus("hf://datasets/user/letters/one.txt")
    assert one.key == open_corpus(tmp_path / "one.txt").key
    assert one.names[0]["name"] == f"hf://datasets/user/letters@{commit}/one.txt"
    both = open_corpus("hf://datasets/user/letters")
    assert [each["name"].rpartition("@")[2] for each in both.names] == [f"{commit}/b/two.txt", f"{commit}/one.txt"]
    assert len(both) == 72
    server.add("user/book", {"book.txt": b"It was"})
    assert len(open_corpus("hf://user/book/book.txt")) == 6


def test_a_repository_without_texts_lists_what_it_has(server: Hub) -> None:
    """And how one of its files is named."""
    server.add("user/tables", {f"{letter}.parquet": b"" for letter in "abcdefg"}, "dataset")
    with pytest.raises(
        HubError, match=r"holds no \.txt file, but a\.parquet, .*\.\.\.; name a file, hf://datasets/use"
    ):
        open_corpus("hf://datasets/user/tables")
    server.add("user/small", {})
    with pytest.raises(HubError, match=r"but nothing; .*; a data set is named hf://datasets/USER/NAME"):
        open_corpus("hf://user/small")


def test_a_run_on_a_text_of_the_hub_can_be_repeated(server: Hub, shell: Shell, tmp_path: Path, text: str) -> None:
    """The run and its model name the commit, so a change on the Hub changes neither."""
    data = server.add("user/code", {"code.txt": text.encode()}, "dataset")
    first = data.refs["main"]
    assert shell("train", "hf://datasets/user/code", *SMALL, "-o", tmp_path / "run").code == 0
    pinned = f"hf://datasets/user/code@{first}"
    assert tomllib.loads((tmp_path / "run" / "config.toml").read_text(encoding="utf-8"))["texts"] == [pinned]
    assert read_model(tmp_path / "run").provenance["texts"][0]["name"] == f"{pinned}/code.txt"
    data.commit({"code.txt": b"something else " * 500})
    assert shell("train", "--resume", tmp_path / "run", "--steps", 1).code == 0
    assert shell("train", "--config", tmp_path / "run" / "config.toml", "-o", tmp_path / "again").code == 0
    assert read_model(tmp_path / "again").provenance["corpus"] == read_model(tmp_path / "run").provenance["corpus"]


def test_a_run_that_starts_from_the_hub_says_so(
    server: Hub, shell: Shell, lm: LanguageModel, tmp_path: Path, text_file: Path
) -> None:
    """The provenance has the commit of the model, also after the run was continued."""
    commit = server.add("user/small", {MODEL: model_bytes(lm, tmp_path)}).refs["main"]
    words = ("--steps", 2, "--batch-size", 2, "--seq-length", 8, "-o", tmp_path / "run")
    started = shell("train", text_file, "--init-from", "hf://user/small", *words)
    assert started.code == 0, started.err
    assert read_model(tmp_path / "run").provenance["init_from"] == f"hf://user/small@{commit}"
    assert shell("train", "--resume", tmp_path / "run", "--steps", 2).code == 0
    assert read_model(tmp_path / "run").provenance["init_from"] == f"hf://user/small@{commit}"
    card = nextchar.push(tmp_path / "run", "user/next", licence="mit", dry_run=True).as_dict()["card"]
    assert f"started from the weights of `hf://user/small@{commit}`" in card


# -- writing ---------------------------------------------------------------------------------------------------------


def test_a_dry_run_sends_nothing(server: Hub, shell: Shell, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It prints the files and the card, and needs no token."""
    monkeypatch.delenv("HF_TOKEN")
    shown = shell("push", run, "user/small", "--license", "cc-by-4.0", "--dry-run")
    assert shown.code == 0
    assert shown.out.startswith(f"would be sent to {server.url}/user/small (public), and was not:\n  {MODEL} ")
    assert "\nlicense: cc-by-4.0\n" in shown.out
    values = json.loads(shell("push", run, "user/small", "--licence", "mit", "--dry-run", "--json", "--private").out)
    assert (values["sent"], values["commit"], values["private"]) == (False, None, True)
    assert [file["name"] for file in values["files"]] == [MODEL, "config.json", "README.md"]
    assert server.requests == []


def test_the_card_says_what_the_model_is(run: Path, text: str) -> None:
    """Metadata, use, sample, what is copied, score with its protocol, texts with digests, and limitations."""
    upload = nextchar.push(run, "user/small", licence="mit", dry_run=True)
    card = upload.files["README.md"].decode()
    head = card.split("---\n")[1]
    for line in ("library_name: nextchar", "pipeline_tag: text-generation", "license: mit", "- nextchar", "- lstm"):
        assert line in head.splitlines()
    sha = read_model(run).provenance["texts"][0]["sha256"]
    for words in (
        "nextchar sample hf://user/small --length 500",
        'nextchar.sample("hf://user/small", length=500)',
        "**1.443 bits per character** on 1,000 characters",
        "Protocol *stream*: every character is scored once",
        f"| `small.txt` | 20,000 | `{sha}` |",
        "1,200 steps, 2.50 times through the text.",
        "In 10 samples of 1,000 characters at temperature 0.8, ",
        "it knows no facts, follows no",
        "seed 0, temperature 0.8",
    ):
        assert words in card
    sample = nextchar.sample(run, length=1000, temperature=0.8, seed=0).text
    assert fenced(sample[:600]) in card
    assert upload.measured
    alone = nextchar.push(to_file(load(run)), "user/small", licence="mit", dry_run=True)
    assert not alone.measured
    assert b"Not measured: the training text was not at hand." in alone.files["README.md"]
    against = nextchar.push(to_file(load(run)), "user/small", licence="mit", against=text, dry_run=True)
    assert against.files["README.md"] == upload.files["README.md"]


def test_texts_and_names_cannot_leave_their_place_in_the_card() -> None:
    """A sample with fences, and names with bars and backticks, stay what they are shown as."""
    assert fenced("````\n# x").startswith("`````text\n")
    assert code("a|`b`\n# c").count("`") == 2
    assert "|" not in code("a|b")
    assert "\x1b" not in fenced("\x1b[2J")


def test_a_card_of_a_foreign_provenance_is_written(lm: LanguageModel) -> None:
    """What a model from elsewhere says of itself is text in its card, and may lack parts."""
    texts = [{"name": "a|`b`\n# c", "sha256": "|", "bytes": "x"}, {"name": "b"}]
    valid = {"protocol": "odd", "nats_per_char": 1.0, "bits_per_char": 1.4427}
    file = replace(to_file(lm), provenance={"texts": texts, "init_from": "`\n# x", "valid": valid})
    lines = nextchar.push(file, "user/odd", licence="mit", dry_run=True).files["README.md"].decode().splitlines()
    assert not {"# c", "# x"} & {line.strip() for line in lines}
    assert len([line for line in lines if line.startswith("| ") and line.count("|") == 4]) == 3


def test_copies_are_said_in_words(lm: LanguageModel) -> None:
    """Also where there are none, or only blanks."""
    sample, copied = write(to_file(lm), "\u0416" * 50)
    assert len(sample) == 1000
    assert copied.endswith("The longest copied passage has 0 characters.")
    sample, copied = write(to_file(lm), "\u0416 \u0416")
    assert copied.endswith("The longest copied passage has 1 characters, all blanks.")


def test_licences_and_names_are_checked_before_anything_is_read(server: Hub, shell: Shell, tmp_path: Path) -> None:
    """So a mistake costs no time; without a terminal the licence is not asked for."""
    for words, message in (
        (("user/name",), "no licence was given; name one, such as --licence mit"),
        (("user/name", "--licence", "my licence"), "the licence is 'my licence', but must be an identifier of the Hub"),
        (("name", "--licence", "mit"), "'hf://name' is no address on the Hub"),
        (("us er/name", "--licence", "mit"), "is no address on the Hub"),
        (("datasets/user/name", "--licence", "mit"), "a model is sent to USER/NAME, but datasets/user/name was given"),
        (("user/name@v1", "--licence", "mit"), "a model is sent to USER/NAME, but user/name@v1 was given"),
    ):
        result = shell("push", tmp_path / "missing", *words)
        assert result.code == 1
        assert message in result.err
        assert len(result.err.splitlines()) == 1
    assert server.requests == []


def test_the_licence_is_asked_for_in_a_terminal(
    server: Hub, shell: Shell, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And used as it was typed."""
    typed = iter(["cc0-1.0 \n", ""])
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True, readline=lambda: next(typed)))
    missing = shell("push", run / "none", "user/small", "--dry-run")
    assert "there is no model file" in missing.err
    assert "Licence" not in missing.err
    result = shell("push", run, "user/small", "--dry-run")
    assert "Licence of the model, such as mit" in result.err
    assert "\nlicense: cc0-1.0\n" in result.out
    ended = shell("push", run, "user/small", "--dry-run")
    assert ended.code == 1
    assert "the licence is '', but must be an identifier" in ended.err
    assert server.requests == []


def test_a_mistake_of_ours_is_not_taken_for_one_of_the_hub() -> None:
    """It has its traceback."""
    with pytest.raises(AttributeError), hub("hf://user/small") as library:
        library.no_such_function()


def test_a_token_that_is_missing_is_one_sentence(
    server: Hub, shell: Shell, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says how to log in; there is no flag for a token."""
    monkeypatch.delenv("HF_TOKEN")
    result = shell("push", run, "user/small", "--licence", "mit")
    assert result.code == 1
    assert "there is no token of the Hub to write with; `hf auth login` stores a token, or set the" in result.err
    assert server.requests == []
    assert shell("push", run, "user/small", "--token", "hf_x").code == 2


def test_another_name_than_ones_own_is_refused(server: Hub, run: Path) -> None:
    """The token has no right there."""
    with pytest.raises(
        HubError, match=r"^hf://other/small: the Hub does not let this token write here; make one that may"
    ):
        nextchar.push(run, "other/small", licence="mit")
    assert not server.repositories


def test_a_private_model_is_never_sent_to_a_public_place(server: Hub, run: Path) -> None:
    """A new repository is private; one that is public is refused."""
    nextchar.push(run, "user/secret", licence="other", private=True)
    assert server.repositories["model", "user/secret"].private
    public = server.add("user/open", {})
    with pytest.raises(
        ConfigError, match=r"^hf://user/open exists and is public; make it private on the Hub, or leave"
    ):
        nextchar.push(run, "user/open", licence="other", private=True)
    assert len(public.commits) == 1


def test_what_the_hub_refuses_is_said_in_its_words(server: Hub, run: Path) -> None:
    """A licence that it does not know, for example."""
    with pytest.raises(HubError, match=r'^hf://user/small: the Hub refuses it: .* "license" must be one of \[apache'):
        nextchar.push(run, "user/small", licence="unheard-of")
    assert len(server.repositories["model", "user/small"].commits) == 1


def test_a_card_that_was_written_by_hand_is_kept(server: Hub, run: Path) -> None:
    """One that was written here is replaced."""
    hand = {"README.md": b"# Mine\n"}
    repository = server.add("user/small", hand)
    upload = nextchar.push(run, "user/small", licence="mit")
    assert set(upload.files) == {MODEL, "config.json"}
    assert repository.commits[upload.commit]["README.md"] == hand["README.md"]
    repository.commit({"README.md": f"old\n{MARK}\n".encode()})
    again = nextchar.push(run, "user/small", licence="mit")
    assert b"# small" in repository.commits[again.commit]["README.md"]


def test_a_model_in_memory_is_sent(server: Hub, lm: LanguageModel) -> None:
    """Its file is the one that `save` writes."""
    upload = nextchar.push(lm, "user/memory", licence="mit")
    assert repr(upload) == f"<Upload hf://user/memory@{upload.commit}, {MODEL}, config.json, README.md>"
    assert load(upload.address).sample("a", seed=2).text == lm.sample("a", seed=2).text
    assert server.tokens == {"hf_good", ""}  # the address of an upload is secret itself, and needs no token
