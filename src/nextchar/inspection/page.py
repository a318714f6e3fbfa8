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
    """Deflate an array, in the byte order that browsers have."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(zlib.compress(little.tobytes())).decode()


def numbers(values: npt.NDArray[Any], digits: int = 4) -> Any:
    """Return numbers for JSON, rounded, `None` for what is not finite."""
    if values.ndim:
        return [numbers(value, digits) for value in values]
    return round(float(values), digits) if np.isfinite(values) else None


def page(data: dict[str, Any], body: str, programs: Sequence[str]) -> str:
    """Put data, style and programs into a page.

    Args:
        data: What the programs read, for JSON.
        body: The asset that holds the page's own HTML.
        programs: The assets that are its module, in their order.
    """
    assets = files("nextchar.inspection") / "assets"
    read = {
        name: (assets / name).read_text(encoding="utf-8")
        for name in ("frame.html", "page.css", body, *programs)
    }
    # "<" can end a script or begin a comment, U+2028 can end a line of one; as escapes they are the same JSON.
    packed = json.dumps(data, ensure_ascii=True, allow_nan=False, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
    whole = read["frame.html"]
    whole = whole.replace("<!-- body -->", read[body], 1).replace("/* style */", read["page.css"], 1)
    whole = whole.replace("/* program */", "\n".join(read[name] for name in programs), 1)
    return whole.replace("/* data */", packed, 1)  # last: a text may hold the name of any place
