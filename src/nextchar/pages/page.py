"""A page: one self-contained HTML file, assembled from its parts.

Numbers are stored as deflated bytes in base64. Everything from the text or the model is JSON, which the page displays as
text, never as HTML.
"""

import base64
import json
import tempfile
import webbrowser
import zlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.errors import NextcharError
from nextchar.notebook import frame
from nextchar.storage import write_text
from nextchar.text.paths import Text, expand

WRITER = ("charts.js", "strip.js", "editor.js", "writer.js")
"""The scripts of a page with a writer, after those of all pages; its style is writer.css."""
SAMPLE = 1 << 16  # bytes on which strategies of compression are compared


class Page(str):
    """The HTML of a page, which needs no network: a `str` that a notebook displays."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f'<Page of {len(self) / 1e6:.2f} MB; save("page.html") writes it, show() opens it in a browser>'

    def save(self, path: Text) -> None:
        """Write the page to a file."""
        write_text(expand(path), self)

    def show(self) -> None:
        """Open the page in a browser, from a temporary file.

        Raises:
            NextcharError: There is no browser.
        """
        path = Path(tempfile.mkdtemp(prefix="nextchar-")) / "page.html"
        self.save(path)
        if not webbrowser.open(path.as_uri()):
            raise NextcharError(f"no browser opens here; the page is {path}, and save() writes it elsewhere")

    def _repr_html_(self) -> str:
        return frame(self)


def pack(values: npt.NDArray[Any]) -> str:
    """Deflate an array in little-endian byte order, by the strategy of zlib that is better for its beginning; return base64."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    way = min((zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED), key=lambda way: len(_deflate(little[:SAMPLE], way)))
    return base64.b64encode(_deflate(little, way)).decode()


def _deflate(content: bytes, strategy: int) -> bytes:
    compressor = zlib.compressobj(strategy=strategy)
    return compressor.compress(content) + compressor.flush()


def numbers(values: npt.NDArray[Any], digits: int = 4) -> Any:
    """Return rounded numbers for JSON, `None` if not finite."""
    if values.ndim:
        return [numbers(value, digits) for value in values]
    return round(float(values), digits) if np.isfinite(values) else None


def asset(name: str, package: str = "nextchar.pages") -> str:
    """Return the content of a file in the assets of a package."""
    return (files(package) / "assets" / name).read_text(encoding="utf-8")


def stylesheet(style: str) -> str:
    """Return the style of a page: what all pages share, and its own CSS."""
    return asset("base.css") + style


def module(programs: Sequence[str]) -> str:
    """Return the scripts of a page as one module: what all pages share, and its own, in order."""
    return "\n".join([asset("base.js"), asset("colours.js"), *programs])


def page(data: dict[str, Any], body: str, style: str, programs: Sequence[str], *, worker: bool = False) -> Page:
    """Assemble a page from data, style and scripts; every page begins with base.css, base.js and colours.js.

    Args:
        data: Read by the scripts, as JSON.
        body: The page's own HTML.
        style: Its own CSS.
        programs: The scripts of its module, in order.
        worker: Whether a script may start workers from what the page holds.
    """
    # "<" can end a script or begin a comment, and U+2028 can end a line; escaped, they are the same JSON.
    packed = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    whole = asset("frame.html").replace("<!-- body -->", body, 1)
    if worker:
        whole = whole.replace("img-src data:", "img-src data:; worker-src blob:", 1)
    whole = whole.replace("/* style */", stylesheet(style), 1)
    whole = whole.replace("/* program */", module(programs), 1)
    return Page(whole.replace("/* data */", packed, 1))  # last, because a text may contain a placeholder
