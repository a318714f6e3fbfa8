"""Trainings through the server: the line, what clients may send, and what survives the end of any process."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nextchar.errors import ConfigError
from nextchar.language_model import LanguageModel
from nextchar.sampling.sample import sample
from nextchar.storage import save
from serving.service import serving

SMALL = {"hidden": 16, "layers": 1, "embedding": 4, "batch_size": 4, "seq_length": 16, "kernels": "torch"}
WAIT = 120.0


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
    monkeypatch.setattr("nextchar.serving.trainings.TrainingProcess", Fake)
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
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("nextchar.serving.trainings.TrainingProcess", Fake)
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

        monkeypatch.setattr("nextchar.serving.training_routes.checked_text", full)
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

    monkeypatch.setattr("nextchar.serving.trainings.write_text", full)
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
    processes.clear()
    kept = json.loads((runs / ".trainings" / ids[0] / "training.json").read_text(encoding="utf-8"))
    kept["status"] = "running"
    (runs / ".trainings" / ids[0] / "training.json").write_text(json.dumps(kept), encoding="utf-8")
    with server(runs) as client:
        assert not (runs / ".trainings" / "half").exists()
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


def test_two_servers_do_not_share_a_folder(tmp_path: Path, http: httpx.Client) -> None:
    """The second one says so in one sentence."""
    from nextchar.serving.models import Model
    from nextchar.serving.trainings import Trainings

    assert http.get("/health").status_code == 200
    with pytest.raises(ConfigError, match=r"another server trains in .*; name another folder with --runs"):
        Trainings(tmp_path / "runs", Model)
