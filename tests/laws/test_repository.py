"""The repository as a whole: nothing in it depends on, or names, the machine it was written on."""

import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENDINGS = {
    ".cff", ".css", ".html", ".js", ".json", ".jsonl", ".md", ".py", ".svg", ".toml", ".txt", ".yaml", ".yml"
}  # fmt: skip
PRIVATE = re.compile(r"(?<![\w.:/~*-])/(?:home|Users|root|work|mnt|opt|srv)/\w[\w./-]*")
LEFT_OUT = {"build", "dist", "runs", "site", "node_modules"}


def texts() -> Iterator[Path]:
    """Yield the text files of the repository, without what is built or ignored."""
    for top in sorted(ROOT.iterdir()):
        if top.name in LEFT_OUT or (top.name.startswith(".") and top.name not in {".ci", ".github"}):
            continue
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and (path.suffix in ENDINGS or path.name == "Makefile"):
                yield path


def test_no_file_names_a_private_path() -> None:
    """No absolute path of somebody's machine is left in code, documents or results."""
    found = {path.relative_to(ROOT).as_posix(): PRIVATE.findall(path.read_text(encoding="utf-8")) for path in texts()}
    assert {name: paths for name, paths in found.items() if paths} == {}


def test_private_paths_are_found() -> None:
    """The pattern finds paths of homes and work folders, and leaves URLs and relative paths alone."""
    home = "/" + "home/ada/book.txt"
    assert PRIVATE.findall(f"read {home}, `{home}` and {home}.") == [home, home, home + "."]
    assert PRIVATE.findall(f"https://a.org{home} docs{home} ~{home}") == []


def test_pre_commit_has_the_linter_of_the_constraints() -> None:
    """The version of ruff is the same in both places."""
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    assert re.findall(r"rev: v(\S+)", hooks) == re.findall(r"^ruff==(\S+)", constraints, re.MULTILINE)
