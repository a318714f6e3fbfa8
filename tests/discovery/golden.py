"""Text for the network whose units were set by hand: its characters only, with brackets, depth, lines and www at random."""

from functools import cache

import numpy as np

from inspection.handset import golden_model
from nextchar.discovery.claims import Claims
from nextchar.discovery.pipeline import claims_of
from nextchar.discovery.study import Search, Study, prepare

LENGTH = 12_000
SEARCH = Search(shifts=99, rotations=2, causal=False)

WORDS = [
    "see",
    "the",
    "link",
    "and",
    "or",
    "deep",
    "in",
    "a",
    "b",
    "c",
    "x",
    "brackets",
    "w",
    "ww",
    "www.",
    "www.",
    "wwww",
    "the",
    "and",
    "link",
]


def golden_text(length: int, seed: int = 0) -> str:
    """Return text in which `[ ]` closes, `( )` nests within a line, lines end and w comes in runs."""
    random = np.random.default_rng(seed)
    parts: list[str] = []
    size = depth = 0
    inside = False
    while size < length:
        draw = random.random()
        piece = WORDS[random.integers(len(WORDS))] + " "
        if draw < 0.06:
            piece, inside = ("] " if inside else "["), not inside
        elif draw < 0.13 and depth < 4:
            piece, depth = "(", depth + 1
        elif draw < 0.20 and depth:
            piece, depth = ") ", depth - 1
        elif draw < 0.36:
            piece, depth = ")" * depth + "x\n", 0
        parts.append(piece)
        size += len(piece)
    return ("".join(parts))[:length]


@cache
def discovered() -> tuple[Study, Claims]:
    """Return the study of the golden network, and its claims."""
    study = prepare(golden_model(), golden_text(LENGTH), "general", SEARCH)
    return study, claims_of(study, "general")
