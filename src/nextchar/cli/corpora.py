"""`nextchar corpora`: list the named corpora, or get one."""

from pathlib import Path
from typing import Literal

from nextchar.cli.console import print_json
from nextchar.cli.flags import Flag
from nextchar.errors import ConfigError, did_you_mean
from nextchar.text.catalogue import CATALOGUE, cache_folder, fetch, place


def command(action: Literal["list", "get"] = "list", name: str | None = None, /, *, json: Flag = False) -> int:
    """List the named corpora, or get one and print its path.

    A name can be used in place of a text. A copy in the folder of the
    environment variable NEXTCHAR_DATA is used first, then an earlier
    download, and else the corpus is downloaded. Its SHA-256 is checked.

        nextchar corpora
        nextchar corpora get tiny-shakespeare

    Parameters
    ----------
    action
        Whether to list the corpora or to get one.
    name
        The name of the corpus to get.
    json
        Print one JSON object on standard output.
    """
    if action == "get":
        return _get(name, json)
    rows = {name: {"about": named.about, "place": place(name), "url": named.url} for name, named in CATALOGUE.items()}
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
