"""Pictures of samples: a typeset LaTeX fragment, a tune as sheet music, a rendered wiki article."""

import html
import re
import shutil
import textwrap
from io import BytesIO
from pathlib import Path

import numpy as np

from nextchar.evaluation.novelty import Training
from nextchar.parsing import abc, latex, wikitext
from nextchar.parsing.domain import import_parser, run_program

LINES = 34  # of a rendered article
WIDTH = 92  # characters of a line


def draw(name: str, samples: list[str], training: Training, folder: Path) -> None:
    """Draw a picture of a corpus's samples, if it has one and the programs for it are installed."""
    if name == "latex":
        page_of_tex(samples, training, folder / "universality-latex-page.png")
    elif name == "abc":
        notes(samples, folder / "universality-abc-notes.svg")
    elif name == "wikipedia":
        article(samples, folder / "universality-wikipedia-page.png")


def page_of_tex(samples: list[str], training: Training, path: Path) -> None:
    """Typeset the longest accepted fragment among the first ones of each sample, and render its page."""
    if not (latex.PDFLATEX.is_installed() and shutil.which("pdftoppm")):
        print("the LaTeX page is left out: it needs pdflatex and pdftoppm")
        return
    known = latex.usage(training.text)
    pieces = sorted((piece for sample in samples for piece in latex.fragments(sample).whole[:1]), key=len)
    for piece in reversed(pieces):
        pdf = latex.typeset(piece, known)[1]
        if pdf:
            words = ["pdftoppm", "-png", "-singlefile", "-r", "80", "-H", "520", "page.pdf", "page"]
            path.write_bytes(trimmed(run_program(words, {"page.pdf": pdf}, output="page.png")[2]))
            return


def trimmed(png: bytes) -> bytes:
    """Return a picture with its empty margins cut to 16 pixels."""
    from matplotlib import image  # noqa: PLC0415  takes long to import

    page = image.imread(BytesIO(png))
    rows, columns = (np.flatnonzero((page < 1).any((axis, 2))) for axis in (1, 0))
    top, left = max(0, rows[0] - 16), max(0, columns[0] - 16)
    out = BytesIO()
    image.imsave(out, page[top : rows[-1] + 17, left : columns[-1] + 17], format="png")
    return out.getvalue()


def notes(samples: list[str], path: Path) -> None:
    """Draw the first tune that abc2midi accepts as sheet music."""
    if not (abc.ABC2MIDI.is_installed() and shutil.which("abcm2ps")):
        print("the sheet music is left out: it needs abc2midi and abcm2ps")
        return
    tunes = (tune for sample in samples for tune in abc.tunes(sample).whole)
    for tune in tunes:
        if len(tune) > 200 and abc.complete(tune) and abc.play(tune):
            picture = run_program(
                ["abcm2ps", "-g", "-O", "tune.svg", "tune.abc"], {"tune.abc": tune}, output="tune001.svg"
            )[2]
            if picture:
                path.write_bytes(picture)
                return


def article(samples: list[str], path: Path) -> None:
    """Render the longest run of valid fragments of a sample, with large headings and without templates."""
    from matplotlib.figure import Figure  # noqa: PLC0415  takes long to import

    best = max((_valid_run(sample) for sample in samples), key=lambda run: sum(map(len, run)), default=[])
    lines: list[tuple[str, int]] = []
    for fragment in best:
        for raw in html.unescape(fragment).splitlines():
            level = len(raw) - len(raw.lstrip("=")) if raw.endswith("=") else 0
            plain = re.sub(r"<ref.*?(?:</ref>|/>)", "", raw)
            shown = str(import_parser("mwparserfromhell").parse(plain).strip_code()).replace("$", r"\$").strip("= ")
            lines += [(line, level) for line in textwrap.wrap(shown, WIDTH)]
        lines.append(("", 0))
    if not lines:
        return
    canvas = Figure(figsize=(8, 0.22 * min(len(lines), LINES) + 0.3))
    for number, (text, level) in enumerate(lines[:LINES]):
        weight, size = ("bold", 15 - 2 * level) if level else ("normal", 9)
        canvas.text(0.02, 1 - (number + 1) / (min(len(lines), LINES) + 1), text, weight=weight, size=size)
    canvas.savefig(path, dpi=90)


def _valid_run(sample: str) -> list[str]:
    """Return the longest run of fragments that are all valid."""
    best: list[str] = []
    now: list[str] = []
    for fragment in wikitext.fragments(sample).whole:
        now = [*now, fragment] if wikitext.valid(fragment) else []
        if sum(map(len, now)) > sum(map(len, best)):
            best = now
    return best
