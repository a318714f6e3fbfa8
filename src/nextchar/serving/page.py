"""The page that a browser gets: its HTML, one script and one stylesheet, assembled once."""

import json
from functools import partial
from hashlib import blake2b

from starlette.requests import Request
from starlette.responses import Response

from nextchar.pages.page import WRITER, asset, module, stylesheet

TABS = ("http.js", "shell.js", "write.js", "look.js", "learn.js", "compare.js")


class Document:
    """A file of the page. Browsers ask each time whether it has changed, by its digest, so that a new version is seen.

    Args:
        content: The whole file.
        media_type: Of the file.
    """

    def __init__(self, content: str, media_type: str) -> None:
        self._content, self._media_type = content.encode(), media_type
        self._tag = f'"{blake2b(self._content, digest_size=12).hexdigest()}"'

    async def answer(self, http: Request) -> Response:
        """Return the file, or that it has not changed."""
        headers = {"etag": self._tag, "cache-control": "no-cache", "vary": "accept"}
        if self._tag in http.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return Response(self._content, headers=headers, media_type=self._media_type)


def documents(*, training: bool) -> dict[str, Document]:
    """Return the files of the page by their paths.

    Args:
        training: Whether the page may train models.
    """
    own = partial(asset, package="nextchar.serving")
    data = json.dumps({"title": "nextchar", "training": training})
    script = module([*map(asset, (*WRITER, "timeline.js")), *map(own, TABS)])
    styles = [*map(asset, ("writer.css", "timeline.css")), *map(own, ("page.css", "look.css", "learn.css"))]
    return {
        "/": Document(own("index.html").replace("/* data */", data), "text/html"),
        "/page.js": Document(script, "text/javascript"),
        "/page.css": Document(stylesheet("".join(styles)), "text/css"),
    }


def wants_html(http: Request) -> bool:
    """Return whether a client is a browser."""
    return "text/html" in http.headers.get("accept", "")
