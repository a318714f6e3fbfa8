"""The record of one training: what `training.json` in its folder holds, and the command line that runs it."""

import json
import re
import time
import unicodedata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from nextchar.config import Config
from nextchar.errors import ConfigError, NextcharError
from nextchar.storage import CONFIG, MODEL, TRAINING, read_metadata, write_text

REQUEST = "training.json"

Status = Literal["waiting", "running", "stopping", "stopped", "finished", "failed"]
LONGEST = 60  # characters of a name
NAME = re.compile(rf"[^\W_][\w-]{{0,{LONGEST - 1}}}")
RESERVED = {"CON", "PRN", "AUX", "NUL", *(f"{port}{n}" for port in ("COM", "LPT") for n in range(1, 10))}


class Training(BaseModel):
    """One training; all but the folder is in the folder's `training.json`.

    Attributes:
        folder: A run folder, which also holds the text.
        id: By which clients name it; chosen by the server.
        name: Of its text's file, of its model, and of its run folder if it is kept.
        created: Seconds since 1970.
        place: Lower ones run first.
        status: What it does. Where the server is killed, "running" goes on.
        reason: Why it failed or was stopped, in one sentence.
        text: The name of the file of its text; empty if it learns a named corpus.
        corpus: The name of the corpus.
        key: Of the encoded text in the cache.
        options: By the names of `Config`.
        minutes: With which a finished training goes on.
        kept: Whether the folder is a run of the user's.
    """

    folder: Path = Field(exclude=True)
    id: str
    name: str
    created: float = Field(default_factory=time.time)
    place: int = 0
    status: Status = "waiting"
    reason: str = ""
    text: str = ""
    corpus: str = ""
    key: str = ""
    options: dict[str, Any] = Field(default_factory=dict)
    minutes: float | None = None
    kept: bool = False

    def save(self) -> None:
        """Write `training.json`, atomically."""
        write_text(self.folder / REQUEST, self.model_dump_json())

    @property
    def has_model(self) -> bool:
        """Whether there is a model to generate with."""
        return (self.folder / MODEL).exists()

    @property
    def used_up(self) -> bool:
        """Whether the budget of the last snapshot is used up."""
        try:
            at = read_metadata(self.folder / TRAINING)
            return at["step"] >= at["steps"] or 0 < at["config"].get("patience", 0) <= at["since_best"]
        except (OSError, LookupError, TypeError, AttributeError, NextcharError):  # a run from elsewhere may be damaged
            return False

    def words(self) -> list[str]:
        """Return the command line that starts or resumes it."""
        text = [str(self.folder / self.text)] if self.text else []
        if (self.folder / CONFIG).exists():
            budget = [f"--minutes={self.minutes}"] if self.minutes and self.used_up else []
            return ["train", *text, "--resume", str(self.folder), *budget]
        options = [f"--{name.replace('_', '-')}={value}" for name, value in self.options.items()]
        return ["train", *(text or [self.corpus]), "-o", str(self.folder), *options]


def read_training(folder: Path) -> Training | None:
    """Return the training of a folder, if it holds one; a folder from elsewhere names no other file, and only options."""
    try:
        training = Training(folder=folder, **json.loads((folder / REQUEST).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError, ValidationError):
        return None
    own = training.text == Path(training.text).name and training.options.keys() <= Config.model_fields.keys()
    return training if own else None


def checked_name(name: str) -> str:
    """Return a name that is safe as the name of a file on every system.

    Raises:
        ConfigError: It is not.
    """
    name = unicodedata.normalize("NFC", name)
    if not NAME.fullmatch(name) or name.upper() in RESERVED:
        raise ConfigError(
            f"{name[:LONGEST]!r} cannot be a name; take up to {LONGEST} letters, digits, - and _, with no - or _ first"
        )
    return name
