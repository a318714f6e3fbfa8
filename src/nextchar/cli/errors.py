"""`nextchar evaluate --errors`: what a model gets wrong, and how sure it is of closing brackets."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

LARGEST, FARTHEST = 9, 20  # orders of the tables that stand beside: for errors as in the paper, for brackets


def with_costs(score: Callable[..., Any]) -> tuple[Any, Any]:
    """Score, and return what every character cost beside the score."""
    blocks: list[Any] = []
    result = score(on_block=blocks.append)
    return result, np.concatenate(blocks)


def analyse(vocabulary: Any, ids: Any, nats: Any, train: Any) -> dict[str, Any]:
    """Sort the errors of a model, and tell how sure it and n-grams are of closing brackets.

    Args:
        vocabulary: Of all ids.
        ids: What was scored, `(T,)`.
        nats: What each cost, `(T,)`.
        train: The training part.
    """
    from nextchar.evaluation.errors import closing_brackets, kinds_of_error  # noqa: PLC0415  numpy takes a while
    from nextchar.evaluation.ngram import NGram  # noqa: PLC0415  as above

    # One character for each id, so that costs and characters stay in step, also where the units are bytes.
    text, learnt = (_one_each(vocabulary, each) for each in (ids, train))
    ngram = NGram(train, len(vocabulary), order=LARGEST).nats(ids)
    far = NGram(train, len(vocabulary), order=FARTHEST).nats(ids)
    kinds = kinds_of_error(text, nats, ngram, learnt)
    closings = closing_brackets(text, {"model": nats, f"{FARTHEST}-grams": far})
    return {"errors": [asdict(kind) for kind in kinds], "closing": [asdict(row) for row in closings]}


def _one_each(vocabulary: Any, ids: Any) -> str:
    codes = np.array(vocabulary.codes, np.uint32)[np.asarray(ids, np.intp)]
    return codes.tobytes().decode("utf-32-le", "surrogatepass")


def show(result: dict[str, Any]) -> None:
    """Print what `analyse` found."""
    from nextchar.evaluation.errors import ErrorKind, table  # noqa: PLC0415  numpy takes a while to import

    print(table([ErrorKind(**kind) for kind in result["errors"]], result["chars"]))  # noqa: T201  data
    if result["closing"]:
        names = list(result["closing"][0]["probability"])
        print(f"\nprobability of the bracket that closes one so many characters before: {', '.join(names)}")  # noqa: T201
    for row in result["closing"]:
        span = f"{row['least']}-{row['most']}" if row["most"] < 1 << 30 else f"{row['least']} or more"
        sure = "".join(f"{value:12.3f}" for value in row["probability"].values())
        print(f"{row['bracket']}  {span:14}{row['count']:7,}{sure}")  # noqa: T201  data
