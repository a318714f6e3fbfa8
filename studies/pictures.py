"""Pictures of samples: a fragment set by TeX, a tune as notes, an article as a reader would see it."""

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

LINES = 34  # of an article that are drawn
WIDTH = 92  # characters of a line


def draw(name: str, samples: list[str], training: Training, folder: Path) -> None:
    """Draw what can be drawn of a corpus's samples, where the program for it is installed; say what is left out."""
    if name == "latex":
        page_of_tex(samples, training, folder / "universality-latex-page.png")
    elif name == "abc":
        notes(samples, folder / "universality-abc-notes.svg")
    elif name == "wikipedia":
        article(samples, folder / "universality-wikipedia-page.png")


def page_of_tex(samples: list[str], training: Training, path: Path) -> None:
    """Set the longest fragment that TeX accepts, of the first of each sample, and draw its page."""
    if not (latex.PDFLATEX.is_installed() and shutil.which("pdftoppm")):
        print("pdflatex and pdftoppm draw the page of LaTeX; it is left out")
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
    """Return a picture without its empty margins, but for 16 pixels."""
    from matplotlib import image  # noqa: PLC0415  takes long to import

    page = image.imread(BytesIO(png))
    rows, columns = (np.flatnonzero((page < 1).any((axis, 2))) for axis in (1, 0))
    top, left = max(0, rows[0] - 16), max(0, columns[0] - 16)
    out = BytesIO()
    image.imsave(out, page[top : rows[-1] + 17, left : columns[-1] + 17], format="png")
    return out.getvalue()


def notes(samples: list[str], path: Path) -> None:
    """Draw the first tune that abc2midi accepts as notes."""
    if not (abc.ABC2MIDI.is_installed() and shutil.which("abcm2ps")):
        print("abc2midi and abcm2ps draw the notes of a tune; they are left out")
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
    """Draw the longest run of sound fragments of a sample: headings large, bold words bold, templates left out."""
    from matplotlib.figure import Figure  # noqa: PLC0415  takes long to import

    best = max((_sound_run(sample) for sample in samples), key=lambda run: sum(map(len, run)), default=[])
    lines: list[tuple[str, int]] = []
    for fragment in best:
        for raw in html.unescape(fragment).splitlines():
            level = len(raw) - len(raw.lstrip("=")) if raw.endswith("=") else 0
            plain = re.sub(r"<ref.*?(?:</ref>|/>)", "", raw)
            shown = (
                str(import_parser("mwparserfromhell").parse(plain).strip_code())
                .replace("$", r"\$")
                .strip("= ")
            )
            lines += [(line, level) for line in textwrap.wrap(shown, WIDTH)]
        lines.append(("", 0))
    if not lines:
        return
    canvas = Figure(figsize=(8, 0.22 * min(len(lines), LINES) + 0.3))
    for number, (text, level) in enumerate(lines[:LINES]):
        weight, size = ("bold", 15 - 2 * level) if level else ("normal", 9)
        canvas.text(0.02, 1 - (number + 1) / (min(len(lines), LINES) + 1), text, weight=weight, size=size)
    canvas.savefig(path, dpi=90)


def _sound_run(sample: str) -> list[str]:
    """Return the longest run of fragments that are all sound."""
    best: list[str] = []
    now: list[str] = []
    for fragment in wikitext.fragments(sample).whole:
        now = [*now, fragment] if wikitext.valid(fragment) else []
        if sum(map(len, now)) > sum(map(len, best)):
            best = now
    return best
