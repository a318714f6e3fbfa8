"""LaTeX: fragments whose environments, braces and maths match, and fragments that pdflatex typesets."""

import re
from collections import Counter
from typing import NamedTuple

from nextchar.parsing.brackets import balanced, nested
from nextchar.parsing.domain import Domain, Pieces, Program, Ratio, Tally, run_program, share

PDFLATEX = Program("pdflatex", "texlive-latex-recommended texlive-pictures", "setting fragments in type")
EDGE = re.compile(r"\\(begin|end)\s*\{([A-Za-z*]+)\}")
SELF_NESTING = {
    "enumerate", "itemize", "description", "matrix", "pmatrix", "array", "cases", "aligned", "center"
}  # fmt: skip
NOT_FRAGMENTS = {"document", "verbatim"}
IGNORED = re.compile(r"\\[\\{}$%]|%[^\n]*")  # escaped characters and comments
COMMAND = re.compile(r"\\([A-Za-z]+)")

# Kinds of errors, by TeX's messages; the first match counts.
ERRORS = {
    "unknown command": re.compile(r"Undefined control sequence"),
    "environments": re.compile(r"\\begin|\\end|Environment|allowed only in|Lonely|perhaps a missing"),
    "maths": re.compile(r"Missing \$|[Mm]ath|Double (?:sub|super)script|\\right|\\left|delimiter"),
    "braces": re.compile(r"\}|\{|Runaway|File ended|Paragraph ended|Argument of|Emergency stop"),
    "alignment": re.compile(r"alignment|Misplaced|tab"),
    "another error": re.compile(r""),
}


class Usage(NamedTuple):
    """Commands and environments that occur at least twice in the training text, and so are defined elsewhere."""

    commands: frozenset[str]
    environments: frozenset[str]


def usage(text: str) -> Usage:
    """Return the commands and environments that a text uses at least twice."""
    found = COMMAND.findall(text), [name for _, name in EDGE.findall(text)]
    return Usage(*(frozenset(name for name, n in Counter(names).items() if n > 1) for names in found))


def fragments(text: str) -> Pieces:
    r"""Find the outermost environments, from `\begin` to the `\end` that closes them.

    A fragment also ends, invalid, at an `\end` of another name, or where an environment that cannot nest begins within
    itself. An `\end` outside of any fragment is ignored, so that one error counts once.
    """
    whole: list[str] = []
    open_names: list[str] = []
    begin = 0
    for edge in EDGE.finditer(text):
        kind, name = edge[1], edge[2]
        if name in NOT_FRAGMENTS:
            continue
        if kind == "begin":
            if name in open_names and name not in SELF_NESTING:
                whole.append(text[begin : edge.start()])
                open_names = []
            if not open_names:
                begin = edge.start()
            open_names.append(name)
        elif open_names:
            if open_names.pop() != name:
                open_names = []
            if not open_names:
                whole.append(text[begin : edge.end()])
    return Pieces(whole, int(bool(open_names)))


def environments(fragment: str) -> bool:
    """Return whether there are environments and each is closed by its own end."""
    edges = EDGE.findall(fragment)
    return bool(edges) and nested((kind == "begin", name) for kind, name in edges)


def braces(fragment: str) -> bool:
    """Return whether the curly brackets match, apart from escaped ones and those in comments."""
    return balanced(re.sub(r"[^{}]", "", IGNORED.sub("", fragment)))


def dollars(fragment: str) -> bool:
    """Return whether formulas that begin with $ or $$ end with the same, within one paragraph."""
    inside = ""
    for token in re.findall(r"\$\$|\$|\n[ \t]*\n", IGNORED.sub("", fragment)):
        if token[0] == "\n":
            if inside:
                return False
        elif not inside:
            inside = token
        elif inside == token:
            inside = ""
        elif inside == "$$":
            return False
        # $$ within $: one formula ends and the next one begins.
    return not inside


def document(fragment: str, known: Usage) -> str:
    """Return a document that holds one fragment; known commands print their names, known environments are theorems."""
    lines = [
        r"\documentclass{amsart}\usepackage{amsmath,amssymb}",
        r"\IfFileExists{xy.sty}{\usepackage[all]{xy}}{\newcommand{\xymatrix}[1]{}}",
        r"\providecommand{\href}[2]{#2}\makeatletter",
    ]
    lines += [
        rf"\@ifundefined{{{name}}}{{\newtheorem{{{name}}}{{{name.strip('*')}}}}}{{}}"
        for name in sorted(known.environments - NOT_FRAGMENTS)
    ]
    lines += [
        rf"\providecommand{{\{name}}}{{\ensuremath{{\mathop{{\mathrm{{{name}}}}}\nolimits}}}}"
        for name in sorted(set(COMMAND.findall(fragment)) & known.commands)
    ]
    return "\n".join([*lines, r"\makeatother\begin{document}", fragment, r"\end{document}", ""])


def typeset(fragment: str, known: Usage) -> tuple[str, bytes]:
    """Typeset a fragment with pdflatex.

    Returns:
        The kind of its first error, empty if there is none, and the PDF.
    """
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "piece.tex"]
    failed, messages, pdf = run_program(command, {"piece.tex": document(fragment, known)}, output="piece.pdf")
    if not failed and pdf:
        return "", pdf
    error = re.search(r"^! .*(?:\n.*)?", messages, re.MULTILINE)
    reason = error[0] if error else "Runaway"
    return next(kind for kind, pattern in ERRORS.items() if pattern.search(reason)), b""


def export(fragment: str) -> dict[str, bytes]:
    """Return a fragment as files by suffix: LaTeX, and PDF if pdflatex is installed and accepts it."""
    pdf = typeset(fragment, usage(fragment * 2))[1] if PDFLATEX.is_installed() else b""
    return {".tex": fragment.encode()} | ({".pdf": pdf} if pdf else {})


def check(sample: str, known: Usage | None) -> Tally:
    """Count the valid fragments of a sample."""
    pieces = fragments(sample)
    tally = {
        "fragments with matched environments": share(pieces.whole, environments),
        "fragments with balanced braces": share(pieces.whole, braces),
        "fragments with paired $": share(pieces.whole, dollars),
        "fragments cut off by the end": pieces.cut_share(),
    }
    if PDFLATEX.is_installed():
        # One fragment a sample: each takes a second.
        kinds = [typeset(piece, known or usage(sample))[0] for piece in pieces.whole[:1]]
        tally["fragments that TeX sets"] = Ratio(kinds.count(""), len(kinds))
        tally |= {f"stopped by {kind}": Ratio(kinds.count(kind), len(kinds)) for kind in ERRORS}
    return tally


DOMAIN = Domain("fragments", fragments, check, learn=usage, programs=(PDFLATEX,), export=export)
