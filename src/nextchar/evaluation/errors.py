"""Classes of the characters a model predicts badly: the error analysis of arXiv 1506.02078, section 4.4.

A character is an error if its probability is at most one half. Each error is assigned to the first class in the list that
fits: an n-gram table predicts it; a search in the recent text predicts it; it is in a rare word; it begins a word; it is
punctuation or white space; the rest.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.errors import TextError
from nextchar.evaluation.ngram import NGram
from nextchar.model.reading import Doubles, Ids
from nextchar.text.vocabulary import Vocabulary

Mask = npt.NDArray[np.bool_]

HALF = np.log(2.0)
MEMORY = 1000  # characters before an error that are searched
RARE = 5  # a word is rare if it occurs at most so often in the training text
SPANS = (10, 20, 40, 60, 80, 100, 150, 200, 400, 1000)
UNLIMITED = 1 << 30
PAIRS = {"{": "}", "(": ")", "[": "]"}
# Orders of the n-gram tables: for errors that of the paper, for brackets the longest.
ERROR_ORDER, BRACKET_ORDER = 9, 20
WORD = re.compile(r"\w+")


def analyse_errors(vocabulary: Vocabulary, ids: Ids, nats: Doubles, training: Ids) -> dict[str, Any]:
    """Return "errors" and "closing" for JSON: the classes of errors, and the probability of closing brackets.

    Args:
        vocabulary: Of all ids.
        ids: The scored text, `(T,)`.
        nats: The surprisal of each character, `(T,)`.
        training: The training part, `(n,)`.
    """
    # One character for each id, so that positions stay the same where the units are bytes.
    text, learnt = map(Vocabulary("characters", vocabulary.codes).decode, (ids, training))
    near, far = (NGram(training, len(vocabulary), order=order).nats(ids) for order in (ERROR_ORDER, BRACKET_ORDER))
    closing = closing_brackets(text, {"model": nats, f"{BRACKET_ORDER}-grams": far})
    return {"errors": kinds_of_error(text, nats, near, learnt), "closing": closing}


def kinds_of_error(text: str, nats: Doubles, ngram: Doubles, training: str) -> list[dict[str, Any]]:
    """Assign the errors of a model to classes, for JSON.

    Args:
        text: The scored text, T characters.
        nats: The surprisal of each under the model, `(T,)`.
        ngram: The surprisal of each under an n-gram table, `(T,)`.
        training: The training text, which says which words are rare.

    Returns:
        For each class its "name"; "errors", how many; their "share" of all errors; and "nats", the sum of
        their surprisals.

    Raises:
        TextError: The numbers of characters and surprisals differ.
    """
    if not len(text) == len(nats) == len(ngram):
        raise TextError(f"{len(text)} characters have {len(nats)} and {len(ngram)} surprisals")
    counts, words = Counter(WORD.findall(training)), list(WORD.finditer(text))
    left = nats >= HALF
    kinds = {
        "n-gram": ngram < HALF,
        "memory of 1000 characters": found_in_memory(text, left & (ngram >= HALF)),
        "rare word": _mask(text, (word.span() for word in words if counts[word[0]] <= RARE)),
        "beginning of a word": _mask(text, ((word.start(), word.start() + 1) for word in words)),
        "punctuation and white space": ~_mask(text, (word.span() for word in words)),
        "the rest": np.ones(len(text), bool),
    }
    found = []
    total = int(left.sum())
    for name, fits in kinds.items():
        here = left & fits
        count = int(here.sum())
        share = count / max(total, 1)
        found.append({"name": name, "errors": count, "share": share, "nats": float(nats[here].sum())})
        left &= ~fits
    return found


def found_in_memory(text: str, wanted: Mask) -> Mask:
    """Return which of the wanted characters a search in the last 1,000 characters predicts, `(T,)`.

    It predicts a character if the string from the last white space up to and including the character, of at least two
    characters, occurs in these 1,000 characters.
    """
    known = np.zeros(len(text), bool)
    for end in np.flatnonzero(wanted).tolist():
        begin = end
        while begin and end - begin < MEMORY and not text[begin - 1].isspace():
            begin -= 1
        if end - begin >= 1 and text.find(text[begin : end + 1], max(0, begin - MEMORY), begin) >= 0:
            known[end] = True
    return known


def _mask(text: str, spans: Iterable[tuple[int, int]]) -> Mask:
    """Return which characters are in one of the spans, `(T,)`."""
    mask = np.zeros(len(text), bool)
    for begin, end in spans:
        mask[begin:end] = True
    return mask


def closing_brackets(text: str, nats: Mapping[str, Doubles]) -> list[dict[str, Any]]:
    """Return the mean probability of closing brackets by the distance to the opening one, for JSON.

    Args:
        text: The scored text, T characters.
        nats: The surprisal of each character, `(T,)`, by the name of the predictor.

    Returns:
        A row for each closing bracket and range of distances that occurs: "bracket"; "least" and "most", the bounds of
        the range; "count", how many brackets; and their mean "probability" by the name of the predictor.
    """
    rows = []
    for opening, bracket in PAIRS.items():
        ends, distances = _pairs(text, opening, bracket)
        for least, most in zip((1, *(span + 1 for span in SPANS)), (*SPANS, UNLIMITED), strict=True):
            there = ends[(distances >= least) & (distances <= most)]
            if len(there):
                p = {name: float(np.exp(-values[there]).mean()) for name, values in nats.items()}
                span = {"bracket": bracket, "least": least, "most": most}
                rows.append({**span, "count": len(there), "probability": p})
    return rows


def _pairs(text: str, opening: str, closing: str) -> tuple[Ids, Ids]:
    """Return the positions of closing brackets, and their distances from the opening ones."""
    waiting: list[int] = []
    ends, distances = [], []
    for place, character in enumerate(text):
        if character == opening:
            waiting.append(place)
        elif character == closing and waiting:
            ends.append(place)
            distances.append(place - waiting.pop())
    return np.array(ends, np.intp), np.array(distances, np.intp)


def error_table(kinds: Sequence[Mapping[str, Any]], chars: int) -> str:
    """Return the classes of errors, as in JSON, as lines of text."""
    errors, nats = (sum(kind[name] for kind in kinds) for name in ("errors", "nats"))
    lines = [f"{errors:,} of {chars:,} characters have a probability of at most one half; their classes:"]
    lines += [
        f"{kind['name']:28}{kind['errors']:9,}  {100 * kind['share']:5.1f} % of errors"
        f"  {100 * kind['nats'] / max(nats, 1e-9):5.1f} % of their loss"
        for kind in kinds
    ]
    return "\n".join(lines)


def closing_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the probabilities of closing brackets, as in JSON, as lines of text; nothing if there are no rows."""
    if not rows:
        return ""
    lines = [f"\nprobability of closing brackets by distance: {', '.join(rows[0]['probability'])}"]
    for row in rows:
        span = f"{row['least']} or more" if row["most"] == UNLIMITED else f"{row['least']}-{row['most']}"
        values = "".join(f"{value:12.3f}" for value in row["probability"].values())
        lines.append(f"{row['bracket']}  {span:14}{row['count']:7,}{values}")
    return "\n".join(lines) + "\n"
