"""Trainings through the server: the line, what clients may send, and what survives the end of any process."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import httpx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from browser import BROWSER, Page
from nextchar.errors import ConfigError
from nextchar.language_model import LanguageModel
from nextchar.sampling.sample import sample
from nextchar.storage import read_model, save, write_arrays
from nextchar.training.folder import locked, training_process
from serving.service import serving

SMALL = {"hidden": 16, "layers": 1, "embedding": 4, "batch_size": 4, "seq_length": 16, "kernels": "torch"}
SMALL |= {"steps": 2500, "eval_every": 500, "seed": 3}
WAIT = 300.0  # on a busy machine a training with less priority takes minutes


def until(look: Callable[[], Any], seconds: float = WAIT) -> Any:
    """Return what is looked for as soon as there is something."""
    end = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
    return found


class Fake:
    """In the place of a training's process: it ends when the test says so."""

    started: ClassVar[list["Fake"]] = []
    at_work: ClassVar[dict[Path, "Fake"]] = {}

    def __init__(self, folder: Path, words: list[str]) -> None:
        self.folder, self.words, self.ended, self.stops, self.code = folder, words, False, 0, None

    @classmethod
    def start(cls, folder: Path, words: list[str]) -> "Fake":
        """Start one."""
        cls.started.append(cls(folder, words))
        return cls.started[-1]

    @classmethod
    def find(cls, folder: Path) -> "Fake | None":
        """Return one that an earlier server has left."""
        return cls.at_work.get(folder)

    def stop(self) -> None:
        """Be asked to end."""
        self.stops += 1

    def kill(self) -> None:
        """End at once."""
        self.end(-9)

    def end(self, code: int | None) -> None:
        """End."""
        self.at_work.pop(self.folder, None)
        self.code, self.ended = code, True


@pytest.fixture
def processes(monkeypatch: pytest.MonkeyPatch) -> list[Fake]:
    """Return the fakes that are started from now on."""
    monkeypatch.setattr(import_module("nextchar.serving.trainings"), "TrainingProcess", Fake)
    monkeypatch.setattr(import_module("nextchar.serving.trainings"), "END_SECONDS", 0.1)
    Fake.started.clear()
    Fake.at_work.clear()
    return Fake.started


@contextmanager
def server(runs: Path, **options: Any) -> Iterator[httpx.Client]:
    """Serve two models and trainings."""
    from nextchar.serving.models import Model
    from nextchar.serving.trainings import Trainings

    with serving(trainings=Trainings(runs, Model), **options) as at, httpx.Client(base_url=at, timeout=60) as client:
        yield client


@pytest.fixture
def http(tmp_path: Path, processes: list[Fake]) -> Iterator[httpx.Client]:
    """Return a client of a server whose trainings have no processes."""
    del processes
    with server(tmp_path / "runs") as client:
        yield client


def add(client: httpx.Client, text: str | bytes = "to be or not to be " * 50, **options: Any) -> dict[str, Any]:
    """Ask for a training; return what is known about it."""
    response = client.post("/api/trainings", params={"name": "book", **options}, content=text)
    assert response.status_code == 201, response.text
    return dict(response.json())


def state(client: httpx.Client, id_: str, since: str = "") -> dict[str, Any]:
    """Return what is known about a training."""
    response = client.get(f"/api/trainings/{id_}", params={"since": since})
    assert response.status_code == 200, response.text
    return dict(response.json())


def act(client: httpx.Client, id_: str, action: str, **options: Any) -> dict[str, Any]:
    """Let something happen to a training."""
    response = client.post(f"/api/trainings/{id_}/{action}", params=options)
    assert response.status_code == 200, response.text
    return dict(response.json())


def refused(response: httpx.Response, status: int = 400) -> str:
    """Return the sentence with which a request was refused."""
    assert response.status_code == status, response.text
    message = str(response.json()["error"]["message"])
    assert "\n" not in message
    return message


def reaches(client: httpx.Client, id_: str, *statuses: str) -> dict[str, Any]:
    """Return a training as soon as it has a status."""

    def look() -> dict[str, Any] | None:
        known = state(client, id_)
        return known if known["status"] in statuses else None

    found: dict[str, Any] = until(look)
    return found


# -- the line ------------------------------------------------------------------------------------------------------


def test_one_trains_and_the_others_wait_in_order(http: httpx.Client, processes: list[Fake]) -> None:
    """Each starts when the one before it has ended; a waiting one that is stopped leaves the line, and comes back last."""
    first, second, third = (add(http)["id"] for _ in range(3))
    until(lambda: len(processes) == 1)
    assert [state(http, each)["status"] for each in (first, second, third)] == ["running", "waiting", "waiting"]
    assert [state(http, each)["before"] for each in (first, second, third)] == [0, 1, 2]
    assert [each["name"] for each in http.get("/api/trainings").json()["trainings"]] == ["book-3", "book-2", "book"]
    assert act(http, second, "stop")["status"] == "stopped"
    assert act(http, second, "go-on")["before"] == 2
    processes[0].end(0)
    until(lambda: len(processes) == 2)
    assert processes[1].folder.name == third
    assert reaches(http, first, "finished")["reason"] == ""
    processes[1].end(1)
    (processes[1].folder / "train.log").write_text("training\nnextchar: error: it diverged\n", encoding="utf-8")
    until(lambda: len(processes) == 3)
    assert processes[2].folder.name == second
    assert reaches(http, third, "failed")["reason"] in ("it diverged", "its process ended without a message")


def test_the_command_line_is_that_of_train(http: httpx.Client, processes: list[Fake]) -> None:
    """The text is the one that was sent, options are flags, and a started run is resumed."""
    text = "Zeilen\r\nmit é\n" * 20
    one = add(http, text.encode(), minutes=2, hidden=32, encoding="utf-8")
    until(lambda: processes)
    folder = processes[0].folder
    path = folder / "book.txt"
    assert processes[0].words == [
        "train",
        str(path),
        "-o",
        str(folder),
        "--minutes=2.0",
        "--hidden=32",
        "--encoding=utf-8",
    ]
    assert path.read_bytes() == text.encode()
    act(http, one["id"], "stop")
    assert processes[0].stops == 1
    assert state(http, one["id"])["status"] == "stopping"
    (folder / "config.toml").write_text("", encoding="utf-8")
    processes[0].end(130)
    assert reaches(http, one["id"], "stopped")["reason"] == ""
    act(http, one["id"], "go-on")
    until(lambda: len(processes) == 2)
    assert processes[1].words == ["train", str(path), "--resume", str(folder)]
    corpus = add(http, b"", name="", corpus="stdlib")
    assert (corpus["name"], corpus["options"]) == ("stdlib", {"minutes": 5.0})
    processes[1].end(0)
    until(lambda: len(processes) == 3)
    assert processes[2].words[:2] == ["train", "stdlib"]


def test_a_second_stop_ends_the_process(http: httpx.Client, processes: list[Fake]) -> None:
    """One that does not save in time can be ended; it can go on."""
    one = add(http)["id"]
    until(lambda: processes)
    act(http, one, "stop")
    act(http, one, "stop")
    assert processes[0].code == -9
    assert reaches(http, one, "stopped")["reason"] == ""


def test_a_kept_model_is_served_by_its_name(
    http: httpx.Client, processes: list[Fake], lm: LanguageModel, tmp_path: Path
) -> None:
    """A model that was trained is served at once; kept, it is a run of that name, and all but one name stay free."""
    one = add(http)["id"]
    until(lambda: processes)
    assert refused(http.post(f"/api/trainings/{one}/keep"), 409) == "this training is running; stop it first"
    assert "has no model yet" in refused(http.post(f"/api/trainings/{one}/serve"), 409)
    save(lm, processes[0].folder / "model.safetensors")
    (processes[0].folder / "config.toml").write_text(f'texts = ["{processes[0].folder}/book.txt"]\nseed = 0\n')
    processes[0].end(0)
    until(lambda: state(http, one)["model"])
    asked = {"model": "book", "prompt": "def ", "max_tokens": 30, "seed": 5}
    expected = sample(lm, "def ", length=30, seed=5).text
    assert http.post("/v1/completions", json=asked).json()["choices"][0]["text"] == expected
    for taken in ("letters", "other"):
        (tmp_path / "runs" / "other").mkdir(exist_ok=True)
        assert "already a run or a model named" in refused(http.post(f"/api/trainings/{one}/keep?name={taken}"), 409)
    kept = act(http, one, "keep", name="Lear-1")
    assert (kept["folder"], kept["model"], kept["kept"]) == ((tmp_path / "runs" / "Lear-1").as_posix(), "Lear-1", True)
    assert {each["id"] for each in http.get("/v1/models").json()["data"]} == {"letters", "bytes", "Lear-1"}
    assert http.post("/v1/completions", json={**asked, "model": "Lear-1"}).json()["choices"][0]["text"] == expected
    texts, seed = (tmp_path / "runs" / "Lear-1" / "config.toml").read_text(encoding="utf-8").splitlines()
    assert json.loads(texts.removeprefix("texts = ")) == [str(tmp_path / "runs" / "Lear-1" / "book.txt")]
    assert seed == "seed = 0"


def test_what_is_deleted_is_gone(
    http: httpx.Client, processes: list[Fake], tmp_path: Path, clean_environment: Path
) -> None:
    """Its process, its folder, its text in the cache, and its place in the line; the next one starts."""
    one, other = add(http)["id"], add(http, "something else " * 20)["id"]
    until(lambda: processes)
    assert len([*(clean_environment / "texts").iterdir()]) == 2
    assert http.delete(f"/api/trainings/{one}").status_code == 204
    assert processes[0].code == -9
    until(lambda: len(processes) == 2)
    assert [each.name for each in (tmp_path / "runs" / ".trainings").glob("*/")] == [other]
    assert len([*(clean_environment / "texts").iterdir()]) == 1
    for method, path in (("GET", ""), ("POST", "/stop"), ("DELETE", "")):
        assert "no such training" in refused(http.request(method, f"/api/trainings/{one}{path}"), 404)


# -- what clients send ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        (b"", {}, "the text is empty; there is nothing to learn"),
        (b"\x7fELF\0\0\1", {}, "this file looks binary; give a plain text, name its encoding, or read it as bytes"),
        (b"caf\xe9 " * 50, {}, "the text is not utf-8: byte 0xE9 at offset 3 (invalid continuation byte)"),
        (b"caf\xe9 " * 50, {"encoding": "cp9"}, "there is no text encoding named 'cp9'; try utf-8, latin-1"),
        (b"short", {}, "the text has only 5 characters; give at least 100"),
        (b"x" * 200, {"minutes": "nan"}, "minutes is"),
        (b"x" * 200, {"minutes": "1e9"}, "minutes is 1e+09, but must be at most 10080"),
        (b"x" * 200, {"minutes": "soon"}, "minutes is 'soon', but must be a valid number"),
        (b"x" * 200, {"hidden": "0"}, "hidden is '0', but must be greater than or equal to 1"),
        (b"x" * 200, {"minutes": 1, "steps": 5}, "--minutes and --steps are both budgets; give one of them"),
        (b"x" * 200, {"hiden": "8"}, "unknown option 'hiden'; did you mean 'hidden'?"),
        (b"x" * 200, {"init_from": "/etc/passwd"}, "unknown option 'init_from'"),
        (b"", {"corpus": "shakespear"}, "there is no corpus named 'shakespear'; did you mean 'shakespeare'?"),
        (b"", {"corpus": "/etc/passwd"}, "there is no corpus named '/etc/passwd'"),
        (b"", {"corpus": "shakespeare", "encoding": "a\0b"}, "there is no text encoding named"),
    ],
)
def test_a_mistake_is_one_sentence_at_once(
    http: httpx.Client, tmp_path: Path, content: bytes, options: dict[str, Any], message: str
) -> None:
    """It names no path of the server's, and leaves nothing behind."""
    said = refused(http.post("/api/trainings", params={"name": "book", **options}, content=content))
    assert said.startswith(message)
    assert str(tmp_path) not in said
    assert [*(tmp_path / "runs" / ".trainings").glob("*/")] == []
    assert http.get("/api/trainings").json()["trainings"] == []


def test_other_encodings_and_bytes_are_read(http: httpx.Client) -> None:
    """What is no UTF-8 is learnt with the name of its encoding, or as bytes."""
    assert add(http, b"caf\xe9 " * 50, encoding="latin-1")["options"] == {"encoding": "latin-1", "minutes": 5.0}
    assert add(http, bytes(range(256)), units="bytes")["options"]["units"] == "bytes"
    assert add(http, ("é" * 200).encode("utf-16"), encoding="utf-16")["status"] == "waiting"


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[httpx.Client, Path]]:
    """Return a client of a server for many requests, and the folder of its runs."""
    runs = tmp_path_factory.mktemp("patient") / "runs"
    with server(runs) as client:
        yield client, runs


HOSTILE = st.one_of(
    st.text(max_size=80),
    st.sampled_from(
        [
            "..",
            ".",
            "a/b",
            "a\\b",
            "/etc/passwd",
            "C:\\x",
            "c:x",
            "nul",
            "COM1",
            "a\0b",
            "~",
            "~root",
            "-o",
            "a.txt",
            "\u202e",
        ]
    ),
)


@given(name=HOSTILE)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.usefixtures("processes")
def test_no_name_leads_out_of_the_folder(patient: tuple[httpx.Client, Path], name: str) -> None:
    """Any name is refused, or is that of a file in the folder of one training; so with ids and names of kept runs."""
    client, runs = patient
    before = {*runs.parent.iterdir()}
    response = client.post("/api/trainings", params={"name": name}, content=b"x" * 200)
    assert response.status_code in (201, 400)
    if response.status_code == 201:
        training = response.json()
        inside = runs / ".trainings" / training["id"]
        assert {each.name for each in inside.iterdir()} >= {"training.json", f"{training['name']}.txt"}
        act(client, training["id"], "stop")
        assert client.post(f"/api/trainings/{training['id']}/keep", params={"name": name}).status_code in (400, 409)
        assert client.delete(f"/api/trainings/{training['id']}").status_code == 204
    else:
        assert "cannot be a name" in refused(response)
    assert {*runs.parent.iterdir()} == before
    assert [*(runs / ".trainings").glob("*/")] == []


def test_limits_of_a_text(tmp_path: Path, processes: list[Fake], monkeypatch: pytest.MonkeyPatch) -> None:
    """A text that is too long, announced or not, and a disk without space: nothing is kept of it."""
    from nextchar.serving.models import Limits

    del processes
    with server(tmp_path / "runs", limits=Limits(text=1000)) as client:
        assert "and the limit is 0 MB" in refused(client.post("/api/trainings", content=b"x" * 1001), 413)
        pieces = iter([b"x" * 600] * 2)
        assert "more than the limit" in refused(client.post("/api/trainings", content=pieces), 413)
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=5_000_000))
        assert "has only 5 MB left" in refused(client.post("/api/trainings", content=b"x" * 900), 507)
        monkeypatch.undo()

        def full(*_: object, **__: object) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(import_module("nextchar.serving.training_routes"), "checked_text", full)
        said = refused(client.post("/api/trainings", content=b"x" * 900), 507)
        assert said == "the text cannot be written: No space left on device"
        monkeypatch.undo()
        assert [*(tmp_path / "runs" / ".trainings").glob("*/")] == []


def test_a_full_disk_does_not_stop_the_line(
    http: httpx.Client, processes: list[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    """States that cannot be written stay in memory, and a process that cannot be started is a failed training."""
    one, two = add(http)["id"], add(http)["id"]
    until(lambda: processes)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(import_module("nextchar.serving.training_record"), "write_text", full)
    monkeypatch.setattr(Fake, "start", full)
    processes[0].end(0)
    assert reaches(http, one, "finished")
    assert reaches(http, two, "failed")["reason"] == "its process cannot be started: No space left on device"


def test_without_training_its_routes_refuse() -> None:
    """Each of them answers 403 with the reason."""
    with serving(untrained="training is off (--no-train)") as at, httpx.Client(base_url=at) as client:
        for method, path in (("GET", ""), ("POST", "?name=a"), ("GET", "/a"), ("DELETE", "/a"), ("POST", "/a/keep")):
            assert refused(client.request(method, f"/api/trainings{path}"), 403) == "training is off (--no-train)"


def test_pages_of_others_may_not_train(http: httpx.Client) -> None:
    """The guard stands before these routes, too."""
    for headers in ({"origin": "https://example.com"}, {"host": "example.com"}):
        response = http.post("/api/trainings", params={"name": "a"}, content=b"x" * 200, headers=headers)
        assert response.status_code == 403
    assert http.get("/api/trainings").json()["trainings"] == []


# -- ends ----------------------------------------------------------------------------------------------------------


def test_a_restart_finds_everything_in_order(tmp_path: Path, processes: list[Fake]) -> None:
    """The one that ran goes on first, then the line in its order; remains of a text that did not arrive are removed."""
    runs = tmp_path / "runs"
    with server(runs) as client:
        ids = [add(client)["id"] for _ in range(4)]
        until(lambda: processes)
        act(client, ids[1], "stop")
        processes[0].end(-15)  # what the process of the server does when the server ends is tested below
        client.close()
    (runs / ".trainings" / "half").mkdir()
    (runs / ".trainings" / "half" / "book.txt").write_text("to be", encoding="utf-8")
    (runs / ".trainings" / "newer").mkdir()
    (runs / ".trainings" / "newer" / "training.json").write_text('{"id": "newer", "status": "dreaming"}')
    processes.clear()
    kept = json.loads((runs / ".trainings" / ids[0] / "training.json").read_text(encoding="utf-8"))
    kept["status"] = "running"
    (runs / ".trainings" / ids[0] / "training.json").write_text(json.dumps(kept), encoding="utf-8")
    with server(runs) as client:
        assert not (runs / ".trainings" / "half").exists()
        assert (runs / ".trainings" / "newer").exists()  # what another version wrote is not removed
        until(lambda: processes)
        assert processes[0].folder.name == ids[0]
        assert state(client, ids[1])["status"] == "stopped"
        assert [state(client, each)["before"] for each in (ids[2], ids[3])] == [1, 2]
        processes[0].end(0)
        until(lambda: len(processes) == 2)
        assert processes[1].folder.name == ids[2]
        processes[1].end(0)


def test_a_process_that_was_left_is_taken_up(tmp_path: Path, processes: list[Fake]) -> None:
    """After the server was killed, its training's process is found at work, and nothing else starts before it ends."""
    runs = tmp_path / "runs"
    with server(runs) as client:
        one, two = add(client)["id"], add(client)["id"]
        until(lambda: processes)
        left = processes[0]
        left.end(None)
    record = runs / ".trainings" / one / "training.json"
    record.write_text(
        json.dumps({**json.loads(record.read_text(encoding="utf-8")), "status": "running"}), encoding="utf-8"
    )
    left.ended = False
    Fake.at_work[left.folder] = left
    processes.clear()
    with server(runs) as client:
        assert state(client, one)["status"] == "running"
        assert state(client, two)["before"] == 1
        act(client, one, "stop")
        assert left.stops >= 1
        assert not processes
        left.end(None)
        assert reaches(client, one, "stopped")
        until(lambda: processes)
        processes[0].end(0)


def test_two_texts_of_one_name_that_come_together(tmp_path: Path) -> None:
    """Each gets a name of its own, whichever is there first."""
    from nextchar.serving.trainings import Trainings

    made = Trainings(tmp_path / "runs", lambda *_: None)  # type: ignore[arg-type, return-value]
    both = [made.new("book"), made.new("book")]
    for each in both:
        made.add(each)
    assert [each.name for each in both] == ["book", "book-2"]
    made.close()


def test_a_numbered_name_is_a_name(tmp_path: Path) -> None:
    """It is no longer than a name may be, so the training can be kept by it."""
    from nextchar.serving.training_record import checked_name
    from nextchar.serving.trainings import Trainings

    made = Trainings(tmp_path / "runs", lambda *_: None)  # type: ignore[arg-type, return-value]
    for number in range(1, 12):
        made.add(made.new("x" * 60))
        assert number == len({checked_name(each.name) for each in made.by_id.values()})
    made.close()


@pytest.mark.parametrize("change", ["keep", "delete"])
def test_a_model_that_is_kept_or_deleted_while_it_is_made(tmp_path: Path, change: str) -> None:
    """It is served by its new name, or not at all; nothing is served by the name of before."""
    from nextchar.serving.trainings import Trainings

    begun, go_on = threading.Event(), threading.Event()

    def make(name: str, folder: Path) -> Any:
        begun.set()
        assert go_on.wait(WAIT)
        scheduler = SimpleNamespace(shut_down=lambda _: None)
        return SimpleNamespace(name=name, folder=folder, start=lambda: None, scheduler=scheduler)

    async def both() -> list[str]:
        made = Trainings(tmp_path / "runs", make)
        training = made.new("book")
        made.add(training)
        training.status = "finished"
        (training.folder / "model.safetensors").touch()
        serve = asyncio.create_task(made.serve(training))
        await asyncio.to_thread(begun.wait, WAIT)
        changed = asyncio.create_task(made.keep(training, "lear") if change == "keep" else made.delete(training))
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.gather(serve, changed)
        made.close()
        return [*made.models.by_name]

    assert asyncio.run(both()) == (["lear"] if change == "keep" else [])


def test_a_kept_run_is_named_by_its_folder(tmp_path: Path) -> None:
    """A folder can be renamed and copied; one from elsewhere names no other file, and no other options."""
    from nextchar.serving.trainings import Trainings

    record = {"id": "1", "name": "book", "status": "finished", "text": "book.txt", "options": {"hidden": 16}}
    folders: dict[str, dict[str, Any]] = {"novel": {}, "copy": {}}
    folders |= {"path": {"text": "../secret.txt"}, "flag": {"options": {"init_from": "x"}}}
    for name, changes in folders.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "training.json").write_text(json.dumps({**record, **changes}), encoding="utf-8")
    made = Trainings(tmp_path, lambda *_: None)  # type: ignore[arg-type, return-value]
    made.close()
    assert sorted(each.name for each in made.by_id.values()) == ["copy", "novel"]
    assert all(made.find(id_).id == id_ for id_ in made.by_id)


@pytest.mark.parametrize("about", [{}, {"step": None, "steps": 5}, {"step": 0, "steps": 5, "config": []}])
def test_a_damaged_snapshot_does_not_keep_the_server_from_starting(tmp_path: Path, about: dict[str, Any]) -> None:
    """Its training waits to go on, and says then what is wrong."""
    from nextchar.serving.trainings import Trainings

    (tmp_path / "book").mkdir()
    record = {"id": "1", "name": "book", "status": "running", "corpus": "shakespeare"}
    (tmp_path / "book" / "training.json").write_text(json.dumps(record), encoding="utf-8")
    write_arrays(tmp_path / "book" / "training.safetensors", {}, about)
    made = Trainings(tmp_path, lambda *_: None)  # type: ignore[arg-type, return-value]
    made.close()
    assert made.find("1").status == "waiting"


def test_what_cannot_be_started_does_not_hold_up_the_line(tmp_path: Path) -> None:
    """It has failed, and the next one is started, which here fails in the same way."""
    home = tmp_path / "runs" / ".trainings"
    for name in ("one", "two"):
        (home / name).mkdir(parents=True)
        record = {"id": name, "name": name, "corpus": "shakespeare", "options": {"encoding": "a\0b"}}
        (home / name / "training.json").write_text(json.dumps(record), encoding="utf-8")
    with server(tmp_path / "runs") as client:
        for name in ("one", "two"):
            assert "cannot be started" in reaches(client, name, "failed")["reason"]


def test_a_kept_model_does_not_replace_another(tmp_path: Path, processes: list[Fake], lm: LanguageModel) -> None:
    """Kept runs are served at the start, but for one whose name is that of a model of the command line."""
    del processes
    for name in ("letters", "lear"):
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        save(lm, folder / "model.safetensors")
        (folder / "training.json").write_text(json.dumps({"id": name, "name": name, "status": "finished"}))
    with server(tmp_path / "runs") as client:
        until(lambda: state(client, "lear")["model"])
        listed = {each["id"]: each["characters"] for each in client.get("/v1/models").json()["data"]}
        assert listed == {"letters": 9, "bytes": 9, "lear": len(lm.vocabulary)}
        said = refused(client.post("/api/trainings/letters/serve"), 409)
        assert said == "another model named letters is served; rename this one"
        assert act(client, "letters", "keep", name="mine")["model"] == "mine"
        assert client.post("/v1/completions", json={"model": "letters", "prompt": "☃"}).status_code == 200


def test_two_servers_do_not_share_a_folder(tmp_path: Path, http: httpx.Client) -> None:
    """The second one says so in one sentence."""
    from nextchar.serving.models import Model
    from nextchar.serving.trainings import Trainings

    assert http.get("/health").status_code == 200
    with pytest.raises(ConfigError, match=r"another server trains in .*; name another folder with --runs"):
        Trainings(tmp_path / "runs", Model)


# -- with processes ------------------------------------------------------------------------------------------------


def weights(folder: Path) -> dict[str, bytes]:
    """Return the weights of the model of a run, to the bit."""
    return {name: array.tobytes() for name, array in read_model(folder).arrays.items()}


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory, text: str) -> dict[str, bytes]:
    """Return the weights that `nextchar train` learns from the small text."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    (folder / "book.txt").write_text(text, encoding="utf-8", newline="")
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in SMALL.items()]
    words = [sys.executable, "-m", "nextchar", "train", "book.txt", "-o", "run", *flags]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    return weights(folder / "run")


def learns(client: httpx.Client, id_: str, beyond: int = 0) -> int:
    """Return the step of a training as soon as it has made more than some."""

    def look() -> int:
        known = state(client, id_)
        assert known["status"] in ("waiting", "running"), known
        return int(known.get("latest", {"step": 0})["step"])

    end = time.monotonic() + WAIT
    while (step := look()) <= beyond:
        assert time.monotonic() < end
        time.sleep(0.01)
    return step


def test_a_process_is_stopped_as_the_system_can(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On Windows by the console that both share; where there is none, it is ended."""
    from nextchar.serving.processes import TrainingProcess

    sent: list[int] = []

    def send_signal(number: int) -> None:
        sent.append(number)
        if number == 1:
            raise OSError(6, "The handle is invalid")

    process: Any = SimpleNamespace(send_signal=send_signal)
    made = TrainingProcess(tmp_path, process)
    made.stop()
    monkeypatch.setattr(signal, "CTRL_BREAK_EVENT", 1, raising=False)
    made.stop()
    assert sent == [signal.SIGTERM, 1, getattr(signal, "SIGKILL", signal.SIGTERM)]
    monkeypatch.delattr(signal, "CTRL_BREAK_EVENT")
    killed: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "kill", lambda *given: killed.append(given))
    left = TrainingProcess(tmp_path)
    left.stop()
    assert (left.ended, killed) == (True, [])  # there is none: no process of a former id is sent a signal
    with locked(tmp_path):
        (tmp_path / ".lock").write_text("12345", encoding="ascii")
        assert not left.ended
        left.stop()
    assert killed == [(12345, signal.SIGTERM)]


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a process is killed by its signal")
def test_stopped_and_killed_it_learns_the_same(tmp_path: Path, text: str, uninterrupted: dict[str, bytes]) -> None:
    """Stop and go on, then its process is killed with signal 9, and it goes on: the weights are those of one run."""
    runs = tmp_path / "runs"
    with server(runs) as client:
        one = add(client, text, **SMALL)["id"]
        folder = runs / ".trainings" / one
        learns(client, one)
        assert client.post("/v1/completions", json={"prompt": "a", "max_tokens": 5}).status_code == 200
        act(client, one, "stop")
        stopped = reaches(client, one, "stopped", "finished")
        assert stopped["status"] == "stopped"
        assert until(lambda: state(client, one)["model"]) == "book"
        act(client, one, "go-on")
        learns(client, one, stopped["latest"]["step"])
        os.kill(int((folder / ".lock").read_text()), signal.SIGKILL)
        failed = reaches(client, one, "failed")
        assert failed["reason"] == "its process was killed; go on continues from what was saved"
        act(client, one, "go-on")
        done = reaches(client, one, "finished", "failed")
        assert done["status"] == "finished", done
        assert weights(folder) == uninterrupted
        steps = [step for step, _, _ in done["training"]]
        assert steps == sorted(set(steps))
        assert [each["step"] for each in done["samples"]][:3] == [10, 20, 30]
        assert done["finished"]["bits"] == done["finished"]["bits"] > 0
        assert "minutes" in refused(client.post(f"/api/trainings/{one}/go-on"), 409)


def test_pieces_of_a_log_are_the_whole_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply has what came after the last one; a log that was replaced is sent from its beginning."""
    room = import_module("nextchar.serving.progress")

    def line(event: str, step: int, seconds: float, **more: Any) -> str:
        return json.dumps({"event": event, "step": step, "seconds": seconds, **more}) + "\n"

    progressed = {"steps": 9, "epoch": 0.1, "chars_per_second": 5.0, "seconds_left": 3.0}
    entries = [
        line("started", 0, 0, network="lstm 1x16", vocabulary=4, parameters=9, train_chars=5, valid_chars=1),
        line("progress", 1, 1, loss=np.log(4), **progressed),
        line("sampled", 1, 1.5, text="a\x00"),
        line("validated", 2, 2, score={"bits_per_char": 1.5}),
        line("stopped", 2, 2.5, steps=9),
        line("started", 2, 0, network="lstm 1x16", vocabulary=4, parameters=9, train_chars=5, valid_chars=1),
        line("progress", 3, 1, loss=np.log(2), **progressed),
    ]
    path, cursor = tmp_path / "log.jsonl", ""
    assert room.progress(tmp_path, "")["cursor"] == ""
    found: dict[str, list[Any]] = {"training": [], "validation": [], "samples": []}
    with path.open("a", encoding="utf-8") as log:
        for number, entry in enumerate(entries):
            log.write(entry + "{half")
            log.flush()
            reply = room.progress(tmp_path, cursor)
            assert reply["whole"] == (number == 0)
            for name, values in found.items():
                values.extend(reply[name])
            cursor = reply["cursor"]
            log.truncate(log.tell() - len("{half"))
            log.seek(0, 2)
    assert found["training"] == [[1, 2, 1], [3, 1, 3.5]]  # seconds of both starts
    assert found["validation"] == [[2, 1.5, 2]]
    assert found["samples"] == [{"step": 1, "seconds": 1.5, "text": "a\\x00"}]
    monkeypatch.setattr(room, "PIECE", 300)
    whole: list[Any] = []
    reply = {"more": True, "cursor": "nonsense"}
    while reply["more"]:
        reply = room.progress(tmp_path, reply["cursor"])
        whole += reply["training"]
    assert whole == found["training"]
    damaged = "".join([*entries[:2], "\0" * 8 + "\n", entries[-1]])
    (tmp_path / "new").write_text(damaged, encoding="utf-8")
    (tmp_path / "new").replace(path)
    monkeypatch.undo()
    assert room.progress(tmp_path, "")["training"] == [[1, 2, 1]]
    other = tmp_path / "other"
    other.write_text("".join(entries[:2]), encoding="utf-8")
    other.replace(path)
    assert room.progress(tmp_path, cursor)["whole"]
    assert room.progress(tmp_path, cursor)["training"] == [[1, 2, 1]]


@contextmanager
def process(runs: Path, says: str = "no model yet") -> Iterator[tuple[subprocess.Popen[str], httpx.Client]]:
    """Run `nextchar serve` without a model; wait until it says something, and where its page is."""
    words = [sys.executable, "-m", "nextchar", "serve", "--port", "0", "--runs", str(runs)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as made:
        assert made.stderr
        said = ""
        while not said.endswith("/\n"):  # the address of the page comes last
            said += next(made.stderr)
        assert says in said
        address = said.split()[-1]
        try:
            with httpx.Client(base_url=address, timeout=60) as client:
                until(lambda: _answers(client))
                yield made, client
        finally:
            made.kill()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.shell
@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="a process is killed by its signal")
def test_a_killed_server_loses_nothing(tmp_path: Path, text: str, uninterrupted: dict[str, bytes]) -> None:
    """After signal 9 the next server takes up the process that still trains; after SIGTERM it resumes; the order stays."""
    runs = tmp_path / "runs"
    with process(runs) as (made, client):
        assert "there is no model yet" in refused(client.post("/v1/completions", json={"prompt": "a"}), 404)
        one, two = (add(client, text, **SMALL)["id"] for _ in range(2))
        learns(client, one)
        made.kill()
    folder = runs / ".trainings" / one
    with process(runs) as (made, client):
        assert [state(client, each)["status"] for each in (one, two)][1] == "waiting"
        step = learns(client, one)
        made.terminate()
        assert made.wait(timeout=60) in (0, -signal.SIGTERM)
    assert training_process(folder) is None
    assert json.loads((folder / "training.json").read_text(encoding="utf-8"))["status"] == "running"
    with process(runs) as (made, client):
        learns(client, one, step)
        assert reaches(client, one, "finished", "failed")["status"] == "finished"
        assert weights(folder) == uninterrupted
        assert act(client, one, "keep", name="lear")["folder"] == (runs / "lear").as_posix()
        act(client, two, "stop")
        reaches(client, two, "stopped", "finished")
    with process(runs, "serving lear at ") as (made, client):
        until(lambda: [each["id"] for each in client.get("/v1/models").json()["data"]] == ["lear"])
        assert state(client, one)["kept"]
        assert client.post("/v1/completions", json={"prompt": "def ", "max_tokens": 9}).status_code == 200


# -- the tab Learn -------------------------------------------------------------------------------------------------

DROP = """((text, name) => {
    const files = new DataTransfer();
    files.items.add(new File([text], name));
    document.querySelector('.learn').dispatchEvent(new DragEvent('drop', { dataTransfer: files, bubbles: true, cancelable: true }));
})"""
STATUS = "document.querySelector('.training .status').textContent"
SHOWN = "document.querySelector('.samples [aria-current=true]')?.textContent"


def press(page: Page, words: str) -> None:
    """Press a button by what it says, as soon as it is there."""
    buttons = "[...document.querySelectorAll('main button, dialog[open] button')]"
    until(lambda: page.ask(f"{buttons}.some((each) => each.textContent === '{words}' && each.checkVisibility())"))
    page.ask(f"{buttons}.find((each) => each.textContent === '{words}' && each.checkVisibility()).click()")


@contextmanager
def tab(page: Page, address: object, width: int = 1280) -> Iterator[Page]:
    """Open the tab, and leave it before the server ends."""
    page.complaints.clear()
    page.requests.clear()
    page.open(f"{address}#tab=learn", width, 844)
    try:
        yield page
    finally:
        page.call("Page.navigate", url="about:blank")


def drop(page: Page, text: str, name: str) -> None:
    """Drop a file on the tab, and start."""
    page.ask(f"{DROP}({json.dumps(text)}, {json.dumps(name)})")
    press(page, "Start learning")


def log(folder: Path, *events: dict[str, Any]) -> None:
    """Write what a training's process would."""
    with (folder / "log.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(each) + "\n" for each in events)


def learnt(step: int, bits: float, text: str) -> list[dict[str, Any]]:
    """Return the events of a step."""
    known = {"steps": 1000, "epoch": step / 100, "chars_per_second": 12_345.0, "seconds_left": 75.0}
    return [
        {"event": "progress", "step": step, "seconds": step / 10, "loss": bits * float(np.log(2)), **known},
        {"event": "sampled", "step": step, "seconds": step / 10, "text": text},
        {"event": "validated", "step": step, "seconds": step / 10, "score": {"bits_per_char": bits + 0.1}},
    ]


STARTED = {
    "event": "started",
    "step": 0,
    "seconds": 0.0,
    "network": "lstm 2x320",
    "vocabulary": 64,
    "parameters": 1_349_784,
}
STARTED |= {"train_chars": 90_000, "valid_chars": 5_000}


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_mistake_is_said_beside_the_form(chromium: Page, http: httpx.Client) -> None:
    """At once if the page knows it, and else in the server's words; the name is made from that of the file."""
    with tab(chromium, http.base_url) as page:
        drop(page, "", "empty.txt")
        assert "is empty, or a folder" in page.ask("document.querySelector('.teach [role=alert]').textContent")
        page.ask(f"{DROP}('short', 'König Lear (1).txt')")
        assert page.ask("$('learn-name').value") == "König-Lear-1"
        press(page, "Start learning")
        said = "document.querySelector('.teach [role=alert]').textContent"
        until(lambda: page.ask(said) == "The text has only 5 characters; give at least 100.")
        assert "400" in page.complaints.pop()  # which the browser says of every reply of that kind
        assert page.complaints == []


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
@pytest.mark.parametrize("width", [390, 1440])
def test_the_tab_shows_a_training(
    chromium: Page, processes: list[Fake], lm: LanguageModel, tmp_path: Path, width: int
) -> None:
    """Dropped, watched, stopped, kept, written with, and deleted; a page that is loaded again shows the same."""
    with server(tmp_path / "runs") as client, tab(chromium, client.base_url, width) as page:
        drop(page, "to be or not to be <b>" * 50, "<i>Lear.txt")
        until(lambda: processes)
        until(lambda: page.ask(STATUS) == "Starting: loading …")
        folder = processes[0].folder
        log(folder, STARTED, *learnt(10, 4.0, "<b>first</b>\x00"))
        until(lambda: page.ask(SHOWN) == "<b>first</b>\\x00")
        assert page.ask(STATUS) == "Learning: 1:15 left."
        assert "step 10 of 1,000 · read 0.1 times · 12,345 characters per second · lstm 2x320" in page.ask(
            "document.querySelector('.facts').textContent"
        )
        log(folder, *learnt(100, 2.0, "second"))
        until(lambda: page.ask(SHOWN) == "second")
        assert page.ask("document.querySelectorAll('.curve circle').length") == 2
        when = "document.querySelector('.when').textContent"
        assert page.ask(when) == "step 100 · after 0:10 · training 2.00, validation 2.10 bits per character"
        assert "over 64 characters is 6.00" in page.ask("document.querySelector('.unit').textContent")
        assert page.ask("document.documentElement.scrollWidth - innerWidth") <= 0
        page.ask("document.querySelector('[aria-label=\"previous sample\"]').click()")
        log(folder, *learnt(200, 1.9, "third"))
        until(lambda: page.ask("document.querySelector('.place').textContent") == "1 of 3")
        assert page.ask(SHOWN) == "<b>first</b>\\x00"  # who looks at an older sample keeps it
        assert f"training={folder.name}" in page.ask("location.hash")
        page.ask("globalThis.before = true")
        page.call("Page.reload")
        until(lambda: page.ask(f"!globalThis.before && document.querySelector('.samples') && {SHOWN}") == "third")
        page.ask("globalThis.$ = (id) => document.getElementById(id)")
        press(page, "Stop")
        until(lambda: page.ask(STATUS) == "Stops after this step, and saves …")
        save(lm, folder / "model.safetensors")
        processes[0].end(130)
        until(lambda: page.ask(STATUS) == "Stopped; everything is saved.")
        page.ask("document.querySelector('.pair input').value = 'lear'")
        press(page, "Keep as")
        kept = "document.querySelector('.place-kept').textContent"
        until(lambda: "In a terminal: nextchar sample" in page.ask(kept))
        assert page.ask(kept).startswith("The model is in memory as lear, ")
        press(page, "Write with it")
        until(lambda: page.ask("location.hash").startswith("#tab=write&model=lear"))
        page.ask("$('tab-learn').click()")
        press(page, "Delete …")
        press(page, "Delete")
        until(lambda: not (tmp_path / "runs" / "lear").exists())
        until(lambda: page.ask("document.querySelector('.training').hidden"))
        assert page.complaints == []
        assert {each.split("/")[2] for each in page.requests} == {str(client.base_url).split("/")[2]}


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_the_tab_goes_on_when_the_server_is_back(chromium: Page, processes: list[Fake], tmp_path: Path) -> None:
    """Without the server it says so, and with it again, that it goes on; the training is there."""
    page = chromium
    with server(tmp_path / "runs") as client:
        page.open(f"{client.base_url}#tab=learn")
        drop(page, "to be or not to be " * 50, "lear.txt")
        until(lambda: page.ask(STATUS) == "Starting: loading …")
        port = client.base_url.port
        processes[0].end(-15)
        until(lambda: page.ask(STATUS).startswith("Failed"))
        press(page, "Go on")
        until(lambda: len(processes) == 2)
        processes[1].end(-15)
    until(lambda: "The server does not answer" in page.ask("$('notice').textContent"))
    with server(tmp_path / "runs", port=port):
        until(lambda: page.ask("$('notice').textContent").startswith("The server is back"))
        assert page.ask("document.querySelector('.training h2').textContent") == "lear"
        page.call("Page.navigate", url="about:blank")


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_text_is_learnt_from_the_page(chromium: Page, text: str, tmp_path: Path) -> None:
    """With a process of its own, from the drop to the first sample, until it is stopped and its model writes."""
    with server(tmp_path / "runs") as client, tab(chromium, client.base_url) as page:
        page.ask(
            "[...document.querySelectorAll('.teach select')].filter((each) => each.closest('details')).slice(0, 2)"
            ".forEach((each) => { each.selectedIndex = 1; })"
        )
        drop(page, text, "book.txt")
        until(lambda: page.ask(SHOWN))
        press(page, "Stop")
        until(lambda: page.ask(STATUS) == "Stopped; everything is saved.")
        press(page, "Write with it")
        until(lambda: page.ask("location.hash").startswith("#tab=write&model=book"))
        asked = {"model": "book", "prompt": "def ", "max_tokens": 20}
        assert len(client.post("/v1/completions", json=asked).json()["choices"][0]["text"]) == 20
