"""Smoke test of a package: builds it, installs it without extras into an empty environment, and runs its commands.

    python tools/smoke.py                          build a wheel and a source archive into dist/, and test the wheel
    python tools/smoke.py dist/nextchar-1.0.whl    test this archive

It needs only Python and pip. The versions of the dependencies are those of constraints.txt.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import venv
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
TEXT = Path(argparse.__file__)  # a text that every Python has
TIMEOUT = 600  # seconds that one command may take


def run(*words: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a command and return its standard output; end the test if it fails."""
    print("$", *(Path(words[0]).name, *words[1:]), flush=True)
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        encoding="utf-8",
        timeout=TIMEOUT,
        check=False,
    )
    if done.returncode:
        sys.exit(f"exit code {done.returncode}\n{done.stdout}")
    return done.stdout


def environment(folder: Path, *packages: str | Path) -> Path:
    """Make an empty virtual environment, install packages into it, and return its folder of programs."""
    venv.create(folder, with_pip=True, clear=True)
    programs = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = (programs / "python", "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "--constraint", ROOT / "constraints.txt", *packages, cwd=ROOT)
    return programs


def build(folder: Path) -> Path:
    """Build the source archive, and the wheel from it, into dist/; return the wheel."""
    programs = environment(folder, "build")
    run(programs / "python", "-m", "build", "--outdir", ROOT / "dist", ROOT, cwd=ROOT)
    wheel = max((ROOT / "dist").glob("*.whl"), key=lambda path: path.stat().st_mtime)
    assert_complete(wheel)
    return wheel


def assert_complete(wheel: Path) -> None:
    """End the test if a file of src/nextchar is not in the wheel."""
    source = ROOT / "src"
    files = {path.relative_to(source).as_posix() for path in (source / "nextchar").rglob("*") if path.is_file()}
    missing = {name for name in files if "__pycache__" not in name} - set(zipfile.ZipFile(wheel).namelist())
    if missing:
        sys.exit(f"not in {wheel.name}: {', '.join(sorted(missing))}")


def check_commands(programs: Path, folder: Path) -> None:
    """Train for a few steps, then sample, score, inspect and describe the model."""
    nextchar = programs / "nextchar"
    env = {"NEXTCHAR_CACHE": str(folder / "cache"), "PYTHONUTF8": "1"}

    def command(*words: str) -> str:
        return run(nextchar, *words, cwd=folder, env=env)

    assert "train" in command("--help")
    assert command("--version").strip()
    (folder / "small.txt").write_text(TEXT.read_text(encoding="utf-8")[:20_000], encoding="utf-8")
    trained = json.loads(command("train", "small.txt", "--steps", "20", "--hidden", "32", "-o", "run", "--json"))
    assert trained["steps"] == 20, trained
    assert len(command("sample", "run", "-p", "def ", "-n", "100", "--seed", "1")) == len("def ") + 100
    for weights in ("fp32", "bf16", "int8"):
        written = json.loads(command("sample", "run", "-n", "20", "--weights", weights, "--json"))
        assert written["samples"][0]["chars"] == 20, written
    score = json.loads(command("evaluate", "run", "--split", "test", "--ngram", "3", "--json"))
    assert score["nats_per_char"] > 0, score
    command("inspect", "run", "small.txt", "-o", "page.html")
    assert "<script" in (folder / "page.html").read_text(encoding="utf-8")
    assert "lstm" in command("info", "run")


def main() -> None:
    """Build where no archive is given, install, and run the commands."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("archive", nargs="?", type=Path, help="a wheel or a source archive; without it, one is built")
    archive = parser.parse_args().archive
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name).resolve()
        archive = archive.resolve() if archive else build(folder / "builder")
        check_commands(environment(folder / "user", archive), folder)
    print(f"{archive.name}: installs without extras, and its commands run")


if __name__ == "__main__":
    main()
