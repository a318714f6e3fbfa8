"""`nextchar corpora`: the named corpora, and how to have one at hand."""

from pathlib import Path
from typing import Literal

from nextchar.cli.console import print_json
from nextchar.cli.flags import Flag
from nextchar.errors import ConfigError, did_you_mean
from nextchar.text.catalogue import CATALOGUE, cache_folder, fetch, place


def command(
    action: Literal["list", "get"] = "list",
    name: str | None = None,
    /,
    *,
    json: Flag = False,
) -> int:
    """List the named corpora, or get one and print where it lies.

    A name stands wherever a text is asked for. A copy in the folder that the
    environment variable NEXTCHAR_DATA names is taken first, then one fetched
    before; each by its SHA-256.

        nextchar corpora
        nextchar corpora get tiny-shakespeare

    Parameters
    ----------
    action
        What to do.
    name
        Which corpus to get.
    json
        Print one JSON object on standard output.
    """
    if action == "get":
        return _get(name, json)
    rows = {
        name: {"about": named.about, "place": place(name), "url": named.url}
        for name, named in CATALOGUE.items()
    }
    if json:
        print_json({"corpora": rows, "cache": str(cache_folder())})
        return 0
    for key, row in rows.items():
        print(f"{key:<18}{row['place']:<15}{row['about']}")  # noqa: T201  data on standard output
    return 0


def _get(name: str | None, json: bool) -> int:
    if name is None or name not in CATALOGUE:
        raise ConfigError(
            f"there is no corpus named '{name or ''}'{did_you_mean(name or '', CATALOGUE) or '; there is ' + ', '.join(CATALOGUE)}"
        )
    paths: list[Path] = [path for path, _ in fetch(name)]
    if json:
        print_json({"name": name, "files": [str(path) for path in paths]})
    else:
        print("\n".join(map(str, paths)))  # noqa: T201  data on standard output
    return 0
