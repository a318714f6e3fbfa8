import math
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch

from nextchar.architecture import Cell
from nextchar.config import Config
from nextchar.errors import ConfigError, DivergenceError, TextError
from nextchar.evaluation.score import Score
from nextchar.storage import ModelFile
from nextchar.text.corpus import Corpus
from nextchar.training import probe, start
from nextchar.training import trainer as room
from nextchar.training.autosize import most_epochs
from nextchar.training.events import CheckpointDue, Event, Finished, Progress, SampleDue, Started, Stopped, Validated
from nextchar.training.resume import Snapshot
from nextchar.training.start import make_trainer
from nextchar.training.trainer import Trainer

SMALL = Config(
    steps=20, hidden=12, embedding=8, batch_size=4, seq_length=16, dropout=0.3, learning_rate=4e-3, eval_every=5
)


def run(trainer: Trainer) -> list[Event]:
    """Run a training to its end."""
    return list(trainer.events())


def snapshot_at(corpus: Corpus, config: Config, step: int) -> Snapshot:
    """Run a training and return its snapshot at a step."""
    trainer = make_trainer(corpus, config)
    for _ in trainer.events():
        if trainer.step == step:
            break
    while trainer.step < step:
        trainer._advance()
    return trainer.snapshot()


def same(one: Snapshot, other: Snapshot) -> bool:
    """Tell whether two snapshots are the same to the bit."""
    arrays = [(one.weights, other.weights), (one.optimizer, other.optimizer)]
    equal = all(a.keys() == b.keys() and all(np.array_equal(a[k], b[k]) for k in a) for a, b in arrays)
    states = zip(sum(one.state, ()), sum(other.state, ()), strict=True)
    return equal and all(torch.equal(a, b) for a, b in states) and one.best_nats == other.best_nats


@pytest.mark.slow
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
@pytest.mark.parametrize("optimizer", ["cautious", "adamw", "rmsprop"])
def test_going_on_is_the_same_to_the_bit(corpus: Corpus, cell: Cell, optimizer: str) -> None:
    """Twenty steps are ten, a snapshot, and ten more in a new trainer."""
    config = SMALL.replace(cell=cell, optimizer=optimizer)
    whole = make_trainer(corpus, config)
    run(whole)
    second = make_trainer(corpus, snapshot=snapshot_at(corpus, config, 10))
    run(second)
    assert same(whole.snapshot(), second.snapshot())


def test_a_seed_gives_the_same_weights(corpus: Corpus) -> None:
    """The same config twice gives the same bits, another seed others."""
    first, again, other = (make_trainer(corpus, SMALL.replace(seed=seed)) for seed in (1, 1, 2))
    for trainer in (first, again, other):
        run(trainer)
    assert same(first.snapshot(), again.snapshot())
    assert not same(first.snapshot(), other.snapshot())


def test_events_tell_the_story_in_order(corpus: Corpus) -> None:
    """It starts, can be saved before the first step, validates as planned, and finishes with the score of the best."""
    seen = run(make_trainer(corpus, SMALL.replace(calibrate=False)))
    assert isinstance(seen[0], Started)
    assert isinstance(seen[1], CheckpointDue)
    assert [event.step for event in seen if isinstance(event, Validated)] == [5, 10, 15, 20]
    assert [event.step for event in seen if isinstance(event, SampleDue)] == [10, 20]
    last = seen[-1]
    assert isinstance(last, Finished)
    assert last.reason == "steps"
    assert last.score is not None
    best = min(event.score.nats_per_char for event in seen if isinstance(event, Validated))
    assert last.score.nats_per_char == pytest.approx(best, abs=1e-6)


def test_every_validation_is_followed_by_a_checkpoint(corpus: Corpus) -> None:
    """A best model is never newer than the snapshot that knows of it for longer than one event."""
    seen = run(make_trainer(corpus, SMALL))
    for event, after in pairwise(seen):
        if isinstance(event, Validated):
            assert isinstance(after, CheckpointDue)


def measured(monkeypatch: pytest.MonkeyPatch, flops: float) -> None:
    """Let the probe of the machine find this speed, and compile nothing ahead."""
    monkeypatch.setattr(start, "compile_ahead", lambda *_: 0.0)
    monkeypatch.setattr(start, "measure_flops", lambda *_, **__: flops)
    monkeypatch.setattr(start, "faster_kernels", lambda *_, **__: ("compiled", flops))


def pretend(monkeypatch: pytest.MonkeyPatch, *values: float) -> None:
    """Let validations find these scores, one after the other."""
    real, left = Trainer._validate, iter(values)

    def validate(self: Trainer) -> Score:
        return replace(real(self), nats_per_char=next(left))

    monkeypatch.setattr(Trainer, "_validate", validate)


def test_the_best_model_is_kept(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """When validation gets worse, the model from before is the result."""
    pretend(monkeypatch, 1.0, 0.5, 2.0, 3.0)
    trainer = make_trainer(corpus, SMALL)
    run(trainer)
    assert trainer.best_model().provenance["step"] == 10


def test_patience_ends_a_run_early(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many validations without a new best, training stops and says why."""
    pretend(monkeypatch, 1.0, 2.0, 3.0)
    last = run(make_trainer(corpus, SMALL.replace(patience=2, steps=100)))[-1]
    assert isinstance(last, Finished)
    assert (last.step, last.reason) == (15, "patience")


def test_a_run_that_lost_patience_is_finished(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """It keeps the steps it planned, its snapshot makes no other step, and a new budget comes with new patience."""
    pretend(monkeypatch, 1.0, 2.0, 3.0, 4.0, 0.5, 4.0)
    monkeypatch.setattr(Trainer, "_finish", lambda self, reason: Finished(self.step, 0.0, reason, 0.0, 0.0, None))
    trainer = make_trainer(corpus, SMALL.replace(patience=2, steps=100))
    saved = [trainer.snapshot() for event in trainer.events() if isinstance(event, CheckpointDue)]
    assert [(each.step, each.unfinished) for each in saved] == [(0, True), (5, True), (10, True), (15, False)]
    assert trainer.recipe.steps == saved[-1].recipe.steps == 100
    again = run(make_trainer(corpus, snapshot=saved[-1]))
    assert [type(event) for event in again] == [Started, Finished]
    more = make_trainer(corpus, saved[-1].recipe.to_config().replace(steps=15, eval_every=5), snapshot=saved[-1])
    assert run(more)[-1] == Finished(30, 0.0, "steps", 0.0, 0.0, None)


def test_nothing_is_asked_of_the_clock_after_patience(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run in minutes that loses patience ends for that reason, whatever the time."""
    measured(monkeypatch, 1e8)
    monkeypatch.setattr(Trainer, "_keep_time", lambda self, _: "time" if self._since_best else "")
    pretend(monkeypatch, 1.0, 2.0)
    last = run(make_trainer(corpus, SMALL.replace(patience=1, steps=None, minutes=1)))[-1]
    assert isinstance(last, Finished)
    assert (last.step, last.reason) == (10, "patience")


@pytest.mark.slow
def test_a_short_text_ends_a_long_budget(corpus: Corpus) -> None:
    """A text is read as often as it is worth, however much time is left, and the last event says so."""
    text = corpus.vocabulary.decode(corpus.take(0, 900))
    trainer = make_trainer(Corpus.from_text(text), Config(minutes=30, hidden=8, seq_length=16, batch_size=4))
    last = run(trainer)[-1]
    assert isinstance(last, Finished)
    assert last.reason == "text"
    read = trainer.step * trainer.recipe.chars_per_step
    assert read == pytest.approx(most_epochs(1) * len(trainer.batches.corpus), rel=0.01)
    assert last.seconds < 900


def test_stopping_saves_and_can_go_on(corpus: Corpus) -> None:
    """A training asked to stop ends after the step at hand with a checkpoint, and goes on to the same bits."""
    trainer = make_trainer(corpus, SMALL)
    seen: list[Event] = []
    for event in trainer.events():
        seen.append(event)
        if isinstance(event, SampleDue) and event.step == 10:
            trainer.stop()
    assert isinstance(seen[-1], Stopped)
    assert isinstance(seen[-2], CheckpointDue)
    again = make_trainer(corpus, snapshot=trainer.snapshot())
    run(again)
    whole = make_trainer(corpus, SMALL)
    run(whole)
    assert same(again.snapshot(), whole.snapshot())


def test_divergence_is_told_and_nothing_bad_is_saved(corpus: Corpus) -> None:
    """A learning rate that explodes raises one sentence, and no snapshot of weights that are not finite is made."""
    trainer = make_trainer(corpus, SMALL.replace(learning_rate=1e9, grad_clip_norm=0.0, warmup=0, steps=200))
    with pytest.raises(DivergenceError, match=r"diverged at step .* lower --learning-rate"):
        run(trainer)
    with torch.no_grad():
        next(trainer.learner.network.parameters()).fill_(math.nan)
    with pytest.raises(DivergenceError, match="the last good state is kept"):
        trainer.snapshot()


def test_a_gradient_without_a_norm_is_told_as_such(corpus: Corpus) -> None:
    """Where the loss is sound and the gradient is not, the sentence is about the gradient."""
    trainer = make_trainer(corpus, SMALL)
    events = trainer.events()
    next(events)
    trainer._advance()
    trainer.learner.norm = torch.tensor(math.inf)
    with pytest.raises(DivergenceError, match="the norm of the gradient is inf"):
        trainer._progress()


def test_a_new_budget_goes_on_from_the_end(corpus: Corpus) -> None:
    """A finished run with a new budget keeps its weights, counts on and anneals again."""
    trainer = make_trainer(corpus, SMALL)
    run(trainer)
    done = trainer.snapshot()
    assert not done.unfinished
    more = make_trainer(corpus, done.recipe.to_config().replace(steps=7), snapshot=done)
    assert (more.begin, more.recipe.steps) == (20, 27)
    seen = run(more)
    assert seen[-1].step == 27


def test_another_text_cannot_be_resumed(corpus: Corpus, text: str) -> None:
    """A snapshot refuses a text that is not its own."""
    snapshot = snapshot_at(corpus, SMALL, 5)
    with pytest.raises(TextError, match="not the one this run was trained on"):
        make_trainer(Corpus.from_text(text[::-1]), snapshot=snapshot)
    # Before it is told that this one is too short to be cut, or has other characters.
    for other in ("\0", "☃" * 1000):
        with pytest.raises(TextError, match="not the one this run was trained on"):
            make_trainer(Corpus.from_text(other), snapshot=snapshot)


def test_starting_from_a_model_keeps_shared_rows(corpus: Corpus, model_file: ModelFile) -> None:
    """With a text of other characters, rows of shared characters are kept and new ones are fresh."""
    other = Corpus.from_text("äöü éè " * 300 + "def import return " * 100)
    trainer = make_trainer(other, SMALL.replace(hidden=99), init_from=model_file)
    arrays = {name: parameter.detach().numpy() for name, parameter in trainer.learner.network.named_parameters()}
    assert trainer.learner.network.architecture == model_file.architecture
    assert set(trainer.corpus.vocabulary.codes) == {*corpus.vocabulary.codes, *other.vocabulary.codes}
    for character in "dei":
        old, new = corpus.vocabulary.encode(character)[0], trainer.corpus.vocabulary.encode(character)[0]
        assert np.array_equal(arrays["head.weight"][new], model_file.arrays["head.weight"][old])
        assert np.array_equal(arrays["embedding.weight"][new], model_file.arrays["embedding.weight"][old])
    assert np.array_equal(arrays["embedding.weight"][-1], model_file.arrays["embedding.weight"][-1])
    assert np.array_equal(arrays["layers.1.weight_hh"], model_file.arrays["layers.1.weight_hh"])
    run(trainer)


def test_minutes_become_steps_and_hold(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that ticks evenly, a budget in minutes ends within a tenth of it, however wrong the first guess was."""
    now = [0.0]

    def advance(self: Trainer) -> None:
        now[0] += 0.02
        self._training_seconds += 0.02
        self._rate = 0.0
        self.step += 1

    monkeypatch.setattr(room.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Trainer, "_advance", advance)
    for guess in (1e6, 1e8):
        measured(monkeypatch, guess)
        now[0] = 0.0
        trainer = make_trainer(corpus, SMALL.replace(steps=None, minutes=1.0, eval_every=10_000))
        last = run(trainer)[-1]
        assert isinstance(last, Finished)
        assert 54 <= now[0] <= 66
        assert trainer.recipe.steps == last.step


@pytest.mark.parametrize("slow", [1.0, 5.0])
def test_a_slow_first_step_does_not_end_a_run(corpus: Corpus, monkeypatch: pytest.MonkeyPatch, slow: float) -> None:
    """On a busy machine it may take as long as fifty others; the budget is used all the same."""
    now = [0.0]

    def advance(self: Trainer) -> None:
        seconds = slow if not self.step else 0.02
        now[0] += seconds
        self._training_seconds += seconds
        self._rate = 0.0
        self.step += 1

    monkeypatch.setattr(room.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(Trainer, "_advance", advance)
    measured(monkeypatch, 1e7)
    trainer = make_trainer(corpus, SMALL.replace(steps=None, minutes=0.5, eval_every=10_000))
    last = run(trainer)[-1]
    assert isinstance(last, Finished)
    assert 26 <= now[0] <= 33


@pytest.mark.parametrize(("minutes", "epochs"), [(None, 0.5)])
def test_epochs_become_steps(corpus: Corpus, minutes: None, epochs: float) -> None:
    """A budget in epochs is that many passes over the training part."""
    trainer = make_trainer(corpus, SMALL.replace(steps=None, epochs=epochs, minutes=minutes))
    assert trainer.recipe.steps == round(epochs * trainer.batches.steps_per_epoch)


def test_sizes_that_no_machine_has_are_refused(corpus: Corpus) -> None:
    """A network larger than the memory is refused with both sizes before anything is allocated."""
    with pytest.raises(ConfigError, match=r"need about [\d,.]+ GiB, and this machine has"):
        make_trainer(corpus, Config(steps=1, hidden=16384, layers=64))


def test_a_run_without_validation_keeps_its_last_model(corpus: Corpus) -> None:
    """With no validation part there is no score, and the result is the network at the end."""
    trainer = make_trainer(corpus, SMALL.replace(valid=0.0))
    last = run(trainer)[-1]
    assert isinstance(last, Finished)
    assert last.score is None
    assert trainer.best_model().provenance["step"] == 20


def test_the_loss_is_what_progress_says(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Progress reports finite nats near ln V at the start."""
    monkeypatch.setattr(room, "PROGRESS_SECONDS", 0.0)
    progress = [event for event in run(make_trainer(corpus, SMALL)) if isinstance(event, Progress)]
    assert len(progress) == 20
    assert make_trainer(corpus, SMALL).chars_per_second == 0.0
    assert progress[0].loss == pytest.approx(math.log(len(corpus.vocabulary)), rel=0.1)


@pytest.mark.parametrize(("theirs", "kernels"), [(1.2e9, "torch"), (1.05e9, "compiled")])
def test_the_kernels_that_are_faster_are_kept_in_the_run(
    corpus: Corpus, monkeypatch: pytest.MonkeyPatch, theirs: float, kernels: str
) -> None:
    """A budget in minutes measures our kernels and torch's, trains with the faster ones, and so does a resumed run."""
    speeds = {"compiled": 1e9, "torch": theirs}
    monkeypatch.setattr(start, "compile_ahead", lambda *_: 0.0)
    monkeypatch.setattr(start, "measure_flops", lambda recipe, *_, **__: speeds[recipe.kernels])
    monkeypatch.setattr(probe, "measure_flops", lambda recipe, *_, **__: speeds[recipe.kernels])
    trainer = make_trainer(corpus, SMALL.replace(hidden=16, steps=None, minutes=1))
    assert trainer.recipe.kernels == kernels
    assert trainer.learner._compiled is (kernels == "compiled" and trainer.learner.network.is_compiled())
    again = make_trainer(corpus, snapshot=trainer.snapshot())
    assert again.recipe.kernels == kernels


def test_compiling_is_no_part_of_the_budget(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The seconds that compiling takes are reported, and the clock does not count them."""
    measured(monkeypatch, 1e8)
    now, said = [100.0], []

    def compile_ahead(_: object) -> float:
        now[0] += 42.0
        return 42.0

    monkeypatch.setattr(start, "compile_ahead", compile_ahead)
    monkeypatch.setattr(room.time, "monotonic", lambda: now[0])
    trainer = make_trainer(corpus, SMALL.replace(steps=None, minutes=1), spent=3.0, say=said.append)
    assert trainer._clock
    assert trainer._clock.seconds() == pytest.approx(3.0)
    assert "compiled for this processor in 42 s" in said[0]
    assert said[1] == "measuring this machine ..."


def test_everything_that_is_compiled_is_compiled_ahead() -> None:
    """After the exercise, a training of another size with a score and a sample needs no other compiled function."""
    code = """
import sys
from nextchar.config import Config
from nextchar.sampling.sample import sample
from nextchar.text.corpus import Corpus
from nextchar.training import start

def compiled():
    kernels = [module for name, module in sys.modules.items() if name.startswith("nextchar.kernels.")]
    functions = {f for module in kernels for f in vars(module).values() if hasattr(f, "signatures")}
    return {(f.__name__, str(signature)) for f in functions for signature in f.signatures}

config = Config(minutes=1)
start.exercise(config)
ahead = compiled()
given = {"hidden": 32, "batch_size": 8, "seq_length": 16, "dropout": 0.1, "recurrent_dropout": 0.1, "steps": 3}
trainer = start.make_trainer(Corpus.from_text("to be or not to be " * 300), config.replace(**given))
for _ in trainer.events():
    pass
sample(trainer.best_model())
assert ahead
assert compiled() == ahead, compiled() - ahead
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
