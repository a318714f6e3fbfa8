"""C: functions that tree-sitter's grammar accepts, and the share that gcc does once unknown names are declared."""

import re
from itertools import pairwise
from typing import Any

from nextchar.parsing.brackets import C_QUIET, balanced, blanked
from nextchar.parsing.domain import Domain, Pieces, Program, Ratio, Tally, extra, run, share, together

GCC = Program("gcc", "gcc", "compiling functions")
ROUNDS = 12  # of declaring what gcc says is unknown
TAB = 8

# What the preprocessor would have taken away before a parser sees it: the kernel's loops over lists are `for`, and its
# annotations are nothing.
LOOP = re.compile(r"\b\w*for_each\w*\s*\(")
ANNOTATION = re.compile(
    r"\b(?:__(?:init|exit|user|rcu|percpu|iomem|kernel|force|sched|lockfunc|always_inline|always_unused|maybe_unused|"
    r"must_check|cold|cpuidle|releases|acquires|must_hold|read_mostly|initdata|weak|used|kprobes|visible|ref|"
    r"cacheline_aligned|visible_for_testing|bpf_kfunc)|noinline|notrace|asmlinkage|nokprobe_inline|noinstr)\b(?:\([\w\s&>*.,-]*\))?"
)
# A chain of members is one unknown name: nobody can know what a struct of the kernel holds.
CHAIN = re.compile(r"\b[A-Za-z_]\w*(?:\s*(?:->|\.)\s*[A-Za-z_]\w*)+")
UNKNOWN_TYPE = re.compile(r"unknown type name '(\w+)'")
UNKNOWN_NAME = re.compile(r"'(\w+)' undeclared")


def functions(text: str) -> Pieces:
    """Find the functions as the kernel lays them out: a head, a line with `{` alone, and the next line that begins so or with `}`."""
    lines = text.splitlines(keepends=True)
    whole, begun = [], -1
    for number, line in enumerate(lines):
        if line.rstrip() == "{":
            if begun >= 0:
                whole.append("".join(lines[begun : _head(lines, number)]))
            begun = _head(lines, number)
        elif line.startswith("}") and begun >= 0:
            whole.append("".join(lines[begun:number]) + "}\n")
            begun = -1
    return Pieces(whole, int(begun >= 0))


def _head(lines: list[str], number: int) -> int:
    """Return the line where the head before line `number` begins."""
    while number and not (
        lines[number - 1][0] in "\n#}{/" or lines[number - 1].rstrip().endswith(("*/", ";"))
    ):
        number -= 1
    return number


def expanded(code: str) -> str:
    """Return code as a parser would see it after the preprocessor."""
    return ANNOTATION.sub("", LOOP.sub("while (", code))


def errors(code: str) -> int:
    """Count the places where tree-sitter's grammar of C finds an error or misses something."""
    tree = _parser().parse(expanded(code).encode("utf-8", "replace"))
    found, waiting = 0, [tree.root_node]
    while waiting:
        node = waiting.pop()
        found += node.is_error or node.is_missing
        waiting += [child for child in node.children if child.has_error]
    return found


def _parser() -> Any:
    core, grammar = extra("tree_sitter"), extra("tree_sitter_c")
    return core.Parser(core.Language(grammar.language()))


def brackets(code: str) -> bool:
    """Tell whether the brackets outside of strings and comments are balanced."""
    return balanced(blanked(code, C_QUIET))


def comments(text: str) -> Ratio:
    """Count the comments that are closed before the next one begins; the last may be cut and is left out."""
    opened = re.split(r"/\*", text)[1:-1]
    return share(opened, lambda comment: "*/" in comment)


def indentation(function: str) -> Ratio:
    """Count the lines of a body with as many tabs before them as curly brackets are open.

    Only lines that begin a statement count: those after a line that ends with `;`, `{`, `}` or `:`.
    """
    good = lines = depth = 0
    code = [line for line in blanked(function, C_QUIET).splitlines() if line.strip()]
    for before, line in pairwise(["", *code]):
        text = line.strip()
        if depth > 0 and before.rstrip()[-1:] in ";{}" and not text.endswith(":"):
            expected = depth - text.startswith("}")
            indent = len(line.expandtabs(TAB)) - len(line.expandtabs(TAB).lstrip())
            lines += 1
            good += indent == TAB * expected
        depth += line.count("{") - line.count("}")
    return Ratio(good, lines)


def compiles(function: str) -> bool:
    """Tell whether gcc accepts a function's syntax, after what it calls unknown was declared.

    Chains of members (`a->b.c`) count as unknown names, unknown names are numbers, unknown types are numbers too.
    """
    code = CHAIN.sub(lambda chain: re.sub(r"\W+", "_", chain[0]), expanded(function))
    declared: dict[str, str] = {
        name: f"{name} {{ long value; }};" for name in re.findall(r"\b(?:struct|union) \w+", code)
    }
    declared |= {
        name: f"{name} {{ {name.replace(' ', '_')}_value }};" for name in re.findall(r"\benum \w+", code)
    }
    for _ in range(ROUNDS):
        source = "\n".join(declared.values()) + "\n#line 1\n" + code
        failed, said, _made = run(
            ["gcc", "-fsyntax-only", "-std=gnu89", "-w", "piece.c"], {"piece.c": source}
        )
        if not failed:
            return True
        new = {name: f"typedef long {name};" for name in UNKNOWN_TYPE.findall(said)}
        new |= {name: f"extern long {name};" for name in UNKNOWN_NAME.findall(said) if name not in new}
        if set(new) <= set(declared):
            return False
        declared |= new
    return False


def check(sample: str, _learnt: None) -> Tally:
    """Count the sound functions of a sample, and its errors as a whole."""
    pieces = functions(sample)
    tally = {
        "functions without a parse error": share(pieces.whole, lambda piece: not errors(piece)),
        "functions with balanced brackets": share(pieces.whole, brackets),
        "parse errors": Ratio(errors(sample), len(sample) / 1000, "per 1000 chars"),
        "comments closed": comments(sample),
        "lines indented as deep as they are": together([indentation(piece) for piece in pieces.whole]),
        "functions cut off by the end": Ratio(pieces.cut, pieces.cut + len(pieces.whole)),
    }
    if GCC.there():
        # One a sample: each takes several runs of the compiler.
        tally["functions that gcc accepts, unknown names declared"] = share(pieces.whole[:1], compiles)
    return tally


DOMAIN = Domain("c", "functions", "functions without a parse error", functions, check, programs=(GCC,))
