"""Trainings that clients start: they wait in line, one of them runs, and each is a folder that a restart finds again."""

import asyncio
import json
import logging
import re
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from subprocess import Popen

from starlette.exceptions import HTTPException

from nextchar.errors import ConfigError, NextcharError
from nextchar.serving.models import Model, Models
from nextchar.serving.processes import TrainingProcess, printed, warm_up
from nextchar.serving.training_record import LONGEST, REQUEST, Status, Training, checked_name, read_training
from nextchar.storage import CONFIG, LOG, MODEL, read_log, write_text
from nextchar.text.corpus import drop_cached
from nextchar.training.folder import locked

HOME = ".trainings"  # in the folder of runs: one folder for each training that was not kept
WAITING = 100  # trainings in line
POLL = 0.1  # seconds between two looks at the process
END_SECONDS = 10.0  # in which a process has to save when the server ends
INTERRUPTED = 130  # the exit code of a training that was stopped and has saved

_log = logging.getLogger(__name__)


class Trainings:
    """The line of trainings of one folder; all but `shut_down` is called in one thread.

    Args:
        runs: The folder in which kept trainings are runs.
        make: Makes a model that is served, from its name and its folder.
        warm: Compiles what trainings need before the first one starts.

    Attributes:
        warming: The process that compiles.

    Raises:
        ConfigError: Another server uses the folder.
        OSError: The folder cannot be written.
    """

    def __init__(self, runs: Path, make: Callable[[str, Path], Model], *, warm: bool = False) -> None:
        self.shown, self.runs = runs, runs.absolute()
        self.home = self.runs / HOME
        self.models = Models({})
        self.by_id: dict[str, Training] = {}
        self._warm = warm
        self.warming: Popen[bytes] | None = None
        self._make, self._served, self._serving = make, dict[str, int](), asyncio.Lock()
        self._current: Training | None = None
        self._process: TrainingProcess | None = None
        self._changed, self._closing, self._lock = asyncio.Event(), False, ExitStack()
        try:
            self._lock.enter_context(locked(self.home))
        except ConfigError:
            raise ConfigError(f"another server trains in {runs}; name another folder with --runs") from None
        for folder in [*self.home.iterdir(), *self.runs.glob("*/")]:
            if training := read_training(folder):
                if (
                    folder.parent == self.runs
                ):  # where folders are copied and renamed; or the server was killed in `keep`
                    training.kept, training.name = True, folder.name
                if training.id in self.by_id:
                    training.id = secrets.token_hex(6)
                self.by_id[training.id] = training
            elif folder.parent == self.home and any(folder.glob(REQUEST)):
                _log.warning("%s is left as it is: its %s is damaged, or of another version", folder, REQUEST)
            elif folder.parent == self.home and folder.is_dir():  # a text that did not arrive, or what was deleted
                shutil.rmtree(folder, ignore_errors=True)
        for training in self.by_id.values():
            if training.status in ("running", "stopping"):
                self._find(training)

    def _find(self, training: Training) -> None:
        """Take up a training that ran when the server ended: its process may still be at work."""
        if self._process is None and (process := TrainingProcess.find(training.folder)):
            self._current, self._process = training, process
            if training.status == "stopping":
                process.stop()
        elif training.used_up and not training.minutes:
            training.status = "finished"
        else:
            training.status = "stopped" if training.status == "stopping" else "waiting"

    # -- for clients -----------------------------------------------------------------------------------------------

    def find(self, id_: str) -> Training:
        """Return a training by its id.

        Raises:
            HTTPException: 404, there is none.
        """
        if id_ not in self.by_id:
            raise HTTPException(404, "there is no such training; it may have been deleted")
        return self.by_id[id_]

    def before(self, training: Training) -> int:
        """Return how many others have to end before a waiting training starts."""
        line = [each.id for each in self._line()]
        return line.index(training.id) + (self._process is not None) if training.id in line else 0

    def new(self, name: str) -> Training:
        """Return a training with a folder, which is not in line yet; the name gets a number if there is one like it.

        Raises:
            HTTPException: 429, too many wait.
        """
        if len(self._line()) >= WAITING:
            raise HTTPException(429, f"{WAITING} trainings wait already; delete one, or wait for one to end")
        id_ = secrets.token_hex(6)
        training = Training(folder=self.home / id_, id=id_, name=self._free(checked_name(name)))
        training.folder.mkdir()
        return training

    def add(self, training: Training) -> None:
        """Put a training at the end of the line."""
        if training.id not in self.by_id:
            training.name = self._free(training.name)  # another of its name may have come while its text did
        training.place = 1 + max((each.place for each in self.by_id.values()), default=0)
        training.status, training.reason = "waiting", ""
        training.save()
        self.by_id[training.id] = training
        self._changed.set()

    def stop(self, training: Training) -> None:
        """Stop a training so that it can go on; asked again, end its process at once."""
        if training is self._current and self._process:
            self._process.kill() if training.status == "stopping" else self._process.stop()
            self._set(training, "stopping")
        elif training.status == "waiting":
            self._set(training, "stopped")

    def go_on(self, training: Training, minutes: float | None) -> None:
        """Put a training that ended back in line.

        Raises:
            HTTPException: 409, it has not ended, or it is finished and gets no minutes.
        """
        self._must_rest(training)
        if training.used_up and training.status == "finished" and not minutes:
            raise HTTPException(409, "this training is finished; give the minutes with which it goes on")
        training.minutes = minutes
        self.add(training)

    async def keep(self, training: Training, name: str) -> None:
        """Make a training a run of the user's, and serve its model.

        Raises:
            HTTPException: 409, it has not ended, has no model, or there is a run or a model of that name.
        """
        name = checked_name(name)
        async with self._serving:  # a model that is being made gets the name and the folder of before
            self._must_rest(training)
            before = training.name
            if not training.has_model:
                raise HTTPException(409, "this training has no model yet; let it go on for a moment")
            if (self.runs / name).exists() or (name != before and self._taken(name)):
                raise HTTPException(409, f"there is already a run or a model named {name}; take another name")
            training.folder = training.folder.rename(self.runs / name)
            training.name, training.kept = name, True
            training.save()
            if training.text and (training.folder / CONFIG).exists():
                config = (training.folder / CONFIG).read_text(encoding="utf-8")
                texts = f"texts = {json.dumps([str(training.folder / training.text)], ensure_ascii=False)}"
                write_text(training.folder / CONFIG, re.sub(r"(?m)^texts = .*$", lambda _: texts, config, count=1))
            self._unserve(training, before)
        await self.serve(training)

    async def delete(self, training: Training) -> None:
        """End a training, and remove its folder and its text."""
        del self.by_id[training.id]
        if training is self._current and (process := self._process):
            self._current = self._process = None
            process.kill()
            while not process.ended:  # noqa: ASYNC110  nothing reports it
                await asyncio.sleep(POLL)
            self._changed.set()
        async with self._serving:  # as in `keep`
            self._unserve(training, training.name)
            gone = training.folder.rename(self.home / f"deleted-{training.id}")
            (gone / REQUEST).unlink(missing_ok=True)
        await asyncio.to_thread(shutil.rmtree, gone, ignore_errors=True)
        if training.key and all(each.key != training.key for each in self.by_id.values()):
            drop_cached(training.key)

    async def serve(self, training: Training) -> None:
        """Serve the model of a training, or its newer state.

        Raises:
            HTTPException: 409, there is none.
        """
        async with self._serving:
            try:
                stamp = (training.folder / MODEL).stat().st_mtime_ns
            except OSError:
                raise HTTPException(409, "this training has no model yet; let it go on for a moment") from None
            former = self.models.by_name.get(training.name)
            if former and training.id not in self._served:  # the command line has named it
                if former.folder is None or former.folder.resolve() != training.folder.resolve():
                    raise HTTPException(409, f"another model named {training.name} is served; rename this one")
                self._served[training.id] = stamp
            if self._served.get(training.id) != stamp:
                self.models.put(await asyncio.to_thread(self._make, training.name, training.folder))
                self._served[training.id] = stamp

    def kept(self) -> list[str]:
        """Return the names of kept trainings, whose models are served from the start."""
        return [each.name for each in self.by_id.values() if each.kept and each.has_model]

    def serves(self, training: Training) -> bool:
        """Return whether a model of the training is served."""
        return training.id in self._served

    # -- the line --------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def at_work(self, models: Models) -> AsyncIterator[None]:
        """Train what is in line, one after the other, and serve what was kept; at the end, the process saves and ends."""
        self.models, self.warming = models, warm_up() if self._warm else None
        tasks = [asyncio.create_task(work()) for work in (self._work, self._serve_kept)]
        try:
            yield
        finally:
            self.shut_down()
            for task in tasks:
                task.cancel()
            with suppress(TimeoutError):
                async with asyncio.timeout(END_SECONDS):
                    while self._process and not self._process.ended:  # noqa: ASYNC110  nothing reports it
                        await asyncio.sleep(POLL)
            if self.warming:
                self.warming.kill()
            self.close()

    def close(self) -> None:
        """Leave the folder to other servers."""
        self._lock.close()

    def shut_down(self) -> None:
        """Start nothing more, and ask the process to save and to end; the training goes on when the server is back."""
        if not self._closing and self._process:
            self._process.stop()
        self._closing = True

    async def _serve_kept(self) -> None:
        for training in [each for each in self.by_id.values() if each.kept]:
            with suppress(HTTPException, NextcharError, OSError):
                await self.serve(training)

    async def _work(self) -> None:
        while not self._closing:
            self._changed.clear()
            try:
                await self._look()
            except Exception:  # noqa: BLE001  the line goes on
                _log.exception("the line of trainings failed")
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL if self._process or self.warming else None):
                    await self._changed.wait()

    async def _look(self) -> None:
        if self._process and self._process.ended and self._current:
            await self._conclude(self._current, self._process.code)
        if self.warming and self.warming.poll() is not None:
            self.warming = None
        if not self._process and not self.warming and (line := self._line()):
            self._start(line[0])

    def _line(self) -> list[Training]:
        waiting = (each for each in self.by_id.values() if each.status == "waiting")
        return sorted(waiting, key=lambda each: each.place)

    def _start(self, training: Training) -> None:
        try:
            self._process = TrainingProcess.start(training.folder, training.words())
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            self._set(training, "failed", f"its process cannot be started: {reason}")
            self._changed.set()  # the next one starts
            return
        self._current = training
        self._set(training, "running")

    async def _conclude(self, training: Training, code: int | None) -> None:
        """Note how a training has ended, and serve its model."""
        self._process = TrainingProcess.find(training.folder)  # one that an earlier server has left was faster
        if self._process or self._closing:
            return
        self._current, used, log = None, training.used_up, read_log(training.folder / LOG)
        by_signal = code == INTERRUPTED or (code is None and log and log[-1]["event"] == "stopped")
        training.minutes = None
        if training.status == "stopping":
            self._set(training, "finished" if used else "stopped")
        elif code == 0 or (code is None and used):
            self._set(training, "finished")
        else:
            self._set(
                training,
                "stopped" if by_signal else "failed",
                "its process was told to end" if by_signal else _why(training, code),
            )
        if training.has_model:
            with suppress(HTTPException, NextcharError, OSError):
                await self.serve(training)

    def _set(self, training: Training, status: Status, reason: str = "") -> None:
        """Set the status, and write it; without space on the disk, it is only in memory."""
        training.status, training.reason = status, reason
        try:
            training.save()
        except (OSError, NextcharError):
            _log.exception("the state of training %s cannot be written", training.id)

    def _must_rest(self, training: Training) -> None:
        if training.status in ("waiting", "running", "stopping"):
            raise HTTPException(409, f"this training is {training.status}; stop it first")

    def _free(self, name: str) -> str:
        """Return a name, with a number if it is taken."""
        free, number = name, 1
        while self._taken(free):
            number += 1
            free = f"{name[: LONGEST - len(str(number)) - 1]}-{number}"
        return free

    def _taken(self, name: str) -> bool:
        named = name in self.models.by_name or any(each.name == name for each in self.by_id.values())
        return named or (self.runs / name).exists()

    def _unserve(self, training: Training, name: str) -> None:
        if self._served.pop(training.id, None):
            self.models.remove(name)


def _why(training: Training, code: int | None) -> str:
    """Return why a training failed, from what its process printed last."""
    lines = printed(training.folder)
    errors = [line for line in lines if line.startswith("nextchar: error: ")]
    if not errors and (code is None or code < 0):
        return "its process was killed; go on continues from what was saved"
    said = (errors or lines or ["its process ended without a message"])[-1].removeprefix("nextchar: error: ")
    return said.replace(f"{training.folder}", training.name)
