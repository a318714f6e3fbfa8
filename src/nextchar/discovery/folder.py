"""What `nextchar discover` writes: a folder with the claims, their page, and a page of the claimed units."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nextchar.discovery.claims import Claims
from nextchar.discovery.emergence import emergence, find_checkpoints
from nextchar.discovery.options import DiscoverOptions
from nextchar.discovery.page import claims_page
from nextchar.discovery.pipeline import claims_of
from nextchar.discovery.study import OnProgress, Search, ignore, prepare
from nextchar.errors import ConfigError, TextError
from nextchar.inspection.naming import read_names
from nextchar.inspection.report import neuron_page
from nextchar.storage import read_model, to_language_model, write_text
from nextchar.text.corpus import read_ids

INSPECTED = 10_000  # characters on the page of the claimed units


def discover_into(
    folder: Path,
    model: Path,
    texts: Sequence[str],
    options: DiscoverOptions,
    last_chars: int,
    on_progress: OnProgress = ignore,
) -> tuple[Claims, dict[str, Any]]:
    """Write claims.json, discover.html and inspect.html into a folder, which is made if it does not exist.

    Args:
        folder: Where to write.
        model: A run folder or a model file.
        texts: Files, folders, globs, standard input or names of corpora.
        options: What to search for.
        last_chars: How many characters to read, at the end of the texts.
        on_progress: Called with a line of text at the beginning of every stage.

    Returns:
        The claims, and the result of `emergence` if checkpoints are followed, else {}.

    Raises:
        ConfigError: `last_chars` is below 1, or an option is out of its range.
        TextError: There is no text, or it is too short.
    """
    if not texts:
        raise TextError("no text was given; name a file, a folder, or - for standard input")
    if last_chars < 1:
        raise ConfigError(f"--last-chars is {last_chars}, but must be 1 or more")
    given = {name: getattr(options, name) for name in ("shifts", "rotations", "steered", "seed")}
    search = Search(**given, causal=not options.no_causal)
    checkpoints = find_checkpoints(model) if options.emergence else []
    folder.mkdir(parents=True, exist_ok=True)  # fails before the long work, not after it
    file = read_model(model)
    ids, left_out = read_ids(texts, file.vocabulary, encoding=options.encoding, unknown=options.unknown)
    if left_out:
        on_progress(f"left out {left_out:,} characters that the model does not know")
    ids = ids[-last_chars:]
    lm = to_language_model(file)
    study = prepare(lm, ids, options.features, search, on_progress)
    claims = claims_of(study, options.features, on_progress)
    births = emergence(checkpoints, study, claims, on_progress) if checkpoints else {}
    claims.save(folder / "claims.json")
    title = f"{model.name}: {', '.join(Path(text).name for text in texts)}"
    named = read_names(folder, lm)
    units = [*((each.layer, each.unit) for each in named), *(claim.unit for claim in claims.claims)]
    inspected = neuron_page(lm, ids[-INSPECTED:], neurons=units, named=named, title=title)
    write_text(folder / "inspect.html", inspected)
    page = claims_page(claims, study, title=title, births=births, inspected="inspect.html")
    write_text(folder / "discover.html", page)
    return claims, births
