"""LaTeX: fragments whose environments, braces and maths pair, and the share that a TeX engine sets."""

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from nextchar.parsing.brackets import balanced
from nextchar.parsing.domain import Domain, Pieces, Program, Ratio, Tally, run, share

PDFLATEX = Program("pdflatex", "texlive-latex-recommended texlive-pictures", "setting fragments in type")
EDGE = re.compile(r"\\(begin|end)\s*\{([A-Za-z*]+)\}")
INSIDE_ITSELF = {
    "enumerate",
    "itemize",
    "description",
    "matrix",
    "pmatrix",
    "array",
    "cases",
    "aligned",
    "center",
}
NO_FRAGMENT = {"document", "verbatim"}
QUIET = re.compile(r"\\[\\{}$%]|%[^\n]*")
COMMAND = re.compile(r"\\([A-Za-z]+)")

# What TeX stops at, as it says it; the first that fits is counted.
KINDS = {
    "unknown command": re.compile(r"Undefined control sequence"),
    "environments": re.compile(r"\\begin|\\end|Environment|allowed only in|Lonely|perhaps a missing"),
    "maths": re.compile(r"Missing \$|[Mm]ath|Double (?:sub|super)script|\\right|\\left|delimiter"),
    "braces": re.compile(r"\}|\{|Runaway|File ended|Paragraph ended|Argument of|Emergency stop"),
    "alignment": re.compile(r"alignment|Misplaced|tab"),
    "another error": re.compile(r""),
}


@dataclass(frozen=True, slots=True)
class Usage:
    """What the training text takes for granted, because it was defined elsewhere.

    Attributes:
        commands: Names that occur at least twice.
        environments: The same.
    """

    commands: frozenset[str]
    environments: frozenset[str]


def usage(text: str) -> Usage:
    """Look up which commands and environments a text uses."""
    commands, environments = Counter(COMMAND.findall(text)), Counter(name for _, name in EDGE.findall(text))
    return Usage(
        *(frozenset(name for name, count in each.items() if count > 1) for each in (commands, environments))
    )


def fragments(text: str) -> Pieces:
    r"""Find the outermost environments, from `\begin` to the `\end` that closes it, or that cannot.

    A fragment also ends, unsound, where an environment that does not nest begins within itself. Ends that nothing waits for,
    as they stand after such a place, belong to no fragment: one mistake is counted once.
    """
    whole: list[str] = []
    waiting: list[str] = []
    begun = 0
    for edge in EDGE.finditer(text):
        kind, name = edge[1], edge[2]
        if name in NO_FRAGMENT:
            continue
        if kind == "begin":
            if name in waiting and name not in INSIDE_ITSELF:
                whole.append(text[begun : edge.start()])
                waiting = []
            if not waiting:
                begun = edge.start()
            waiting.append(name)
        elif waiting:
            if waiting.pop() != name:
                waiting = []
            if not waiting:
                whole.append(text[begun : edge.end()])
    return Pieces(whole, int(bool(waiting)))


def environments(fragment: str) -> bool:
    """Tell whether there are environments, and each is closed by its own end."""
    waiting: list[str] = []
    edges = EDGE.findall(fragment)
    for kind, name in edges:
        if kind == "begin":
            waiting.append(name)
        elif not waiting or waiting.pop() != name:
            return False
    return bool(edges) and not waiting


def braces(fragment: str) -> bool:
    """Tell whether the curly brackets are balanced, those printed and those in comments aside."""
    return balanced(re.sub(r"[^{}]", "", QUIET.sub("", fragment)))


def dollars(fragment: str) -> bool:
    """Tell whether maths that begins ends, and does so in its own paragraph."""
    inside: Literal["", "$", "$$"] = ""
    for mark in re.findall(r"\$\$|\$|\n[ \t]*\n", QUIET.sub("", fragment)):
        if mark[0] == "\n":
            if inside:
                return False
        elif not inside:
            inside = "$$" if mark == "$$" else "$"
        elif inside == mark:
            inside = ""
        elif inside == "$$":
            return False
        # Two in a row within a line of text: one formula ends and the next begins.
    return not inside


def document(fragment: str, known: Usage) -> str:
    """Return a document with one fragment in it; commands the training text takes for granted print their names."""
    lines = [
        r"\documentclass{amsart}\usepackage{amsmath,amssymb}",
        r"\IfFileExists{xy.sty}{\usepackage[all]{xy}}{\newcommand{\xymatrix}[1]{}}",
        r"\providecommand{\href}[2]{#2}\makeatletter",
    ]
    lines += [
        rf"\@ifundefined{{{name}}}{{\newtheorem{{{name}}}{{{name.strip('*')}}}}}{{}}"
        for name in sorted(known.environments - NO_FRAGMENT)
    ]
    used = set(COMMAND.findall(fragment)) & known.commands
    lines += [
        rf"\providecommand{{\{name}}}{{\ensuremath{{\mathop{{\mathrm{{{name}}}}}\nolimits}}}}"
        for name in sorted(used)
    ]
    return "\n".join([*lines, r"\makeatother\begin{document}", fragment, r"\end{document}", ""])


def typeset(fragment: str, known: Usage) -> tuple[str, bytes]:
    """Let pdflatex set a fragment.

    Returns:
        The kind of its first error, nothing where there is none, and the PDF.
    """
    words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "piece.tex"]
    failed, said, pdf = run(words, {"piece.tex": document(fragment, known)}, made="piece.pdf")
    if not failed and pdf:
        return "", pdf
    error = re.search(r"^! .*(?:\n.*)?", said, re.MULTILINE)
    reason = error[0] if error else "Runaway"
    return next(kind for kind, pattern in KINDS.items() if pattern.search(reason)), b""


def export(fragment: str) -> dict[str, bytes]:
    """Return a fragment as files by suffix: as it is, and set in type where TeX is installed and accepts it."""
    pdf = typeset(fragment, usage(fragment * 2))[1] if PDFLATEX.there() else b""
    return {".tex": fragment.encode()} | ({".pdf": pdf} if pdf else {})


def check(sample: str, known: Usage | None) -> Tally:
    """Count the sound fragments of a sample."""
    pieces = fragments(sample)
    tally = {
        "fragments with matched environments": share(pieces.whole, environments),
        "fragments with balanced braces": share(pieces.whole, braces),
        "fragments with paired $": share(pieces.whole, dollars),
        "fragments cut off by the end": Ratio(pieces.cut, pieces.cut + len(pieces.whole)),
    }
    if PDFLATEX.there():
        # One a sample: each takes a second.
        kinds = [typeset(piece, known or usage(sample))[0] for piece in pieces.whole[:1]]
        tally["fragments that TeX sets"] = Ratio(kinds.count(""), len(kinds))
        for kind in KINDS:
            tally[f"stopped by {kind}"] = Ratio(kinds.count(kind), len(kinds))
    return tally


DOMAIN = Domain(
    "latex",
    "fragments",
    "fragments with matched environments",
    fragments,
    check,
    learn=usage,
    programs=(PDFLATEX,),
    export=export,
)
