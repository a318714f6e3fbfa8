"""The timeline: the samples that a run kept during training, each with the losses known at that step."""

import math
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from nextchar.pages.page import Page, asset, page
from nextchar.text.glyphs import glyph

LOSSES = ("training_bits_per_char", "validation_bits_per_char")


def timeline(entries: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return step, seconds, losses in bits per character (if known) and text of each sample in the log of a run.

    The training loss is the mean over the steps around the sample. The validation loss is that of a validation at most a
    tenth more steps later, otherwise of the last one.
    """
    loss: dict[str, float] = {}
    samples: list[dict[str, Any]] = []
    reported = 0

    def learned(name: str, bits: float, since: float) -> None:
        loss[name] = bits
        for sample in samples:
            if sample["step"] > since:
                sample[name] = bits

    for entry in entries:
        if entry["event"] == "progress":
            learned("training_bits_per_char", entry["loss"] / math.log(2), reported)
            reported = entry["step"]
        elif entry["event"] == "validated":
            learned("validation_bits_per_char", entry["score"]["bits_per_char"], entry["step"] / 1.1)
        elif entry["event"] == "sampled":
            time = {"seconds": entry["seconds"]} if "seconds" in entry else {}
            samples.append({"step": entry["step"], **time, **loss, "text": entry["text"]})
    return samples


def loss_curves(entries: Sequence[Mapping[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Return the points of the training and the validation loss of a log: step and bits per character."""
    return {
        "training": [(each["step"], each["loss"] / math.log(2)) for each in entries if each["event"] == "progress"],
        "validation": [
            (each["step"], each["score"]["bits_per_char"]) for each in entries if each["event"] == "validated"
        ],
    }


def timeline_page(entries: list[dict[str, Any]], title: str = "") -> Page:
    """Return a page of the samples, one at a time beside the loss curve, and the first, middle and last of them.

    Args:
        entries: The log of a run, event after event.
        title: The name of the run.
    """
    characters = next((entry["vocabulary"] for entry in entries if entry.get("vocabulary")), 0)  # older logs lack it
    data: dict[str, Any] = {
        "title": title,
        "characters": characters,
        "uniform": math.log2(characters) if characters > 1 else None,
        "samples": [{**sample, "text": seen(sample["text"])} for sample in timeline(entries)],
        **loss_curves(entries),
    }
    own = partial(asset, package="nextchar.inspection")
    style = asset("timeline.css") + own("timeline.css")
    return page(data, own("timeline.html"), style, [asset("charts.js"), asset("timeline.js"), own("timeline.js")])


def seen(text: str) -> str:
    r"""Return a text with lines and tabs unchanged, and other invisible characters as symbols or numbers.

    Example:
        >>> seen("a b\n\x00")
        'a b\n\\x00'
    """
    return "".join(c if c in " \n\t" else glyph(ord(c)) for c in text)
