"""What stands before every request: the hosts and origins that may ask, the key, and errors in OpenAI's form."""

import hmac
import ipaddress
import json
import re
import secrets
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

# Clients ask these before they know of a key.
OPEN = {"/", "/page.js", "/page.css", "/health", "/tokenize", "/detokenize", "/tokenizer_info"}
NAMES = re.compile(r"localhost|127\.0\.0\.1|\[::1\]")
# What a browser may do with a reply: run the page's own script, and send requests to this server alone.
POLICY = {
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
CORS = {
    "access-control-allow-methods": "GET, POST, OPTIONS",
    "access-control-allow-headers": "authorization, content-type, *",
    "access-control-max-age": "600",
}


def compact(value: Any) -> bytes:
    """Return JSON without blanks, which llama.vim relies on."""
    return json.dumps(value, separators=(",", ":")).encode()


def json_response(value: Any, status: int = 200) -> Response:
    """Return JSON as a response."""
    return Response(compact(value), status, media_type="application/json")


def error_object(message: str, status: int, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """Return an error in OpenAI's form."""
    kind = "invalid_request_error" if status < 500 and status != 429 else "server_error"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def error_response(
    message: str, status: int, code: str | None = None, param: str | None = None, **headers: str
) -> Response:
    """Return an error in OpenAI's form, as a response."""
    content = compact(error_object(message, status, code, param))
    return Response(content, status, {k.replace("_", "-"): v for k, v in headers.items()}, "application/json")


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine alone."""
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


class Guard:
    """An ASGI application that refuses what another application should not see.

    A page of another site can make a browser send requests to this machine, and can give its own name this machine's
    address (DNS rebinding). So the Host header must be a name of the server's, and the Origin, if there is one, a page of
    this machine.

    Args:
        app: What is protected.
        host: Where the server listens. Beyond loopback, any Host that is an address is accepted, too.
        api_key: What clients must send, or None.
    """

    def __init__(self, app: ASGIApp, host: str = "127.0.0.1", api_key: str | None = None) -> None:
        self._app, self._host, self._key = app, host, api_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        origin = headers.get("origin")
        # An <img> of another site sends no Origin, but its request could start work; a link to the page may come from anywhere.
        embedded = headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate"
        allowed = not embedded if origin is None else self._is_own(origin, headers.get("host", ""))

        response = self._refusal(headers, allowed=allowed)
        trusted = response is None

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                out = MutableHeaders(scope=message)
                out["x-request-id"] = secrets.token_hex(8)
                out.update(POLICY)
                if origin is not None and trusted:
                    out["access-control-allow-origin"] = origin
                    out.add_vary_header("Origin")
            await send(message)

        if response is None and scope["method"] == "OPTIONS" and origin is not None:
            response = Response(status_code=204, headers=CORS)
        if response is None and not self._may(scope, headers):
            message = "the API key is missing or wrong; send it as Authorization: Bearer KEY"
            response = error_response(message, 401, "invalid_api_key", www_authenticate="Bearer")
        await (response or self._app)(scope, receive, marked)

    def _refusal(self, headers: Headers, *, allowed: bool) -> Response | None:
        name = re.sub(r":\d+$", "", headers.get("host", ""))
        if not (NAMES.fullmatch(name) or name in (self._host, f"[{self._host}]") or self._is_public(name)):
            return error_response(f"the host '{name}' is not a name of this server", 403, "forbidden")
        if not allowed:
            return error_response(
                f"pages of {headers.get('origin', 'another site')} may not use this server", 403, "forbidden"
            )
        return None

    def _is_public(self, name: str) -> bool:
        """Return whether a name is one that a server beyond loopback answers to: no attacker can own an address."""
        if is_loopback(self._host):
            return False
        return self._key is not None or re.fullmatch(r"[\d.]+|\[[\da-f:.]+\]", name) is not None

    @staticmethod
    def _is_own(origin: str, host: str) -> bool:
        scheme, _, place = origin.partition("://")
        local = NAMES.fullmatch(re.sub(r":\d+$", "", place)) is not None
        return scheme in ("http", "https") and (local or place == host)

    def _may(self, scope: Scope, headers: Headers) -> bool:
        if self._key is None or scope["path"] in OPEN:
            return True
        given = headers.get("authorization", "").removeprefix("Bearer ").strip()
        return hmac.compare_digest(given.encode("latin-1"), self._key.encode())
