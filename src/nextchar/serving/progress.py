"""What a training has reached, from the log and the output in its folder, in pieces: each request gets what is new."""

import json
import math
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from nextchar.inspection.timeline import seen
from nextchar.serving.processes import printed
from nextchar.serving.replies import JSON
from nextchar.storage import LOG

PIECE = 1 << 20  # bytes of the log that are read for one reply
COMPILING = "compiling for this processor, once; that takes up to a minute"
STARTED = ("network", "vocabulary", "parameters", "train_chars", "valid_chars")
LATEST = ("step", "steps", "epoch", "chars_per_second", "seconds_left")


def progress(folder: Path, cursor: str) -> JSON:
    """Return what the log says after a cursor.

    Args:
        folder: Of the training.
        cursor: That of the last reply, or "".

    Returns:
        `cursor`, for the next request; `whole`, whether this is the log from its beginning, as after a restart of the
        training, which takes back what was not saved; `more`, whether there is more at once; `started`, `latest`; the
        points of `training` and `validation`: step, bits per character and seconds; and `samples`. Seconds are those of
        training, also over several starts.
    """
    try:
        with (folder / LOG).open("rb") as file:
            identity, place, past, last = _read_cursor(cursor)
            whole = identity != _identity(file.fileno())
            if not whole:
                file.seek(place - 1)
                whole = file.read(1) != b"\n"
            if whole:
                place, past, last = 0, 0.0, 0.0
            file.seek(place)
            piece = file.read(PIECE)
            identity, more = _identity(file.fileno()), len(piece) == PIECE
    except OSError:
        return {"cursor": "", "whole": True, "more": False, "training": [], "validation": [], "samples": []}
    piece = piece[: piece.rfind(b"\n") + 1]
    reply: JSON = {"whole": whole, "more": more, "training": [], "validation": [], "samples": []}
    with suppress(ValueError, KeyError, TypeError):  # what follows a damaged line is left out, as in `read_log`
        for line in piece.splitlines():
            event = json.loads(line)
            if event["event"] == "started":
                past += last
            last = event["seconds"]
            _add(reply, event, past + last)
    reply["cursor"] = f"{identity}_{place + len(piece)}_{past:.1f}_{last:.1f}"
    return reply


def _add(reply: JSON, event: dict[str, Any], seconds: float) -> None:
    """Add an event of the log to a reply."""
    match event["event"]:
        case "started":
            reply["started"] = {name: event[name] for name in STARTED if name in event}
        case "progress":
            reply["latest"] = {name: event[name] for name in LATEST}
            reply["training"].append(_point(event, seconds, event["loss"] / math.log(2)))
        case "validated":
            reply["validation"].append(_point(event, seconds, event["score"]["bits_per_char"]))
        case "sampled":
            reply["samples"].append({"step": event["step"], "seconds": round(seconds, 1), "text": seen(event["text"])})
        case "finished":
            score = event.get("score")
            reply["finished"] = {"reason": event["reason"], "bits": score and round(score["bits_per_char"], 4)}


def doing(folder: Path) -> str:
    """Return what a process does before its first step, from what it printed last."""
    last = ["", *printed(folder)][-1]
    if "compiling" in last:
        return COMPILING
    return "measuring this machine" if "measuring" in last else "loading"


def _point(event: dict[str, Any], seconds: float, bits: float) -> list[float]:
    return [event["step"], round(bits, 4), round(seconds, 1)]


def _identity(descriptor: int) -> str:
    """Return what tells a file from the one that replaces it."""
    about = os.fstat(descriptor)
    return f"{about.st_dev:x}.{about.st_ino:x}"


def _read_cursor(cursor: str) -> tuple[str, int, float, float]:
    try:
        identity, place, past, last = cursor.split("_")
        return identity, max(1, int(place)), float(past), float(last)
    except ValueError:
        return "", 1, 0.0, 0.0
