"""The training loop: one generator of events, readable on one screen; printers, loggers and savers listen to it."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from nextchar.config import DEFAULT_MINUTES, Config, required
from nextchar.device import pick_device, pick_precision
from nextchar.errors import ConfigError, DivergenceError
from nextchar.evaluation.calibrate import calibrate
from nextchar.evaluation.score import Score, estimate, score_spread
from nextchar.language_model import LanguageModel
from nextchar.model.network import Network, initialize
from nextchar.storage import ModelFile, to_file, to_language_model
from nextchar.text.batches import BatchLoader
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import Vocabulary
from nextchar.training.budget import VALIDATIONS, Clock, check_memory, measure_flops, plan, scored_last
from nextchar.training.events import (
    CheckpointDue,
    Event,
    Finished,
    Progress,
    SampleDue,
    Started,
    Stopped,
    Validated,
)
from nextchar.training.learner import Learner
from nextchar.training.resume import Snapshot, load_extended_vocabulary
from nextchar.training.schedule import hold_fraction, is_sample_step, lr_factor

CHECKPOINT_SECONDS = 30.0
PROGRESS_SECONDS = 0.5


def train(corpus: Corpus, config: Config | None = None) -> LanguageModel:
    """Train on a corpus to the end of the budget; return the best model on the validation part.

    Example:
        >>> lm = train(Corpus.from_text("to be or not to be " * 500), Config(steps=20, hidden=16))
    """
    trainer = Trainer(corpus, config or Config())
    for _ in trainer.events():
        pass
    return to_language_model(trainer.best_model())


class Trainer:
    """One training, step by step.

    `events()` runs it; whatever it needs to go on later is in `snapshot()`, and its best model in `best_model()`.
    """

    def __init__(
        self,
        corpus: Corpus,
        config: Config | None = None,
        *,
        init_from: ModelFile | None = None,
        snapshot: Snapshot | None = None,
        spent: float = 0.0,
    ) -> None:
        """Prepare a training.

        Args:
            corpus: The whole text.
            config: What is open in it is chosen here. With a snapshot: its own config with a new budget, or None to
                go on to the end of the budget it had.
            init_from: A model to start from: its shape is kept, and rows for new characters are added.
            snapshot: Where to go on.
            spent: Seconds of a budget in minutes that are gone already.
        """
        begun = time.monotonic()
        goes_on = snapshot is not None and config is None
        config = config or (snapshot.config if snapshot else Config())
        vocabulary = corpus.vocabulary
        if snapshot:
            snapshot.must_be_of(corpus)
            vocabulary = snapshot.vocabulary
        elif init_from:
            vocabulary = init_from.vocabulary.union(vocabulary)
            config = config.replace(**init_from.architecture.as_dict())
        self.corpus = corpus if vocabulary == corpus.vocabulary else corpus.in_vocabulary(vocabulary)
        self.vocabulary: Vocabulary = vocabulary
        self.device = pick_device(config.device)
        self.precision, self.precision_reason = pick_precision(config.precision, self.device)
        training, self._valid, _ = self.corpus.split(config.valid, config.test)

        self.step = self._done_before = snapshot.step if snapshot else 0
        if snapshot and goes_on:
            self.config, self.begin, self.steps = config, snapshot.begin, snapshot.steps
        else:
            self._choose(config, len(training))
        config = self.config
        check_memory(config, len(vocabulary))
        self.batches = BatchLoader(
            training,
            required(config.batch_size, "batch_size"),
            required(config.seq_length, "seq_length"),
            seed=config.seed,
            state_reset_prob=config.state_reset_prob,
        )
        network = Network(config.architecture(), len(vocabulary))
        generator = torch.Generator().manual_seed(config.seed)
        initialize(network, generator, how=config.init, forget_bias=config.forget_bias)
        if init_from:
            load_extended_vocabulary(init_from, network, vocabulary)
        self.learner = Learner(network, config, self.device, self.precision)
        self.best: ModelFile | None = None
        self._best_nats, self._since_best, self._stopping = math.inf, 0, False
        if snapshot:
            self._restore(snapshot, goes_on)
        timed = config.minutes is not None and not goes_on
        self._clock = Clock(config.minutes or 0.0, spent + time.monotonic() - begun) if timed else None
        self._training_seconds = self._look_seconds = 0.0
        self._reset_meters()

    def _choose(self, config: Config, characters: int) -> None:
        """Set `config`, `begin` and `steps`: all sizes chosen, and where the budget begins and ends."""
        timed = config.steps is None and config.epochs is None
        if timed and config.minutes is None:
            config = config.replace(minutes=DEFAULT_MINUTES)
        size, flops = len(self.vocabulary), 0.0
        if timed:
            flops = measure_flops(config, size, self.device, self.precision)
            # Speed depends on the size, and the size on the speed: it is measured again at the size it led to.
            first = plan(config, characters, size, flops).config
            flops = measure_flops(first, size, self.device, self.precision)
        planned = plan(config, characters, size, flops)
        self._looks_are_chosen = config.eval_every is None
        self.config, self.begin, self.steps = planned.config, self.step, self.step + planned.steps
        self._most = planned.most

    # -- the loop ------------------------------------------------------------------------------------------------

    def events(self) -> Iterator[Event]:
        """Train, and yield what happens. Between two events the caller may do what it likes with the trainer."""
        self._begun = time.monotonic()
        yield self._started()
        if self.step == self.begin:
            yield CheckpointDue(self.step, self.seconds)
        saved = time.monotonic()
        reason = "steps"
        while self._unfinished() and not self._stopping:
            self._advance()
            last = self.step >= self.steps
            look = last or self.step % required(self.config.eval_every, "eval_every") == 0
            if look or time.monotonic() - self._since >= PROGRESS_SECONDS:
                yield self._progress()
            if is_sample_step(self.step) or last:
                yield SampleDue(self.step, self.seconds)
            if self._valid and look:
                yield self._validate()
            if look or time.monotonic() - saved > CHECKPOINT_SECONDS:
                yield CheckpointDue(self.step, self.seconds)
                saved = time.monotonic()
            if self._clock and self._unfinished():
                reason = self._keep_time(self._clock) or reason
        if self._unfinished():
            yield CheckpointDue(self.step, self.seconds)
            yield Stopped(self.step, self.seconds, self.steps)
        else:
            yield self._finish("patience" if self.step < self.steps else reason)

    def _unfinished(self) -> bool:
        """Tell whether steps are left, as `Snapshot.unfinished` does; what ends early keeps the steps it had planned."""
        return self.step < self.steps and not 0 < self.config.patience <= self._since_best

    def stop(self) -> None:
        """Ask the loop to stop after the step at hand."""
        self._stopping = True

    def _advance(self) -> None:
        """Make one step."""
        begun = time.monotonic()
        batch = self.batches.batch(self.step)
        self._rate = required(self.config.learning_rate, "learning_rate") * lr_factor(
            self.step, batch.epoch, self.config, begin=self.begin, steps=self.steps
        )
        self.learner.step(batch, self._rate, self.step)
        self.step += 1
        self._training_seconds += time.monotonic() - begun

    # -- what the loop reports -----------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Seconds since `events` was called."""
        return time.monotonic() - self._begun

    def _started(self) -> Started:
        return Started(
            step=self.step,
            seconds=self.seconds,
            steps=self.steps,
            steps_per_epoch=self.batches.steps_per_epoch,
            parameters=self.learner.network.size(),
            train_chars=len(self.batches.corpus),
            valid_chars=len(self._valid) if self._valid else 0,
            device=str(self.device),
            precision=self.precision,
            reason=self.precision_reason,
        )

    def _reset_meters(self) -> None:
        self.learner.losses.zero_()
        self._since, self._from, self._from_seconds = time.monotonic(), self.step, self._training_seconds

    def _progress(self) -> Progress:
        steps = self.step - self._from
        seconds = self._training_seconds - self._from_seconds
        loss, norm = float(self.learner.losses) / steps, float(self.learner.norm)
        if not loss <= 2 * math.log(len(self.vocabulary) + 1) + 2:  # nor is a NaN
            raise self._diverged(f"the loss is {loss:.3g} nats per character")
        if not math.isfinite(norm):
            raise self._diverged(f"the norm of the gradient is {norm}")
        self._reset_meters()
        return Progress(
            step=self.step,
            seconds=self.seconds,
            steps=self.steps,
            epoch=self.step / self.batches.steps_per_epoch,
            loss=loss,
            learning_rate=self._rate,
            gradient_norm=norm,
            chars_per_second=steps * self.chars_per_step / max(seconds, 1e-9),
            seconds_left=(self.steps - self.step) * self._step_seconds() + self._later(),
        )

    def _diverged(self, what: str) -> DivergenceError:
        return DivergenceError(
            f"training diverged at step {self.step:,}: {what}; the last good state is kept; try again with a lower "
            f"--learning-rate (it was {self.config.learning_rate:g})"
        )

    def _validate(self) -> Validated:
        begun = time.monotonic()
        score = self._look()
        self._look_seconds = time.monotonic() - begun
        if not math.isfinite(score.nats_per_char):
            raise self._diverged(f"the validation score is {score.nats_per_char}")
        best = score.nats_per_char < self._best_nats
        self._since_best = 0 if best else self._since_best + 1
        if best:
            self._best_nats, self.best = score.nats_per_char, to_file(self.current_model(score))
        return Validated(self.step, self.seconds, score, best)

    def _look(self) -> Score:
        assert self._valid is not None
        limit = required(self.config.eval_chars, "eval_chars")
        return score_spread(self.learner.network, self._valid, self.vocabulary, limit)

    def _finish(self, reason: str) -> Finished:
        if reason == "steps" and self._clock and self.steps - self.begin >= self._most:
            reason = "text"
        score, temperature = None, 1.0
        if self._valid:
            # The best was picked by quick looks; what is reported is read further, and belongs to the kept model.
            kept = to_language_model(self.best_model(), self.device)
            temperature = calibrate(kept.network, self._valid) if self.config.calibrate else 1.0
            score = estimate(kept.network, self._valid.take(0, self._final_chars(self.step)), self.vocabulary)
            told = {"steps": self.steps, "temperature": temperature, "valid": score.as_dict()}
            self.best = replace(to_file(kept), config=self._options(), provenance={**kept.provenance, **told})
        return Finished(
            step=self.step,
            seconds=self.seconds,
            reason=reason,
            epochs=self.step / self.batches.steps_per_epoch,
            chars_per_second=self.chars_per_second,
            score=score,
            temperature=temperature,
        )

    # -- time ----------------------------------------------------------------------------------------------------

    @property
    def chars_per_step(self) -> int:
        """N times T."""
        return self.batches.batch_size * self.batches.seq_length

    @property
    def chars_per_second(self) -> float:
        """Characters learnt from in a second of steps; 0 before the first."""
        return (self.step - self._done_before) * self.chars_per_step / max(self._training_seconds, 1e-9)

    def _step_seconds(self) -> float:
        return self._training_seconds / max(self.step - self._done_before, 1)

    def _later(self) -> float:
        """Estimate the seconds that validations and the end will still take."""
        looks = (self.steps - self.step) // required(self.config.eval_every, "eval_every")
        return looks * self._one_look() + self._ending()

    def _one_look(self) -> float:
        return self._look_seconds or 20 * self._step_seconds()

    def _ending(self) -> float:
        """Estimate the seconds after the last step: a look, calibration, the last score (with a repair), files and curve."""
        looks = 1 + 2 * self._final_chars(self.steps) / required(self.config.eval_chars, "eval_chars")
        return looks * self._one_look() + 2 if self._valid else 1.5

    def _final_chars(self, end: int) -> int:
        """Return how much of the validation part the last score reads, if the last step is `end`."""
        return min(len(self._valid or ()), scored_last((end - self.begin) * self.chars_per_step))

    def _keep_time(self, clock: Clock) -> str:
        """Move the end while it can be moved; return "time" if the run must end now."""
        moved = clock.review(
            self.step - self.begin,
            self.steps - self.begin,
            training_seconds=self._training_seconds,
            later=self._later(),
            hold=hold_fraction(self.config),
        )
        if moved is not None:
            self.steps = self.begin + min(moved, self._most)
            every = math.ceil((self.steps - self.begin) / VALIDATIONS)
            if self._looks_are_chosen and every > 2 * required(self.config.eval_every, "eval_every"):
                self.config = self.config.replace(eval_every=every)
        if clock.over(self._ending()):
            self.steps = self.step + 1
            return "time"
        return ""

    # -- values --------------------------------------------------------------------------------------------------

    def current_model(self, score: Score | None = None) -> LanguageModel:
        """Return the network as it is, as a language model."""
        provenance: dict[str, Any] = {
            "texts": list(self.corpus.names),
            "corpus": self.corpus.key,
            "step": self.step,
            "steps": self.steps,
            "epochs": round(self.step / self.batches.steps_per_epoch, 4),
            "precision": self.precision,
            "valid": score.as_dict() if score else None,
        }
        return LanguageModel(self.learner.network, self.vocabulary, self._options(), provenance)

    def _options(self) -> dict[str, Any]:
        return self.record().model_dump(exclude_none=True, mode="json")

    def record(self) -> Config:
        """Return the config that repeats this run: nothing open, and the budget in steps."""
        return self.config.replace(minutes=None, epochs=None, steps=self.steps)

    def best_model(self) -> ModelFile:
        """Return the best model on validation so far, or the network as it is."""
        return self.best or to_file(self.current_model())

    def snapshot(self) -> Snapshot:
        """Return everything needed to go on to the bit.

        Raises:
            DivergenceError: The weights are not finite any more, so the last snapshot is better.
        """
        model = to_file(self.current_model())
        if not all(math.isfinite(float(array.sum())) for array in model.arrays.values()):
            raise self._diverged("a weight is not finite")
        return Snapshot(
            config=self.record(),
            vocabulary=self.vocabulary,
            corpus=self.corpus.key,
            step=self.step,
            begin=self.begin,
            steps=self.steps,
            best_nats=self._best_nats,
            since_best=self._since_best,
            weights=model.arrays,
            optimizer=self.learner.optimizer_arrays(),
            state=self.learner.state,
            best=self.best,
        )

    def _restore(self, snapshot: Snapshot, goes_on: bool) -> None:
        if snapshot.state[0][0].shape != self.learner.state[0][0].shape:
            raise ConfigError(
                "a resumed run keeps its lanes and sizes; --init-from starts a new run with others"
            )
        self.learner.restore(snapshot.weights, snapshot.optimizer, snapshot.state)
        self._best_nats, self.best = snapshot.best_nats, snapshot.best
        # A new budget comes with new patience.
        self._since_best = snapshot.since_best if goes_on else 0
