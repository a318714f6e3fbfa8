import json
from pathlib import Path

import numpy as np
import pytest

from nextchar.cli.main import main
from nextchar.errors import TextError
from nextchar.evaluation.errors import closing_brackets, error_table, found_in_memory, kinds_of_error

SURE, LOST = 0.1, 3.0
KINDS = (
    "n-gram",
    "memory of 1000 characters",
    "rare word",
    "beginning of a word",
    "punctuation and white space",
    "the rest",
)


def test_every_error_has_one_kind() -> None:
    """Classes are assigned in their order; together they are all errors and their whole loss."""
    text = "the zebra (the zebra)\n"
    #       0123456789
    nats = np.full(len(text), SURE)
    ngram = np.full(len(text), LOST)
    nats[[1, 5, 7, 10, 12, 17, 21]] = LOST
    ngram[1] = SURE
    kinds = kinds_of_error(text, nats, ngram, "the " * 100)
    found = {kind["name"]: kind["errors"] for kind in kinds}
    assert found == {
        "n-gram": 1,
        "memory of 1000 characters": 1,  # the e of the second zebra
        "rare word": 2,  # the z and the b of the first zebra
        "beginning of a word": 0,
        "punctuation and white space": 2,
        "the rest": 1,
    }
    assert tuple(found) == KINDS
    assert sum(kind["share"] for kind in kinds) == pytest.approx(1)
    assert sum(kind["nats"] for kind in kinds) == pytest.approx(7 * LOST)
    assert error_table(kinds, len(text)).startswith("7 of 22 characters")


def test_the_beginning_of_a_known_word() -> None:
    """The first character of a word that is not rare is a kind of its own."""
    text = "ab cd"
    nats = np.array([SURE, SURE, SURE, LOST, SURE])
    kinds = kinds_of_error(text, nats, np.full(5, LOST), "cd " * 6)
    assert {kind["name"]: kind["errors"] for kind in kinds}["beginning of a word"] == 1


def test_memory_forgets() -> None:
    """Text more than 1,000 characters ago is not found, and a single character does not count."""
    near, far = "zebra" + " x" * 100 + " zebra", "zebra" + " x" * 600 + " zebra"
    everywhere = np.ones(len(near), bool)
    assert found_in_memory(near, everywhere)[-5:].tolist() == [False, True, True, True, True]
    assert not found_in_memory(far, np.ones(len(far), bool))[-5:].any()


def test_every_character_needs_a_surprisal() -> None:
    """A surprisal for each character is required."""
    with pytest.raises(TextError, match="3 characters have 2 and 3 surprisals"):
        kinds_of_error("abc", np.zeros(2), np.zeros(3), "abc")


def test_closing_brackets_by_distance() -> None:
    """Each closing bracket counts at the distance of the one it closes; those that close nothing do not count."""
    text = "} { (a) " + "b" * 30 + "}"
    nats = np.full(len(text), np.log(2))
    nats[-1] = np.log(4)
    rows = closing_brackets(text, {"one": nats, "other": nats / 2})
    assert [(row["bracket"], row["least"], row["most"], row["count"]) for row in rows] == [
        ("}", 21, 40, 1),
        (")", 1, 10, 1),
    ]
    assert rows[0]["probability"] == pytest.approx({"one": 0.25, "other": 0.5})
    assert rows[1]["probability"]["one"] == pytest.approx(0.5)


def test_the_command_tells_errors(tmp_path: Path, text_file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`evaluate --errors` adds kinds and brackets to the score, in JSON and in words."""
    run = tmp_path / "run"
    words = ["train", str(text_file), "--steps", "3", "--hidden", "8", "--valid", "0.1", "-o", str(run)]
    assert main(words) == 0
    capsys.readouterr()
    assert main(["evaluate", str(run), "--split", "valid", "--errors", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [kind["name"] for kind in result["errors"]] == list(KINDS)
    assert result["closing"][0]["probability"].keys() == {"model", "20-grams"}
    assert main(["evaluate", str(run), "--split", "valid", "--errors"]) == 0
    assert "rare word" in capsys.readouterr().out
    assert main(["evaluate", str(run), "--errors", "--per-char", str(tmp_path / "x.csv")]) == 1
    assert "give one of them" in capsys.readouterr().err
