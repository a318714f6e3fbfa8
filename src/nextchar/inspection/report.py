"""The page: one HTML file that needs nothing else, in which a text can be read unit by unit.

Numbers travel as deflated bytes in base64; whatever comes from the text or the model is JSON that the page puts on
screen as text, never as HTML.
"""

import base64
import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.errors import ConfigError
from nextchar.inspection.strip import glyphs
from nextchar.inspection.summary import WINDOW, LayerSummary, most_varied, summarize
from nextchar.inspection.trace import MAIN, SIGNALS, Given, Trace, choose, join, pieces
from nextchar.language_model import LanguageModel

SHOWN = 20_000  # characters in the page; what is said of a unit is of the whole text
UNITS = 64
BY_CHARACTER = 6
MAIN_STEPS, GATE_STEPS = 63, 15  # what a value of 1 is in the page; fewer deflate better

Unit = tuple[int, int]


def report(
    lm: LanguageModel, text: Given, *, units: Sequence[Unit] = (), shown: int = SHOWN, title: str = ""
) -> str:
    """Return the page of a text as HTML.

    Args:
        lm: The model.
        text: At least one character that the model knows, or ids `(T,)`.
        units: Layer and unit of each that is shown; by default the 64 whose main signal varies most in this text.
        shown: How many characters of the text can be read in the page.
        title: What the text and the model are.

    Raises:
        ConfigError: A unit that the model has not, or nothing to show.
        TextError: There is no text.
    """
    if shown < 1:
        raise ConfigError(f"{shown} characters are to be shown, but it must be 1 or more")
    shape = lm.network.architecture
    for layer, unit in units:
        choose(shape, {layer: [unit]})
    ids = text if isinstance(text, np.ndarray) else lm.vocabulary.encode(text)
    gates = [signal for signal in SIGNALS[shape.cell] if signal not in ("c", "tanh_c", "h")]
    kept: list[Trace] = []
    layers = summarize(_keeping(pieces(lm, ids), kept, gates, shown))
    chosen = list(dict.fromkeys(units)) or most_varied(layers, UNITS)
    seen = join(kept)
    main, surprisal = MAIN[shape.cell], seen.surprisal[:shown]
    milli = np.stack([surprisal, seen.entropy[:shown]]) * 1000
    columns = {name: np.stack([seen.of(*unit, name)[:shown] for unit in chosen]) for name in (main, *gates)}
    data = {
        "title": title,
        "cell": shape.cell,
        "signal": "tanh(c)" if main == "tanh_c" else "h",
        "shape": f"{shape.layers} layer{'s' * (shape.layers > 1)} of {shape.hidden} units",
        "characters": len(ids),
        "shown": len(surprisal),
        "bits": round(float(surprisal.mean() / np.log(2)), 4),
        "vocabulary": glyphs(lm.vocabulary),
        "saturation": [
            {"layer": layer, "gate": gate, "points": np.stack(summary.saturation(gate), 1).round(4).tolist()}
            for layer, summary in layers.items()
            for gate in summary.gates
        ],
        "units": [_unit(layers[layer], layer, unit, ids) for layer, unit in chosen],
        "steps": {"main": MAIN_STEPS, "gate": GATE_STEPS},
        "ids": _pack(ids[:shown].astype(np.uint32)),
        "milli": _pack(milli.clip(0, 65535).astype(np.uint16)),
        "rank": _pack(seen.rank[:shown].astype(np.uint32)),
        "likeliest": _pack(seen.likeliest[:shown].astype(np.uint32)),
        "expected": seen.likeliest.shape[1],
        "probabilities": _pack((seen.probabilities[:shown] * 255).round().astype(np.uint8)),
        "values": _pack(columns[main]),
        "gates": {gate: _pack(columns[gate]) for gate in gates},
    }
    return _page(data)


def _keeping(parts: Iterator[Trace], kept: list[Trace], gates: list[str], shown: int) -> Iterator[Trace]:
    """Pass the pieces on, and keep those that are shown, in bytes: which units will be asked for is not known yet."""
    count = 0
    for part in parts:
        if count < shown:
            steps = dict.fromkeys(gates, GATE_STEPS) | {MAIN[part.cell]: MAIN_STEPS}
            values = {
                layer: {name: np.rint(seen[name] * by).astype(np.int8) for name, by in steps.items()}
                for layer, seen in part.values.items()
            }
            kept.append(replace(part, values=values))  # type: ignore[arg-type]
            count += len(part)
        yield part


def _unit(summary: LayerSummary, layer: int, unit: int, ids: npt.NDArray[Any]) -> dict[str, Any]:
    """Return what the page says of a unit."""
    main = summary.main
    means = summary.by_character()[:, unit]
    order = [int(index) for index in np.argsort(means, kind="stable") if np.isfinite(means[index])]
    return {
        "layer": layer,
        "unit": unit,
        "mean": round(float(summary.mean(main)[unit]), 4),
        "deviation": round(float(np.sqrt(summary.variance(main)[unit])), 4),
        "least": round(float(summary.least[main][unit]), 4),
        "most": round(float(summary.most[main][unit]), 4),
        "histogram": summary.histogram[unit].tolist(),
        "high": [[index, round(float(means[index]), 3)] for index in order[::-1][:BY_CHARACTER]],
        "low": [[index, round(float(means[index]), 3)] for index in order[:BY_CHARACTER]],
        **{
            name: [[int(at), ids[at : at + WINDOW].tolist()] for at in places[:, unit] if at >= 0]
            for name, places in (("strongest", summary.strongest), ("weakest", summary.weakest))
        },
    }


def _pack(values: npt.NDArray[Any]) -> str:
    """Deflate an array, in the byte order that browsers have."""
    little = values.astype(values.dtype.newbyteorder("<"), copy=False)
    return base64.b64encode(zlib.compress(little.tobytes())).decode()


def _page(data: dict[str, Any]) -> str:
    """Put data, style and program into the page."""
    assets = files("nextchar.inspection") / "assets"
    # "<" can end a script or begin a comment, U+2028 can end a line of one; as escapes they are the same JSON.
    packed = json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c")
    page = (assets / "page.html").read_text(encoding="utf-8")
    for place, name in (("/* style */", "page.css"), ("/* program */", "page.js")):
        page = page.replace(place, (assets / name).read_text(encoding="utf-8"), 1)
    return page.replace("/* data */", packed, 1)  # last: a text may hold the name of any place


def parse_units(words: str) -> list[Unit]:
    """Read "0:3,1:17" as layers and units.

    Raises:
        ConfigError: It is not of that form.
    """
    try:
        return [(int(layer), int(unit)) for layer, unit in (word.split(":") for word in words.split(","))]
    except ValueError:
        raise ConfigError(f"units are written LAYER:UNIT,... such as 0:3,1:17, not '{words}'") from None
