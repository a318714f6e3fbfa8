"""A page: one HTML file that needs nothing else, put together from its parts.

Numbers travel as deflated bytes in base64; whatever comes from the text or the model is JSON that the page puts on
screen as text, never as HTML.
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
    """Deflate an array, in the byte order that browsers have: the shorter of two ways of looking for repetitions."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False).tobytes()
    ways = (zlib.compressobj(strategy=way) for way in (zlib.Z_DEFAULT_STRATEGY, zlib.Z_FILTERED))
    shortest = min((way.compress(little) + way.flush() for way in ways), key=len)
    return base64.b64encode(shortest).decode()


def numbers(values: npt.NDArray[Any], digits: int = 4) -> Any:
    """Return numbers for JSON, rounded, `None` for what is not finite."""
    if values.ndim:
        return [numbers(value, digits) for value in values]
    return round(float(values), digits) if np.isfinite(values) else None


def asset(name: str, package: str = "nextchar.inspection") -> str:
    """Return the text of a part of a page."""
    return (files(package) / "assets" / name).read_text(encoding="utf-8")


def page(data: dict[str, Any], body: str, style: str, programs: Sequence[str]) -> str:
    """Put data, style and programs into a page; every page begins with base.css, base.js and colours.js.

    Args:
        data: What the programs read, for JSON.
        body: The page's own HTML.
        style: Its own CSS.
        programs: What is its module, in order.
    """
    # "<" can end a script or begin a comment, U+2028 can end a line of one; as escapes they are the same JSON.
    packed = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
    whole = asset("frame.html").replace("<!-- body -->", body, 1)
    whole = whole.replace("/* style */", asset("base.css") + style, 1)
    module = "\n".join([asset("base.js"), asset("colours.js"), *programs])
    whole = whole.replace("/* program */", module, 1)
    return whole.replace("/* data */", packed, 1)  # last: a text may hold the name of any place
