"""The routes of trainings, under /api/trainings: texts come as raw bodies, everything else as query parameters."""

import asyncio
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.routing import Route

from nextchar.config import DEFAULT_MINUTES, Config
from nextchar.errors import ConfigError, NextcharError, TextError, check_options, did_you_mean
from nextchar.serving.guard import json_response
from nextchar.serving.models import Limits
from nextchar.serving.progress import COMPILING, doing, progress
from nextchar.serving.replies import JSON
from nextchar.serving.training_record import Training
from nextchar.serving.trainings import Trainings
from nextchar.storage import MODEL
from nextchar.text.catalogue import CATALOGUE, place
from nextchar.text.corpus import open_corpus
from nextchar.text.sources import codec_name, looks_binary

MOST_MINUTES = 7 * 24 * 60.0
SPARE = 100 << 20  # bytes that stay free
TIMES = 4  # of a text: itself, its encoded form, and what is written while it is encoded
LEAST = 100  # characters of a text, so that its parts for validation and for the test have some
OPTIONS = {*Config.model_fields} - {"suffix"}  # which is of folders

Answer = Callable[[HTTPRequest], Awaitable[Response]]


class TrainingRoutes:
    """The endpoints of trainings.

    Args:
        trainings: The line; None if there is none.
        limits: Of what clients may send.
        off: Why there is none, in one sentence.
    """

    def __init__(self, trainings: Trainings | None, limits: Limits, off: str = "") -> None:
        self._trainings, self._limits, self._off = trainings, limits, off

    def routes(self) -> list[Route]:
        """Return every endpoint; without trainings, each of them refuses in one sentence."""
        one = "/api/trainings/{id}"
        endpoints: list[tuple[str, str, Answer]] = [
            ("/api/trainings", "GET", self._list),
            ("/api/trainings", "POST", self._add),
            (one, "GET", self._one),
            (one, "DELETE", self._delete),
            (f"{one}/{{action}}", "POST", self._act),
        ]
        return [
            Route(path, call if self._trainings else self._refuse, methods=[method]) for path, method, call in endpoints
        ]

    async def _refuse(self, _http: HTTPRequest) -> Response:
        raise HTTPException(403, self._off)

    @property
    def _line(self) -> Trainings:
        assert self._trainings
        return self._trainings

    def _named(self, http: HTTPRequest) -> Training:
        return self._line.find(http.path_params["id"])

    def _about(self, training: Training) -> JSON:
        """Return what a client may know about a training."""
        about = training.model_dump(include={"id", "name", "created", "status", "reason", "corpus", "options", "kept"})
        about["before"] = self._line.before(training)
        about["model"] = training.name if self._line.serves(training) else None
        about["model_bytes"] = (training.folder / MODEL).stat().st_size if training.has_model else None
        about["folder"] = (self._line.shown / training.name).as_posix() if training.kept else None
        return about

    def _answer(self, training: Training, status: int = 200) -> Response:
        return json_response(self._about(training), status)

    async def _list(self, _http: HTTPRequest) -> Response:
        newest = sorted(self._line.by_id.values(), key=lambda each: -each.created)
        corpora = [{"name": name, "about": each.about, "place": place(name)} for name, each in CATALOGUE.items()]
        runs = self._line.shown.as_posix()
        limits = {"bytes": self._limits.text, "minutes": MOST_MINUTES}
        return json_response(
            {"trainings": [*map(self._about, newest)], "corpora": corpora, "limits": limits, "runs": runs}
        )

    async def _one(self, http: HTTPRequest) -> Response:
        training = self._named(http)
        reply = await asyncio.to_thread(progress, training.folder, http.query_params.get("since", ""))
        if training.status == "running" and not reply.get("latest"):
            reply["doing"] = await asyncio.to_thread(doing, training.folder)
        elif training.status == "waiting" and self._line.warming:
            reply["doing"] = COMPILING
        return json_response({**self._about(training), **reply})

    async def _add(self, http: HTTPRequest) -> Response:
        given = dict(http.query_params)
        name, corpus = given.pop("name", ""), given.pop("corpus", "")
        check_options(given, dict.fromkeys(OPTIONS))
        if not {"minutes", "epochs", "steps"} & {*given}:
            given["minutes"] = str(DEFAULT_MINUTES)
        config = Config.make(given)
        _checked_minutes(config)
        if corpus and corpus not in CATALOGUE:
            raise ConfigError(f"there is no corpus named '{corpus[:60]}'{did_you_mean(corpus, CATALOGUE)}")
        codec_name(config.encoding)
        training = self._line.new(name or corpus or "text")
        try:
            training.options = config.model_dump(include={*given}, mode="json")
            training.corpus = corpus
            if not corpus:
                training.text = f"{training.name}.txt"
                await self._receive(http, training.folder / training.text)
                training.key = await asyncio.to_thread(checked_text, training.folder / training.text, config)
            self._line.add(training)
        except BaseException as error:
            shutil.rmtree(training.folder, ignore_errors=True)
            if isinstance(error, OSError):
                raise HTTPException(507, f"the text cannot be written: {error.strerror or error}") from None
            raise
        return self._answer(training, 201)

    async def _receive(self, http: HTTPRequest, path: Path) -> None:
        """Write the body of a request to a file."""
        limit, announced = self._limits.text, http.headers.get("content-length", "")
        size = int(announced) if announced.isdecimal() else 0
        if size > limit:
            raise HTTPException(413, f"the text has {size / 1e6:.0f} MB, and the limit is {limit / 1e6:.0f} MB")
        free = shutil.disk_usage(path.parent).free
        if free < TIMES * size + SPARE:
            raise HTTPException(507, f"the server's disk has only {free / 1e6:.0f} MB left; make some space first")
        written, stream = 0, http.stream()
        try:
            with path.open("xb") as file:
                while True:
                    async with asyncio.timeout(self._limits.body_seconds):
                        piece = await anext(stream, None)
                    if piece is None:
                        return
                    written += len(piece)
                    if written > limit:
                        raise HTTPException(413, f"the text has more than the limit of {limit / 1e6:.0f} MB")
                    file.write(piece)
        except TimeoutError:
            raise HTTPException(408, f"no more of the text came for {self._limits.body_seconds:g} seconds") from None
        except ClientDisconnect:
            raise HTTPException(400, "the client left before the whole text was here") from None

    async def _act(self, http: HTTPRequest) -> Response:
        training, asked = self._named(http), http.query_params
        match http.path_params["action"]:
            case "stop":
                self._line.stop(training)
            case "go-on":
                self._line.go_on(training, _checked_minutes(Config.make({"minutes": asked.get("minutes")})))
            case "keep":
                await self._line.keep(training, asked.get("name") or training.name)
            case "serve":
                await self._line.serve(training)
            case other:
                raise HTTPException(404, f"there is no action {other[:20]!r}; there is stop, go-on, keep and serve")
        return self._answer(training)

    async def _delete(self, http: HTTPRequest) -> Response:
        await self._line.delete(self._named(http))
        return Response(status_code=204)


def checked_text(path: Path, config: Config) -> str:
    """Read a text as a training will, and encode it into the cache; return its key there.

    Raises:
        TextError: It cannot be trained on; one sentence, without the path.
    """
    if not path.stat().st_size:
        raise TextError("the text is empty; there is nothing to learn")
    with path.open("r+b") as file:
        os.fsync(file.fileno())  # what was accepted is not lost
    if (config.units, config.encoding) == ("characters", "utf-8") and looks_binary(path):
        raise TextError("this file looks binary; give a plain text, name its encoding, or read it as bytes")
    try:
        corpus = open_corpus(path, units=config.units, encoding=config.encoding)
        if len(corpus) < LEAST:
            raise TextError(f"the text has only {len(corpus)} {config.units}; give at least {LEAST}")
    except NextcharError as error:  # the remedies of the command line are none here
        said, _, remedy = str(error).replace(str(path), "the text").replace(f"{path.name}: ", "").partition("; ")
        said = said[0].lower() + said[1:]
        advice = "name its encoding, or read it as bytes" if "--encoding" in remedy else remedy
        raise TextError(f"{said}; {advice}" if advice else said) from None
    return corpus.key


def _checked_minutes(config: Config) -> float | None:
    """Return the minutes of a config, which are no more than a week."""
    if config.minutes is not None and config.minutes > MOST_MINUTES:
        raise ConfigError(f"minutes is {config.minutes:g}, but must be at most {MOST_MINUTES:g}")
    return config.minutes
