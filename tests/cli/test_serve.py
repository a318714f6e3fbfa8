import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any
from urllib.request import Request, urlopen

import pytest

from nextchar.language_model import LanguageModel
from nextchar.sampling.sample import sample
from nextchar.storage import save

Shell = Callable[..., SimpleNamespace]


@pytest.fixture(autouse=True)
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder of trainings."""
    monkeypatch.setenv("NEXTCHAR_RUNS", str(tmp_path / "runs"))
    return tmp_path / "runs"


@pytest.fixture
def run(tmp_path: Path, lm: LanguageModel) -> Path:
    """Return a run folder."""
    folder = tmp_path / "small"
    folder.mkdir()
    save(lm, folder / "model.safetensors")
    return folder


def test_a_server_without_a_model_is_one_sentence(shell: Shell) -> None:
    """Where it may not train, it says what to name; to train beyond this machine it needs a key."""
    result = shell("serve", "--no-train", "--port", 0)
    assert result.code == 1
    assert "no model was given, and training is off (--no-train); name a run folder, such as" in result.err
    result = shell("serve", "--host", "0.0.0.0", "--port", 0)  # noqa: S104
    assert result.code == 1
    assert (
        "no model was given, and training is off, because this server listens beyond its machine; --train" in result.err
    )
    result = shell("serve", "--host", "0.0.0.0", "--port", 0, "--train")  # noqa: S104
    assert result.code == 1
    assert "--train lets anybody who reaches 0.0.0.0 fill its disk and use its processor; give --api-key" in result.err


def test_mistakes_are_found_before_models_are_read(shell: Shell, run: Path, tmp_path: Path) -> None:
    """A port in use, two models of one name, numbers out of range, and no model."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = shell("serve", run, "--port", port)
        assert result.code == 1
        assert f"cannot listen on 127.0.0.1 port {port}" in result.err
    (tmp_path / "other" / "small").mkdir(parents=True)
    for words, message in (
        ((run, tmp_path / "other" / "small"), "two models are named small"),
        ((run, "--streams", 0), "--streams is 0, but must be 1 or more"),
        ((run, "--queue", -1), "--queue is -1, but must be 0 or more"),
        ((run, "--port", 70_000), "--port is 70000, but must be from 0 to 65535"),
    ):
        result = shell("serve", *words, *(() if "--port" in words else ("--port", 0)))
        assert result.code == 1
        assert message in result.err


def test_a_missing_extra_is_one_sentence(shell: Shell, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has the install line."""
    for name in [each for each in sys.modules if each.startswith(("nextchar.serving", "starlette", "uvicorn"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    result = shell("serve", run, "--port", 0)
    assert result.code == 1
    assert "is not installed; pip install 'nextchar[serve]'" in result.err


@pytest.mark.shell
@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM that a process could handle")
def test_a_server_serves_and_ends(run: Path, lm: LanguageModel) -> None:
    """It says where it listens, gives the text of `sample`, and ends a running text with a reason when it is told to."""
    pytest.importorskip("uvicorn")
    words = [sys.executable, "-m", "nextchar", "serve", str(run), "--port", "0"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr
        line = next(line for line in process.stderr if "serving" in line)
        assert line.startswith("nextchar: serving small at http://127.0.0.1:")
        address = line.split()[-1]

        def post(**body: object) -> Request:
            return Request(f"{address}/completions", json.dumps(body).encode())  # noqa: S310

        with urlopen(post(prompt="def ", max_tokens=50, seed=3)) as reply:  # noqa: S310
            assert json.load(reply)["choices"][0]["text"] == sample(lm, "def ", length=50, seed=3).text
        with urlopen(post(prompt="", max_tokens=100_000, n=8, stream=True)) as reply:  # noqa: S310
            assert reply.readline().startswith(b"data: ")
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            last = [line for line in reply if line.strip()][-1]
        assert process.wait() == 0
        assert time.monotonic() - begun < 20
        assert last == b"data: [DONE]\n" or json.loads(last[6:])["error"]["code"] == "shutdown"


def test_a_server_for_everybody_warns_once(shell: Shell, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond this machine, and without a key, it says so; with a key, or on this machine, it does not."""
    pytest.importorskip("uvicorn")
    served = []
    room = import_module("nextchar.serving.run")
    monkeypatch.setattr(room, "run", lambda models, *_, **given: served.append((models[0].name, given)))
    warning = "anybody who reaches 0.0.0.0 may use this server"
    assert warning in shell("serve", run, "--port", 0, "--host", "0.0.0.0").err  # noqa: S104
    assert warning not in shell("serve", run, "--port", 0, "--host", "0.0.0.0", "--api-key", "k").err  # noqa: S104
    monkeypatch.setenv("NEXTCHAR_API_KEY", "from the environment")
    result = shell("serve", run / "model.safetensors", "--port", 0)
    assert "anybody" not in result.err
    assert "serving model at http://127.0.0.1:" in result.err
    assert [(name, given["api_key"]) for name, given in served] == [
        ("small", None),
        ("small", "k"),
        ("model", "from the environment"),
    ]


def test_a_folder_without_training_is_said(
    shell: Shell, run: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another server, or a folder that cannot be written: models are served, unless training is asked for."""
    pytest.importorskip("uvicorn")
    served: list[Any] = []
    monkeypatch.setattr(
        import_module("nextchar.serving.run"), "run", lambda models, *_, **given: served.append((len(models), given))
    )
    other = import_module("nextchar.serving.trainings").Trainings(runs, None)
    result = shell("serve", run, "--port", 0)
    assert f"training is off: another server trains in {runs}; name another folder with --runs" in result.err
    assert served[0][1]["trainings"] is None
    assert shell("serve", run, "--port", 0, "--train").code == 1
    other.close()
    assert shell("serve", run, "--port", 0, "--train").code == 0
    assert served[1][1]["trainings"] is not None
    (runs.parent / "file").write_text("", encoding="utf-8")
    result = shell("serve", run, "--port", 0, "--runs", runs.parent / "file" / "runs")
    assert "cannot be written (" in result.err
    assert "nextchar: the page is at http://127.0.0.1:" in result.err
    assert [count for count, _ in served] == [1, 1, 1]


def test_the_page_opens_in_a_browser(shell: Shell, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --open, and only then; without a model it is the page on which one is trained."""
    pytest.importorskip("uvicorn")
    opened = Queue[str]()
    monkeypatch.setattr(import_module("nextchar.serving.run"), "run", lambda *_, **__: None)
    monkeypatch.setattr("webbrowser.open", opened.put)
    shell("serve", run, "--port", 0)
    result = shell("serve", "--port", 0, "--open")
    address = result.err.split()[-1]
    assert f"nextchar: no model yet; train one at {address}" in result.err
    assert opened.get(timeout=20) == address
    assert opened.empty()
