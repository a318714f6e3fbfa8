"""The training loop: a generator of events, readable on one screen; displays, logs and files are made by listeners."""

import math
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch

from nextchar.device import pick_device, pick_precision
from nextchar.errors import ConfigError, DivergenceError
from nextchar.evaluation.calibrate import calibrate
from nextchar.evaluation.score import Score, estimate, nats_of, score_spread, spread, sum_up
from nextchar.language_model import LanguageModel
from nextchar.model.network import Network, initialize
from nextchar.recipe import Recipe
from nextchar.storage import ModelFile, to_file, to_language_model
from nextchar.text.batches import BatchLoader
from nextchar.text.corpus import Corpus
from nextchar.training import events as event_types
from nextchar.training.autosize import VALIDATIONS, check_memory
from nextchar.training.clock import Clock
from nextchar.training.learner import Learner
from nextchar.training.ranks import ALONE, Ranks
from nextchar.training.resume import Snapshot, load_extended_vocabulary
from nextchar.training.schedule import is_sample_step, lr_factor

CHECKPOINT_SECONDS = 30.0
PROGRESS_SECONDS = 0.5


class Trainer:
    """One training.

    `events()` runs it, `snapshot()` returns everything needed to resume it, and `best_model()` its result.
    `training.start.make_trainer` builds one from a config. What is put into `origin` goes into the provenance of models.

    Args:
        corpus: The whole text, in the network's vocabulary.
        recipe: Sizes, optimization and the last step.
        begin: The first step of the budget; above 0 where a finished run is continued.
        clock: For a budget in minutes: moves the last step early in the run.
        init_from: A model to start from; rows for characters that it lacks are added.
        snapshot: Where to resume.
        ranks: The processes that train together; all make the same steps, and the first decides on their number.
    """

    def __init__(  # noqa: PLR0913 - all but two are keywords
        self,
        corpus: Corpus,
        recipe: Recipe,
        *,
        begin: int = 0,
        clock: Clock | None = None,
        init_from: ModelFile | None = None,
        snapshot: Snapshot | None = None,
        ranks: Ranks = ALONE,
    ) -> None:
        self.corpus, self.recipe, self.begin, self._clock, self._ranks = corpus, recipe, begin, clock, ranks
        self.origin: dict[str, str] = {}
        self.device = pick_device(recipe.device)
        self.precision, self.precision_reason = pick_precision(recipe.precision, self.device)
        training, self._valid, _ = corpus.split(recipe.valid, recipe.test)
        check_memory(recipe.architecture, recipe.chars_per_step, len(corpus.vocabulary))
        self.batches = BatchLoader(
            training, recipe.batch_size, recipe.seq_length, seed=recipe.seed, state_reset_prob=recipe.state_reset_prob
        )
        network = Network(recipe.architecture, len(corpus.vocabulary))
        generator = torch.Generator().manual_seed(recipe.seed)
        initialize(network, generator, how=recipe.init, forget_bias=recipe.forget_bias)
        if init_from:
            load_extended_vocabulary(init_from, network, corpus.vocabulary)
        self.learner = Learner(network, recipe, self.device, self.precision, ranks)
        self.step = self._first_step = 0
        self.best: ModelFile | None = None
        self._best_nats, self._since_best, self._stopping, self._asked = math.inf, 0, False, False
        self._state = network.empty_state(recipe.batch_size)
        if snapshot:
            self._restore(snapshot)
        self._training_seconds = self._validation_seconds = 0.0
        self._fastest = math.inf
        self._reset_meters()

    # -- the loop ------------------------------------------------------------------------------------------------

    def events(self) -> Iterator[event_types.Event]:
        """Train, and yield what happens. Reading the trainer between two events does not change the run."""
        self._begun = saved = time.monotonic()
        yield self._started()
        if self.step == self.begin:
            yield self._checkpoint()
        reason = "steps"
        while self._unfinished() and not self._stopping:
            before = self._training_seconds
            self._advance()
            self._fastest = min(self._fastest, self._training_seconds - before)
            last = self.step >= self.recipe.steps
            validating = last or self.step % self.recipe.eval_every == 0
            late = time.monotonic() - self._metered_at >= PROGRESS_SECONDS
            old = time.monotonic() - saved > CHECKPOINT_SECONDS
            times, self._stopping = self._ranks.agree(late, old, stop=self._asked)
            late, old = map(bool, times)
            if validating or late:
                yield self._progress()
            if is_sample_step(self.step) or last:
                yield event_types.SampleDue(self.step, self.seconds)
            if self._valid and validating:
                yield self._validated()
            if validating or old:
                yield self._checkpoint()
                saved = time.monotonic()
            if self._clock and self._unfinished():
                reason = self._keep_time(self._clock) or reason
        if self._unfinished():
            yield self._checkpoint()
            yield event_types.Stopped(self.step, self.seconds, self.recipe.steps)
        else:
            yield self._finish("patience" if self.step < self.recipe.steps else reason)

    def _unfinished(self) -> bool:
        """Return whether steps are left; a run that ended early keeps the steps that it had planned."""
        return self.step < self.recipe.steps and not 0 < self.recipe.patience <= self._since_best

    def stop(self) -> None:
        """Ask the loop to stop after the current step, or, where several processes train, after one that all make."""
        self._asked = True
        self._stopping = self._ranks.world == 1

    def _advance(self) -> None:
        """Make one step."""
        begun = time.monotonic()
        batch = self.batches.batch(self.step)
        factor = lr_factor(self.step, batch.epoch, self.recipe, begin=self.begin)
        self._rate = self.recipe.learning_rate * factor
        self.learner.step(batch, self._rate, self.step)
        self.step += 1
        self._training_seconds += time.monotonic() - begun

    # -- events --------------------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Seconds since `events` was called."""
        return time.monotonic() - self._begun

    def _checkpoint(self) -> event_types.CheckpointDue:
        """Collect the state of all processes."""
        self._state = self.learner.whole_state()
        return event_types.CheckpointDue(self.step, self.seconds)

    def _started(self) -> event_types.Started:
        return event_types.Started(
            step=self.step,
            seconds=self.seconds,
            network=f"{self.recipe.cell} {self.recipe.layers}x{self.recipe.hidden}",
            vocabulary=len(self.corpus.vocabulary),
            dropout=self.recipe.dropout + self.recipe.recurrent_dropout > 0,
            steps=self.recipe.steps,
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
        self._metered_at = time.monotonic()
        self._metered_step, self._metered_seconds = self.step, self._training_seconds

    def _progress(self) -> event_types.Progress:
        steps, seconds = self.step - self._metered_step, self._training_seconds - self._metered_seconds
        loss, norm = float(self.learner.losses) / steps, float(self.learner.norm)
        if not loss <= 2 * math.log(len(self.corpus.vocabulary) + 1) + 2:  # true for NaN, too
            raise self._diverged(f"the loss is {loss:.3g} nats per character")
        if not math.isfinite(norm):
            raise self._diverged(f"the norm of the gradient is {norm}")
        self._reset_meters()
        return event_types.Progress(
            step=self.step,
            seconds=self.seconds,
            steps=self.recipe.steps,
            epoch=self.step / self.batches.steps_per_epoch,
            loss=loss,
            learning_rate=self._rate,
            gradient_norm=norm,
            chars_per_second=steps * self.recipe.chars_per_step / max(seconds, 1e-9),
            seconds_left=(self.recipe.steps - self.step) * self._step_seconds() + self._later(),
        )

    def _diverged(self, what: str) -> DivergenceError:
        return DivergenceError(
            f"training diverged at step {self.step:,}: {what}; the last good state is kept; try again with a lower "
            f"--learning-rate (it was {self.recipe.learning_rate:g})"
        )

    def _validated(self) -> event_types.Validated:
        begun = time.monotonic()
        score = self._validate()
        (nats,), _ = self._ranks.agree(score.nats_per_char)
        score = replace(score, nats_per_char=nats)
        self._validation_seconds = time.monotonic() - begun
        if not math.isfinite(score.nats_per_char):
            raise self._diverged(f"the validation score is {score.nats_per_char}")
        best = score.nats_per_char < self._best_nats
        self._since_best = 0 if best else self._since_best + 1
        if best:
            self._best_nats = score.nats_per_char
            self.best = to_file(self.current_model(score)) if self._ranks.leads else None
        return event_types.Validated(self.step, self.seconds, score, best)

    def _validate(self) -> Score:
        """Score the validation part; several processes divide the stretches of a long one."""
        assert self._valid is not None
        network, vocabulary, limit = self.learner.network, self.corpus.vocabulary, self.recipe.eval_chars
        if self._ranks.world == 1 or len(self._valid) <= limit:
            if self._ranks.leads:
                return score_spread(network, self._valid, vocabulary, limit)
            return Score("stream", 0, 0, 0.0, 0.0, 0.0)  # that of the first process counts
        stretches = spread(self._valid, limit)
        first, last = (len(stretches) * part // self._ranks.world for part in (self._ranks.rank, self._ranks.rank + 1))
        nats = 0.0
        if first < last:
            own, window = stretches[first:last].reshape(-1), stretches.shape[1]
            blocks = nats_of(network, own, vocabulary.start, protocol="windows", window=window)
            nats = sum(map(math.fsum, blocks))
        total = self._ranks.sum(torch.tensor([nats], dtype=torch.float64))
        return sum_up("windows", [total.numpy()], stretches.reshape(-1), vocabulary)

    def _finish(self, reason: str) -> event_types.Finished:
        if reason == "steps" and self._clock and self.recipe.steps - self.begin >= self._clock.most_steps:
            reason = "text"
        score, temperature = None, 1.0
        if self._valid and self._ranks.leads:
            # The best model was chosen by short validations; the score that is reported reads more.
            kept = to_language_model(self.best_model(), self.device)
            temperature = calibrate(kept.network, self._valid) if self.recipe.calibrate else 1.0
            text = self._valid.take(0, self._final_chars(self.step))
            score = estimate(kept.network, text, self.corpus.vocabulary)
            final = {"steps": self.recipe.steps, "temperature": temperature, "valid": score.as_dict()}
            self.best = replace(to_file(kept), config=self._options(), provenance={**kept.provenance, **final})
        return event_types.Finished(
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
    def chars_per_second(self) -> float:
        """Training speed, without validations; 0 before the first step."""
        steps = self.step - self._first_step
        return steps * self.recipe.chars_per_step / max(self._training_seconds, 1e-9)

    def _step_seconds(self) -> float:
        return self._training_seconds / max(self.step - self._first_step, 1)

    def _later(self) -> float:
        """Estimate the seconds that validations and the end will still take."""
        validations = (self.recipe.steps - self.step) // self.recipe.eval_every
        return validations * self._one_validation() + self._ending(self.recipe.steps)

    def _one_validation(self) -> float:
        # The first steps can be slow, as on a busy machine, and a guess that is too high would end the run at once.
        return self._validation_seconds or 20 * self._fastest

    def _ending(self, steps: int) -> float:
        """Estimate the seconds after the last step: validation, calibration, the last score (with a repair), files."""
        validations = 1 + 2 * self._final_chars(steps) / self.recipe.eval_chars
        return validations * self._one_validation() + 2 if self._valid else 1.5

    def _final_chars(self, end: int) -> int:
        """Return how many validation characters the last score reads, so that it takes a few percent of the time."""
        trained = (end - self.begin) * self.recipe.chars_per_step
        return min(len(self._valid or ()), max(16_384, min(trained // 20, 131_072), trained // 40))

    def _keep_time(self, clock: Clock) -> str:
        """Move the last step while that is possible; return "time" if the run must end now."""
        before = [self.recipe.steps, self.recipe.eval_every]
        after = self._kept_time(clock) if self._ranks.leads else [0, 0, 0]
        (steps, every, over), _ = self._ranks.agree(*after)
        if [steps, every] != before:
            self.recipe = self.recipe.replace(steps=int(steps), eval_every=int(every))
        return "time" if over else ""

    def _kept_time(self, clock: Clock) -> list[int]:
        """Return the last step and the interval of validations as they should be, and whether the run must end now."""
        steps, every = self.recipe.steps, self.recipe.eval_every
        if self.step - self._first_step < 2:  # the first step tells nothing
            return [steps, every, False]
        moved = clock.review(
            self.step - self.begin,
            self.recipe.steps - self.begin,
            training_seconds=self._training_seconds,
            later=self._later(),
            hold=self.recipe.hold_fraction,
        )
        if moved is not None:
            steps = self.begin + moved
            wanted = math.ceil(moved / VALIDATIONS)
            every = wanted if clock.moves_validations and wanted > 2 * every else every
        if clock.over(self._ending(steps)):
            return [self.step + 1, every, True]
        return [steps, every, False]

    # -- values --------------------------------------------------------------------------------------------------

    def current_model(self, score: Score | None = None) -> LanguageModel:
        """Return the network in its present state."""
        provenance: dict[str, Any] = {
            "texts": list(self.corpus.names),
            "corpus": self.corpus.key,
            "step": self.step,
            "steps": self.recipe.steps,
            "epochs": round(self.step / self.batches.steps_per_epoch, 4),
            "precision": self.precision,
            "valid": score.as_dict() if score else None,
            **self.origin,
        }
        return LanguageModel(self.learner.network, self.corpus.vocabulary, self._options(), provenance)

    def _options(self) -> dict[str, Any]:
        return self.recipe.model_dump(exclude_none=True, mode="json")

    def best_model(self) -> ModelFile:
        """Return the best model on validation so far, or the present one if there is none."""
        return self.best or to_file(self.current_model())

    def snapshot(self) -> Snapshot:
        """Return everything needed to resume with the same bits; with several processes, as of the last checkpoint due.

        Raises:
            DivergenceError: The weights are not finite, so the last snapshot is better.
        """
        model = to_file(self.current_model())
        if not all(math.isfinite(float(array.sum())) for array in model.arrays.values()):
            raise self._diverged("a weight is not finite")
        return Snapshot(
            recipe=self.recipe,
            vocabulary=self.corpus.vocabulary,
            corpus=self.corpus.key,
            step=self.step,
            begin=self.begin,
            best_nats=self._best_nats,
            since_best=self._since_best,
            weights=model.arrays,
            optimizer=self.learner.optimizer_arrays(),
            state=self.learner.state if self._ranks.world == 1 else self._state,
            best=self.best,
        )

    def _restore(self, snapshot: Snapshot) -> None:
        if snapshot.state[0][0].shape != self._state[0][0].shape:
            raise ConfigError(
                "a resumed run keeps its batch size and network; --init-from starts a new run with others"
            )
        self.learner.restore(snapshot.weights, snapshot.optimizer, snapshot.state)
        self._state = snapshot.state
        self.step = self._first_step = snapshot.step
        self._best_nats, self.best = snapshot.best_nats, snapshot.best
        # A new budget starts with new patience.
        self._since_best = snapshot.since_best if self.begin < snapshot.step else 0
