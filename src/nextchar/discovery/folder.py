"""What `nextchar discover` writes: a folder with the claims, their page, and a page of the claimed units."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nextchar.discovery.claims import Claims, Search
from nextchar.discovery.emergence import emergence, find_checkpoints
from nextchar.discovery.page import claims_page
from nextchar.discovery.pipeline import claims_of
from nextchar.discovery.study import OnProgress, ignore, prepare
from nextchar.errors import ConfigError, TextError
from nextchar.inspection.report import report
from nextchar.storage import read_model, to_language_model, write_text
from nextchar.text.corpus import read_ids
from nextchar.text.vocabulary import Unknown

INSPECTED = 10_000  # characters on the page of the claimed units


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is read, and with what.

    Attributes:
        model: A run folder or a model file.
        texts: Files, folders, globs, standard input or names of corpora.
        features: As in `discover`.
        search: The settings.
        last_chars: How many characters to read, at the end of the texts.
        checkpoints: Whether to follow the claims over the checkpoints of the run.
        unknown: "error", or "skip" to leave out characters that the model does not know.
        encoding: Of the texts.
    """

    model: Path
    texts: Sequence[str]
    features: str = "auto"
    search: Search = field(default_factory=Search)
    last_chars: int = 200_000
    checkpoints: bool = False
    unknown: Unknown = "error"
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        """Check what can be checked without reading."""
        if not self.texts:
            raise TextError("no text was given; name a file, a folder, or - for standard input")
        if self.last_chars < 1:
            raise ConfigError(f"--last-chars is {self.last_chars}, but must be 1 or more")


def discover_into(folder: Path, job: Job, on_progress: OnProgress = ignore) -> tuple[Claims, dict[str, Any]]:
    """Write claims.json, discover.html and inspect.html into a folder, which is made if it does not exist.

    Returns:
        The claims, and the result of `emergence` if checkpoints are followed, else {}.
    """
    checkpoints = find_checkpoints(job.model) if job.checkpoints else []
    folder.mkdir(parents=True, exist_ok=True)  # fails before the long work, not after it
    file = read_model(job.model)
    ids, left_out = read_ids(job.texts, file.vocabulary, encoding=job.encoding, unknown=job.unknown)
    if left_out:
        on_progress(f"left out {left_out:,} characters that the model does not know")
    ids = ids[-job.last_chars :]
    lm = to_language_model(file)
    study = prepare(lm, ids, job.features, job.search, on_progress)
    claims = claims_of(study, job.features, on_progress)
    births = emergence(checkpoints, study, claims, on_progress) if checkpoints else {}
    claims.save(folder / "claims.json")
    title = f"{job.model.name}: {', '.join(Path(text).name for text in job.texts)}"
    units = list(dict.fromkeys(claim.unit for claim in claims.claims))
    inspected = report(lm, ids[-INSPECTED:], units=units, shown=INSPECTED, title=title)
    write_text(folder / "inspect.html", inspected)
    page = claims_page(claims, study, title=title, births=births, inspected="inspect.html")
    write_text(folder / "discover.html", page)
    return claims, births
