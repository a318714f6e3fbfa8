"""Which cheap number tells how much a unit matters: agreement with mean ablation, one unit at a time.

    python studies/importance.py runs/shakespeare tiny.txt

Prints Spearman's rank correlation, over random units, of each number with the loss that ablation of the unit adds.
"""

import argparse
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.discovery.ablation import WARM_UP, WINDOW, ablate
from nextchar.discovery.states import read_states
from nextchar.inspection.relations import direct_effect
from nextchar.inspection.summary import summarize
from nextchar.inspection.trace import pieces
from nextchar.storage import load
from nextchar.text.corpus import read_ids

CHARACTERS, UNITS, WINDOWS = 6_000, 96, 4
Floats = npt.NDArray[np.float64]


def spearman(one: Floats, other: Floats) -> float:
    """Return the correlation of the ranks."""
    return float(np.corrcoef(one.argsort().argsort(), other.argsort().argsort())[0, 1])


def main() -> None:
    """Measure, and print one line for each number."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("model")
    parser.add_argument("text")
    given = parser.parse_args()
    lm = load(given.model)
    ids, _ = read_ids([given.text], lm.vocabulary, unknown="skip")
    ids = ids[-CHARACTERS:]
    layers = summarize(pieces(lm, ids, signals=("tanh_c", "i", "f", "o", "h")))
    spread, head, outgoing = [], [], []
    for layer, summary in layers.items():
        effect = direct_effect(lm.network, layer)
        assert effect is not None
        own: Any = lm.network.layers[layer]
        following: Any = lm.network.layers[layer + 1] if layer + 1 < len(layers) else None
        weights = [effect, own.weight_hh.detach().numpy()]
        weights += [following.weight_ih.detach().numpy()] if following is not None else []
        deviation = np.sqrt(summary.variance("h"))
        spread.append(np.sqrt(summary.variance("tanh_c")))
        head.append(np.linalg.norm(effect, axis=0) * deviation)
        outgoing.append(np.linalg.norm(np.concatenate(weights), axis=0) * deviation)
    states = read_states(lm, ids)
    rows = np.sort(np.random.default_rng(0).choice(len(states.units), min(UNITS, len(states.units)), replace=False))
    starts = np.linspace(CHARACTERS // 2, len(ids) - WINDOW, WINDOWS).astype(np.int64)
    added = ablate(lm, ids, states, rows, starts).bits.mean(1).astype(np.float64)
    counted = f"{len(rows)} units, {WINDOWS * (WINDOW - WARM_UP)} characters"
    for name, values in (
        ("spread of tanh(c)", spread),
        ("weights to the head times spread of h", head),
        ("all outgoing weights times spread of h", outgoing),
    ):
        found = np.concatenate(values)[rows]
        sys.stdout.write(f"{name}: Spearman {spearman(found, added):.2f} ({counted})\n")


if __name__ == "__main__":
    main()
