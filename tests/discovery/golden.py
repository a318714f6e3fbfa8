"""Text for the network whose units were set by hand: its characters only, with brackets, depth, lines and www at random."""

import numpy as np

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
