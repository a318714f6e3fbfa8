"""C: functions that tree-sitter's grammar accepts, and that gcc accepts once unknown names are declared."""

import re
from itertools import pairwise

from nextchar.parsing.brackets import C_LITERALS, balanced, blank_literals
from nextchar.parsing.domain import Domain, Pieces, Program, Ratio, Tally, import_parser, pooled, run_program, share

GCC = Program("gcc", "gcc", "compiling functions")
GCC_ROUNDS = 12  # how often gcc runs again after the names that it reported as unknown were declared
TAB = 8

# The kernel's code as a parser sees it after the preprocessor: loops over lists are `for`, annotations are removed.
LOOP = re.compile(r"\b\w*for_each\w*\s*\(")
ANNOTATION = re.compile(
    r"\b(?:__(?:init|exit|user|rcu|percpu|iomem|kernel|force|sched|lockfunc|always_inline|always_unused|maybe_unused|"
    r"must_check|cold|cpuidle|releases|acquires|must_hold|read_mostly|initdata|weak|used|kprobes|visible|ref|"
    r"cacheline_aligned|visible_for_testing|bpf_kfunc)|noinline|notrace|asmlinkage|nokprobe_inline|noinstr)\b(?:\([\w\s&>*.,-]*\))?"
)
# A chain of members counts as one unknown name, because the structs of the kernel are not known here.
CHAIN = re.compile(r"\b[A-Za-z_]\w*(?:\s*(?:->|\.)\s*[A-Za-z_]\w*)+")
UNKNOWN_TYPE = re.compile(r"unknown type name '(\w+)'")
UNKNOWN_NAME = re.compile(r"'(\w+)' undeclared")


def functions(text: str) -> Pieces:
    """Find functions in the kernel's layout: a head, a line with `{` alone, and all up to the next such line or `}`."""
    lines = text.splitlines(keepends=True)
    whole, begin = [], -1
    for number, line in enumerate(lines):
        if line.rstrip() == "{":
            head = _head(lines, number)
            if begin >= 0:
                whole.append("".join(lines[begin:head]))
            begin = head
        elif line.startswith("}") and begin >= 0:
            whole.append("".join(lines[begin:number]) + "}\n")
            begin = -1
    return Pieces(whole, int(begin >= 0))


def _head(lines: list[str], number: int) -> int:
    """Return the line where the function head before line `number` begins."""
    while number and not (lines[number - 1][0] in "\n#}{/" or lines[number - 1].rstrip().endswith(("*/", ";"))):
        number -= 1
    return number


def preprocessed(code: str) -> str:
    """Return code with the kernel's loop macros and annotations replaced, as after the preprocessor."""
    return ANNOTATION.sub("", LOOP.sub("while (", code))


def errors(code: str) -> int:
    """Return how many error nodes and missing tokens tree-sitter's syntax tree of C has."""
    library, grammar = import_parser("tree_sitter"), import_parser("tree_sitter_c")
    parser = library.Parser(library.Language(grammar.language()))
    found, stack = 0, [parser.parse(preprocessed(code).encode("utf-8", "replace")).root_node]
    while stack:
        node = stack.pop()
        found += node.is_error or node.is_missing
        stack += [child for child in node.children if child.has_error]
    return found


def brackets(code: str) -> bool:
    """Return whether the brackets outside of strings and comments match."""
    return balanced(code, C_LITERALS)


def comments(text: str) -> Ratio:
    """Return the share of comments that are closed before the next one begins; the last one is left out."""
    return share(text.split("/*")[1:-1], lambda comment: "*/" in comment)


def indentation(function: str) -> Ratio:
    """Return the share of lines indented by as many tabs as curly brackets are open.

    Only lines that begin a statement count: those after a line that ends with `;`, `{` or `}`; labels are left out.
    """
    good = lines = depth = 0
    code = [line for line in blank_literals(function, C_LITERALS).splitlines() if line.strip()]
    for before, line in pairwise(["", *code]):
        text = line.strip()
        if depth > 0 and before.rstrip()[-1:] in ";{}" and not text.endswith(":"):
            columns = line.expandtabs(TAB)
            lines += 1
            good += len(columns) - len(columns.lstrip()) == TAB * (depth - text.startswith("}"))
        depth += line.count("{") - line.count("}")
    return Ratio(good, lines)


def compiles(function: str) -> bool:
    """Return whether gcc accepts a function's syntax once the names that it reports as unknown are declared.

    A chain of members (`a->b.c`) counts as one unknown name; unknown names and types are declared as numbers.
    """
    code = CHAIN.sub(lambda chain: re.sub(r"\W+", "_", chain[0]), preprocessed(function))
    declared = {name: f"{name} {{ long value; }};" for name in re.findall(r"\b(?:struct|union) \w+", code)}
    enums = re.findall(r"\benum \w+", code)
    declared |= {name: f"{name} {{ {name.replace(' ', '_')}_value }};" for name in enums}
    command = ["gcc", "-fsyntax-only", "-std=gnu89", "-w", "piece.c"]
    for _ in range(GCC_ROUNDS):
        source = "\n".join(declared.values()) + "\n#line 1\n" + code
        failed, messages, _ = run_program(command, {"piece.c": source})
        if not failed:
            return True
        unknown = {name: f"extern long {name};" for name in UNKNOWN_NAME.findall(messages)}
        unknown |= {name: f"typedef long {name};" for name in UNKNOWN_TYPE.findall(messages)}
        if set(unknown) <= set(declared):
            return False
        declared |= unknown
    return False


def check(sample: str, _learned: None) -> Tally:
    """Count the valid functions of a sample, and the parse errors of all of it."""
    pieces = functions(sample)
    tally = {
        "functions without a parse error": share(pieces.whole, lambda piece: not errors(piece)),
        "functions with balanced brackets": share(pieces.whole, brackets),
        "parse errors": Ratio(errors(sample), len(sample) / 1000, "per 1000 chars"),
        "comments closed": comments(sample),
        "lines indented as deep as they are": pooled([indentation(piece) for piece in pieces.whole]),
        "functions cut off by the end": pieces.cut_share(),
    }
    if GCC.is_installed():
        # One function a sample: each takes several runs of the compiler.
        tally["functions that gcc accepts, unknown names declared"] = share(pieces.whole[:1], compiles)
    return tally


DOMAIN = Domain("functions", functions, check, programs=(GCC,))
