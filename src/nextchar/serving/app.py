"""The ASGI application: OpenAI's and llama.cpp's endpoints over the schedulers of some models."""

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from pydantic import ValidationError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request as HTTPRequest
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from nextchar.errors import NextcharError
from nextchar.serving.guard import Guard, error_object, error_response, is_loopback, json_response
from nextchar.serving.metrics import Metrics
from nextchar.serving.models import START_NAME, Limits, Model, Models, Prompt, UnknownModelError
from nextchar.serving.neurons import Neurons
from nextchar.serving.page import documents, wants_html
from nextchar.serving.replies import JSON, ChatReply, LlamaReply, Reply, selected
from nextchar.serving.scheduler import QueueFullError, ShuttingDownError
from nextchar.serving.schemas import Chat, Completion, Detokenize, Drawing, Llama, Tokenize
from nextchar.serving.streams import ENDED, ClientLeftError, EventStream, Inbox, encoded_event, read_body, watch
from nextchar.serving.texts import Job, Piece, PromptRead, Request
from nextchar.serving.training_routes import TrainingRoutes
from nextchar.serving.trainings import Trainings

LENGTH = 16  # of a completion, if the client does not say: OpenAI's
CHAT_LENGTH = 500  # of an answer: that of `nextchar sample`

Events = AsyncGenerator[tuple[int, PromptRead | Piece], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request that was understood.

    Attributes:
        model: Its model.
        requests: One for each prompt.
        reply: The form of the reply.
        kept: How many texts of each prompt are returned.
        marked: Whether a stream ends with [DONE].
        fields: Which fields of the reply are returned; None for all.
    """

    model: Model
    requests: list[Request]
    reply: Reply
    kept: int = 1
    marked: bool = True
    fields: list[str] | None = None


class Server:
    """The endpoints.

    Args:
        models: What is served.
        metrics: Where requests are counted.
        training: Whether the page may train models.
    """

    def __init__(self, models: Models, metrics: Metrics, *, training: bool = False) -> None:
        self._models, self._metrics, self._documents = models, metrics, documents(training=training)
        self._clients: Counter[str] = Counter()

    def routes(self) -> list[Route]:
        """Return every endpoint."""
        post: dict[str, Callable[[HTTPRequest], Any]] = {
            "/v1/completions": self._completions,
            "/v1/chat/completions": self._chat,
            "/completion": partial(self._llama, False),
            "/infill": partial(self._llama, True),
            "/tokenize": self._tokenize,
            "/detokenize": self._detokenize,
        }
        get: dict[str, Callable[[HTTPRequest], Any]] = {
            **{path: document.answer for path, document in self._documents.items()},
            "/": self._index,
            "/v1/models": self._list,
            "/v1/models/{name:path}": self._one,
            "/tokenizer_info": self._tokenizer_info,
            "/health": self._health,
            "/metrics": self._metrics.page,
        }
        routes = [Route(path, call, methods=["POST"]) for path, call in post.items()]
        return [*routes, *(Route(path, call, methods=["GET"]) for path, call in get.items())]

    async def _completions(self, http: HTTPRequest) -> Response:
        body = await read_body(http, Completion, self._models.limits)
        model = self._models.find(body.model)
        if body.suffix:
            return error_response("the model only continues texts; leave out suffix", 400, param="suffix")
        count = self._models.texts(body.n, "n")
        best = count if body.best_of is None else self._models.texts(body.best_of, "best_of")
        if best < count or (best > count and body.stream):
            message = f"best_of is {best}, but must be n ({count}) or more, and n in a stream"
            return error_response(message, 400, param="best_of")
        options = self._models.options(model, body, body.max_tokens, LENGTH, "max_tokens")
        prompts = [model.encode(prompt, self._models.limits) for prompt in body.prompts()]
        if len(prompts) * best > self._models.limits.texts:
            message = f"{len(prompts)} prompts of {best} texts are more than {self._models.limits.texts}"
            return error_response(message, 400, param="prompt")
        top, echo = body.logprobs, bool(body.echo)
        requests = [
            Request(
                ids=prompt.ids,
                options=options,
                count=best,
                alternatives=None if top is None else max(0, top),
                score_prompt=echo and top is not None,
            )
            for prompt in prompts
        ]
        reply = Reply(model, prompts, best, echo=echo, logprobs=top is not None)
        return await self._answer(http, body, Call(model=model, requests=requests, reply=reply, kept=count))

    async def _chat(self, http: HTTPRequest) -> Response:
        body = await read_body(http, Chat, self._models.limits)
        model = self._models.find(body.model)
        count = self._models.texts(body.n, "n")
        options = self._models.options(model, body, body.max_tokens, CHAT_LENGTH, "max_tokens")
        prompt = model.encode("\n".join(message.text() for message in body.messages), self._models.limits)
        top = max(0, body.top_logprobs or 0) if body.logprobs else None
        request = Request(ids=prompt.ids, options=options, count=count, alternatives=top)
        reply = ChatReply(model, [prompt], count, logprobs=top is not None)
        return await self._answer(http, body, Call(model=model, requests=[request], reply=reply, kept=count))

    async def _llama(self, infill: bool, http: HTTPRequest) -> Response:
        body = await read_body(http, Llama, self._models.limits)
        model = self._models.find(body.model)
        length = body.n_predict if body.n_predict is None or body.n_predict >= 0 else self._models.limits.length
        options = self._models.options(model, body, length, CHAT_LENGTH, "n_predict")
        prompt = model.encode(body.prompt or "", self._models.limits)
        if infill:
            prefix = model.encode(body.input_prefix, self._models.limits)
            prompt = Prompt(np.concatenate([prefix.ids, prompt.ids]))
        milliseconds = body.t_max_predict_ms or 0
        request = Request(
            ids=prompt.ids,
            options=options,
            alternatives=body.n_probs if body.n_probs > 0 else None,
            seconds=milliseconds / 1000 if milliseconds > 0 else None,
        )
        reply = LlamaReply(model, [prompt], logprobs=body.n_probs > 0)
        call = Call(model=model, requests=[request], reply=reply, marked=False, fields=body.response_fields)
        return await self._answer(http, body, call)

    async def _answer(self, http: HTTPRequest, body: Drawing, call: Call) -> Response:
        """Generate what a call asks for."""
        if sum(map(_alternatives, call.requests)) > self._models.limits.alternatives:
            message = (
                f"a reply has at most {self._models.limits.alternatives} alternatives; ask for fewer, or less text"
            )
            return error_response(message, 400, param="logprobs")
        client = http.client.host if http.client else ""
        texts = sum(request.count for request in call.requests)
        if not is_loopback(client) and self._clients[client] + texts > self._models.limits.client:
            raise QueueFullError(f"this client already has {self._clients[client]} texts; wait for one to end")
        inbox = Inbox()
        jobs: list[Job] = []
        try:
            for number, request in enumerate(call.requests):
                jobs.append(call.model.scheduler.submit(request, partial(inbox.put, number)))
        except NextcharError:
            self._cancel(call, jobs)
            raise
        self._clients[client] += texts
        events = self._events(http, call, inbox, jobs, client)
        if body.stream:
            usage = body.stream_options is not None and bool(body.stream_options.include_usage)
            return EventStream(self._stream(call, events, usage=usage))
        try:
            async with aclosing(events):
                async for number, event in events:
                    deque(call.reply.take(number, event), maxlen=0)
        except ClientLeftError:
            return Response(status_code=499)
        reasons = {choice.reason for choice in call.reply.choices}
        for reason, status in (("error", 500), ("shutdown", 503)):
            if reason in reasons:
                return error_response(ENDED[reason], status, reason)
        whole = call.reply.whole(call.kept)
        return json_response(selected(whole, call.fields) if call.fields else whole)

    async def _events(self, http: HTTPRequest, call: Call, inbox: Inbox, jobs: list[Job], client: str) -> Events:
        """Yield events until all texts have ended; cancel those that have not, if the client leaves."""
        left, first, begun = sum(request.count for request in call.requests), True, time.monotonic()
        leaving = asyncio.create_task(watch(http.receive, inbox))
        try:
            while left:
                for number, event in await inbox.take():
                    self._metrics.observe(event, time.monotonic() - begun, first=first)
                    first = first and isinstance(event, PromptRead)
                    left -= isinstance(event, Piece) and event.finish_reason is not None
                    yield number, event
        finally:
            leaving.cancel()
            self._cancel(call, jobs)
            self._clients[client] -= sum(request.count for request in call.requests)
            if not self._clients[client]:
                del self._clients[client]

    @staticmethod
    def _cancel(call: Call, jobs: list[Job]) -> None:
        for job in jobs:
            call.model.scheduler.cancel(job)

    @staticmethod
    async def _stream(call: Call, events: Events, *, usage: bool) -> AsyncGenerator[bytes, None]:
        """Yield a reply as server-sent events."""
        async with aclosing(events):
            async for number, event in events:
                if isinstance(event, Piece) and event.finish_reason in ENDED:
                    yield encoded_event(error_object(ENDED[event.finish_reason], 500, event.finish_reason))
                    return
                parts = [encoded_event(_shown(value, call)) for value in call.reply.take(number, event)]
                if parts:
                    yield b"".join(parts)
        for value in call.reply.last(usage=usage):
            yield encoded_event(value)
        if call.marked:
            yield b"data: [DONE]\n\n"

    async def _tokenize(self, http: HTTPRequest) -> Response:
        body = await read_body(http, Tokenize, self._models.limits)
        model = self._models.find(body.model)
        tokens = model.tokenize(body.prompt)
        return json_response({"tokens": tokens, "count": len(tokens), "max_model_len": self._models.limits.prompt})

    async def _detokenize(self, http: HTTPRequest) -> Response:
        body = await read_body(http, Detokenize, self._models.limits)
        model = self._models.find(body.model)
        prompt = model.encode(body.tokens, self._models.limits)
        text = START_NAME * prompt.starts + model.vocabulary.decode(prompt.ids)
        return json_response({"prompt": text, "content": text})

    async def _tokenizer_info(self, http: HTTPRequest) -> Response:
        model = self._models.find(http.query_params.get("model"))
        names = {"bos_token": START_NAME, "eos_token": START_NAME, "pad_token": None, "chat_template": None}
        return json_response({**names, "units": model.vocabulary.units, "vocab_size": len(model.vocabulary)})

    async def _list(self, _http: HTTPRequest) -> Response:
        return json_response({"object": "list", "data": [*map(_described, self._models.by_name.values())]})

    async def _one(self, http: HTTPRequest) -> Response:
        return json_response(_described(self._models.find(http.path_params["name"])))

    async def _health(self, _http: HTTPRequest) -> Response:
        return json_response({"status": "ok"})

    async def _index(self, http: HTTPRequest) -> Response:
        if wants_html(http):
            return await self._documents["/"].answer(http)
        paths = " ".join(route.path for route in self.routes())
        return Response(
            f"nextchar serves {', '.join(self._models.by_name)}\n{paths}\n",
            media_type="text/plain",
            headers={"vary": "accept"},
        )


def _alternatives(request: Request) -> int:
    """Return how many alternatives the reply to a request may have."""
    chars = request.count * request.options.length + request.score_prompt * len(request.ids)
    return chars * (request.alternatives or 0)


def _shown(value: JSON, call: Call) -> JSON:
    return selected(value, call.fields) if call.fields and value.get("stop") else value


def _described(model: Model) -> JSON:
    head = {"id": model.name, "object": "model", "created": model.created, "owned_by": "nextchar"}
    return {**head, **model.about}


def _explain(_http: HTTPRequest, error: Exception) -> Response:
    """Answer an error of the client in one sentence."""
    if isinstance(error, QueueFullError):
        return error_response(str(error), 429, "queue_full", retry_after="1")
    if isinstance(error, ShuttingDownError):
        return error_response(str(error), 503, "shutdown", retry_after="5")
    if isinstance(error, UnknownModelError):
        return error_response(str(error), 404, "model_not_found", "model")
    if isinstance(error, HTTPException):
        return error_response(error.detail, error.status_code)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_input=False)[0]
        names = [part for part in first["loc"] if isinstance(part, str)]
        where = f"{names[0]}: " if names else ""
        return error_response(f"{where}{first['msg']}", 400, param=names[0] if names else None)
    return error_response(str(error), 400)


def _failed(_http: HTTPRequest, _error: Exception) -> Response:
    return error_response(ENDED["error"], 500, "error")


def build(
    models: Sequence[Model],
    *,
    host: str = "127.0.0.1",
    api_key: str | None = None,
    limits: Limits | None = None,
    trainings: Trainings | None = None,
    untrained: str = "training is off on this server",
) -> ASGIApp:
    """Return the application; its start-up starts the models' threads and the trainings, and its shutdown ends them.

    Args:
        models: With different names; the first answers requests that name none.
        host: Where the server listens.
        api_key: What clients must send, or None.
        limits: What clients may ask for.
        trainings: Those that clients start.
        untrained: Why clients may not train, if there is no `trainings`.
    """
    served = Models({model.name: model for model in models}, limits or Limits())
    server, neurons = Server(served, Metrics(served.by_name), training=trainings is not None), Neurons(served)
    learning = TrainingRoutes(trainings, served.limits, untrained)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        for model in models:
            model.start()
        async with AsyncExitStack() as stack:
            if trainings:
                await stack.enter_async_context(trainings.at_work(served))
            yield
        neurons.close()
        for model in [*served.by_name.values()]:
            model.close()

    known = (NextcharError, HTTPException, ValidationError)
    handlers: dict[Any, Any] = {**dict.fromkeys(known, _explain), Exception: _failed}
    routes = [*server.routes(), *learning.routes(), *neurons.routes()]
    return Guard(Starlette(routes=routes, exception_handlers=handlers, lifespan=lifespan), host, api_key)
