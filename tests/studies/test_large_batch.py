import json
from pathlib import Path

import pytest

import large_batch
from nextchar.config import Config
from nextchar.text.corpus import Corpus
from nextchar.training.autosize import plan


def test_the_rules() -> None:
    """Four times the batch: a quarter of the steps; twice the rate or the same; a warm-up of as many steps or a quarter."""
    base = plan(Config(epochs=2, hidden=32, batch_size=8, seq_length=16), 128_000, 60)
    found = {rule: large_batch.recipe_of(base, 32, rule, 128_000, 2) for rule in large_batch.RULES}
    assert {recipe.steps for recipe in found.values()} == {500}
    rates = [recipe.learning_rate / base.learning_rate for recipe in found.values()]
    assert rates == pytest.approx([2, 2, 1])
    assert [recipe.warmup for recipe in found.values()] == [50, 12, 50]
    # What a run decays altogether: rate times decay times steps.
    decays = [recipe.learning_rate * recipe.weight_decay * recipe.steps for recipe in (base, *found.values())]
    assert decays == pytest.approx([decays[0]] * 4)


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_was(corpus: Corpus, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every batch is trained by every rule, but the smallest only once; what is in the file is not trained again."""
    out, config = tmp_path / "sweep.jsonl", Config(epochs=1, hidden=16, seq_length=16)
    rows = large_batch.sweep(corpus, config, (32, 64), out)
    assert [(row["batch"], row["rule"]) for row in rows] == [
        (512, "LEGW"),
        *((1024, rule) for rule in large_batch.RULES),
    ]
    lines = out.read_text().splitlines()
    assert [json.loads(line) for line in lines] == rows
    out.write_text("\n".join(lines[:-1]) + "\n")
    again = large_batch.sweep(corpus, config, (32, 64), out)
    assert [row["bits_per_char"] for row in again] == [row["bits_per_char"] for row in rows]
    monkeypatch.setattr(large_batch, "run", lambda *_: pytest.fail("trained again"))
    assert large_batch.table(large_batch.sweep(corpus, config, (32, 64), out)).count("\n") == 6
