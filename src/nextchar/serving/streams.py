"""Reads requests, carries events from the schedulers' threads to the clients, and notices when one leaves."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import TypeVar

from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from nextchar.serving.guard import compact
from nextchar.serving.models import Limits
from nextchar.serving.replies import JSON
from nextchar.serving.texts import Piece, PromptRead

ENDED = {"shutdown": "the server is shutting down", "error": "the server failed; its log has the reason"}
Body = TypeVar("Body", bound=BaseModel)


class ClientLeftError(Exception):
    """The client has closed the connection."""


class Inbox:
    """Carries events from the schedulers' threads to one request."""

    def __init__(self) -> None:
        self._loop, self._ready = asyncio.get_running_loop(), asyncio.Event()
        self._events: deque[tuple[int, PromptRead | Piece] | None] = deque()
        self._signalled = False

    def put(self, number: int, event: PromptRead | Piece) -> None:
        """Add an event of prompt `number`, from any thread."""
        self._events.append((number, event))
        self._signal()

    def leave(self) -> None:
        """The client has left."""
        self._events.append(None)
        self._signal()

    def _signal(self) -> None:
        if not self._signalled:
            self._signalled = True
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(self._ready.set)

    async def take(self) -> list[tuple[int, PromptRead | Piece]]:
        """Return what has come, at least one event.

        Raises:
            ClientLeftError: The client has left.
        """
        await self._ready.wait()
        self._ready.clear()
        self._signalled = False
        events = []
        while self._events:
            event = self._events.popleft()
            if event is None:
                raise ClientLeftError
            events.append(event)
        return events


class EventStream(Response):
    """A reply that is sent while it is generated, as server-sent events."""

    media_type = "text/event-stream"

    def __init__(self, content: AsyncGenerator[bytes, None]) -> None:
        super().__init__(headers={"cache-control": "no-store", "x-accel-buffering": "no"})
        del self.headers["content-length"]
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send all events; that the client leaves ends the content."""
        del scope, receive
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        with suppress(ClientLeftError):
            async with aclosing(self._content) as content:
                async for piece in content:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
        await send({"type": "http.response.body", "body": b""})


async def read_body(http: Request, kind: type[Body], limits: Limits) -> Body:
    """Read and check the body of a request; a client that sends it too slowly is not waited for."""
    content = bytearray()
    try:
        async with asyncio.timeout(limits.body_seconds):
            async for piece in http.stream():
                content += piece
                if len(content) > limits.body:
                    raise HTTPException(413, f"the request has more than {limits.body} bytes")
    except TimeoutError:
        raise HTTPException(408, f"the request did not come within {limits.body_seconds:g} seconds") from None
    return kind.model_validate_json(bytes(content))


async def watch(receive: Receive, inbox: Inbox) -> None:
    """Wait until the client leaves."""
    while (await receive())["type"] != "http.disconnect":
        pass
    inbox.leave()


def encoded_event(value: JSON) -> bytes:
    """Return an object as a server-sent event."""
    return b"data: " + compact(value) + b"\n\n"
