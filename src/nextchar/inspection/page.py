"""A page: one self-contained HTML file, assembled from its parts.

Numbers are stored as deflated bytes in base64. Everything from the text or the model is JSON, which the page displays as
text, never as HTML.
"""

import base64
import json
import zlib
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt


def pack(values: npt.NDArray[Any]) -> str:
    """Deflate an array in little-endian byte order, by the better of two strategies of zlib; return base64."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    ways = (zlib.compressobj(strategy=way) for way in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED))
    shortest = min((way.compress(little) + way.flush() for way in ways), key=len)
    return base64.b64encode(shortest).decode()


def numbers(values: npt.NDArray[Any], digits: int = 4) -> Any:
    """Return rounded numbers for JSON, `None` if not finite."""
    if values.ndim:
        return [numbers(value, digits) for value in values]
    return round(float(values), digits) if np.isfinite(values) else None


def asset(name: str, package: str = "nextchar.inspection") -> str:
    """Return the content of a file in the assets of a package."""
    return (files(package) / "assets" / name).read_text(encoding="utf-8")


def page(data: dict[str, Any], body: str, style: str, programs: Sequence[str]) -> str:
    """Assemble a page from data, style and scripts; every page begins with base.css, base.js and colours.js.

    Args:
        data: Read by the scripts, as JSON.
        body: The page's own HTML.
        style: Its own CSS.
        programs: The scripts of its module, in order.
    """
    # "<" can end a script or begin a comment, and U+2028 can end a line; escaped, they are the same JSON.
    packed = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")
    whole = asset("frame.html").replace("<!-- body -->", body, 1)
    whole = whole.replace("/* style */", asset("base.css") + style, 1)
    module = "\n".join([asset("base.js"), asset("colours.js"), *programs])
    whole = whole.replace("/* program */", module, 1)
    return whole.replace("/* data */", packed, 1)  # last, because a text may contain a placeholder
