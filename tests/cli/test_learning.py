"""`evaluate --dynamic` and `--with`, as a user meets them."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

SIZES = ["--embedding", "8", "--batch-size", "4", "--seq-length", "16", "--steps", "15"]
SCORE = ["protocol", "chars", "bytes", "nats_per_char", "bits_per_char", "bits_per_byte"]
Shell = Callable[..., SimpleNamespace]


@pytest.fixture
def trained(tmp_path: Path, text_file: Path, shell: Shell) -> Callable[..., Path]:
    """Return a way to make small finished runs, by name and options."""

    def make(name: str, *options: object) -> Path:
        result = shell("train", text_file, *SIZES, *options, "-o", tmp_path / name)
        assert result.code == 0, result.err
        return tmp_path / name

    return make


def _json(result: SimpleNamespace) -> dict[str, Any]:
    assert result.code == 0, result.err
    value: dict[str, Any] = json.loads(result.out)
    return value


@pytest.mark.slow
def test_learning_is_reported_beside_not_learning(trained: Callable[..., Path], tmp_path: Path, shell: Shell) -> None:
    """`--dynamic` keeps the contract's keys, and puts the static score, the held-out half and the settings beside."""
    run = trained("one", "--hidden", 12)
    static = _json(shell("evaluate", run, "--split", "valid", "--json"))
    per_char = tmp_path / "p.csv"
    value = _json(shell("evaluate", run, "--split", "valid", "--dynamic", "--json", "--per-char", per_char))
    assert list(value) == [*SCORE, "static", "held_out", "adaptation"]
    assert value["protocol"] == "dynamic"
    assert value["static"] == static
    assert value["chars"] == static["chars"]
    assert value["held_out"]["dynamic"]["chars"] == static["chars"] - static["chars"] // 2
    with per_char.open(encoding="utf-8", newline="") as file:
        costs = [float(row["nats"]) for row in csv.DictReader(file)]
    assert sum(costs) / len(costs) == pytest.approx(value["nats_per_char"], abs=1e-5)
    shown = shell("evaluate", run, "--split", "valid", "--dynamic")
    assert [line.split("  ")[0] for line in shown.out.splitlines()] == [
        "dynamic",
        "stream",
        "dynamic, second half",
        "stream, second half",
    ]
    assert "\nlearning rate 0.00" in shown.err


@pytest.mark.slow
def test_the_test_part_has_no_say_in_its_settings(trained: Callable[..., Path], shell: Shell) -> None:
    """For the test part settings come from the validation part, and all of it is held out; a text has its own halves."""
    run = trained("one", "--hidden", 12)
    value = _json(shell("evaluate", run, "--split", "test", "--dynamic", "--json"))
    assert value["held_out"] is None
    other = run.parent / "other.txt"
    other.write_text("import sys\n" * 20, encoding="utf-8", newline="")
    assert _json(shell("evaluate", run, other, "--dynamic", "--json"))["held_out"]["static"]["chars"] == 110


@pytest.mark.slow
def test_several_models_score_and_write_together(trained: Callable[..., Path], shell: Shell) -> None:
    """`--with` takes models of other cells and sizes; the mean costs no more than the mean of the costs."""
    one = trained("one", "--hidden", 12)
    others = [trained("two", "--hidden", 20, "--cell", "gru"), trained("three", "--hidden", 9, "--seed", 1)]
    each = [_json(shell("evaluate", run, "--split", "valid", "--json")) for run in (one, *others)]
    words = [word for other in others for word in ("--with", other)]
    together = _json(shell("evaluate", one, *words, "--split", "valid", "--json"))
    assert list(together) == SCORE
    assert together["nats_per_char"] < sum(value["nats_per_char"] for value in each) / 3
    text = shell("sample", one, *words, "-p", "def ", "-n", 30, "--seed", 1).out
    assert len(text) == 34
    assert shell("sample", one, *words, "-p", "def ", "-n", 30, "--seed", 1).out == text


@pytest.mark.slow
def test_what_cannot_be_averaged_or_learnt_is_refused(
    trained: Callable[..., Path], tmp_path: Path, shell: Shell
) -> None:
    """Other characters, another cut of the text, windows while learning, and a lost text are told in one sentence."""
    one, cut = trained("one", "--hidden", 12), trained("cut", "--hidden", 12, "--valid", 0.2)
    (tmp_path / "digits.txt").write_text("0123456789 " * 500, encoding="utf-8")
    result = shell("train", tmp_path / "digits.txt", *SIZES, "--hidden", 8, "-o", tmp_path / "digits")
    assert result.code == 0, result.err
    for words, sentence in (
        (["sample", one, "--with", tmp_path / "digits"], "models 1 and 2 differ in "),
        (["evaluate", one, "--with", cut, "--split", "valid"], "may include the valid part; name a TEXT"),
        (["evaluate", one, "--dynamic", "--protocol", "windows"], "--dynamic reads the text in order"),
    ):
        refused = shell(*words)
        assert refused.code == 1
        assert sentence in refused.err
        assert refused.err.count("\n") == 1


@pytest.mark.slow
def test_learning_needs_the_text_of_the_training(
    trained: Callable[..., Path], tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model file alone does not say how large its gradients usually are; the error says what it needs."""
    run = trained("one", "--hidden", 12)
    (run / "model.safetensors").rename(tmp_path / "alone.safetensors")
    monkeypatch.setenv("NEXTCHAR_CACHE", str(tmp_path / "empty"))
    refused = shell("evaluate", tmp_path / "alone.safetensors", tmp_path / "small.txt", "--dynamic")
    assert refused.code == 1
    assert "is missing; --dynamic needs it" in refused.err
