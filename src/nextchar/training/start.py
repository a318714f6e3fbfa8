"""From a corpus and a config to a trainer: vocabulary, the probe of the machine, sizes, kernels and the clock."""

import time
from collections.abc import Callable
from math import gcd
from typing import Any

from nextchar.config import DEFAULT_MINUTES, Config
from nextchar.device import pick_device, pick_precision
from nextchar.errors import TextError
from nextchar.kernels.compile_cache import compile_ahead
from nextchar.recipe import Recipe
from nextchar.sampling.options import SampleOptions
from nextchar.sampling.sample import sample
from nextchar.storage import ModelFile, to_file
from nextchar.text.corpus import Corpus
from nextchar.training.autosize import most_steps, plan
from nextchar.training.clock import Clock
from nextchar.training.probe import faster_kernels, measure_flops
from nextchar.training.ranks import ALONE, Ranks
from nextchar.training.resume import Snapshot, to_bytes
from nextchar.training.trainer import Trainer


def make_trainer(  # noqa: PLR0913 - all but two are keywords
    corpus: Corpus,
    config: Config | None = None,
    *,
    init_from: ModelFile | None = None,
    snapshot: Snapshot | None = None,
    spent: float = 0.0,
    say: Callable[[str], object] = lambda _: None,
    ranks: Ranks = ALONE,
) -> Trainer:
    """Plan a training, and return it ready to run.

    Args:
        corpus: The whole text.
        config: Options; those that are not set are chosen. With a snapshot: None resumes its budget.
        init_from: A model to start from: its shape and vocabulary are kept, and new characters are added.
        snapshot: A run to resume, or to continue with the budget of `config`.
        spent: Seconds of a budget in minutes that have passed already. Compiling does not count.
        say: Called with one line for each step that takes long.
        ranks: The processes that train together, of which this one leads.

    Raises:
        TextError: The corpus is too short, or not that of the snapshot.
        ConfigError: The network does not fit into memory.
    """
    begun = time.monotonic() - spent
    if snapshot:
        if corpus.key != snapshot.corpus:
            raise TextError(
                "the text is not the one this run was trained on; --init-from starts a new run from its model"
            )
        corpus = corpus.in_vocabulary(snapshot.vocabulary)
        if config is None:
            return _together(
                Trainer(corpus, snapshot.recipe, begin=snapshot.begin, snapshot=snapshot, ranks=ranks), ranks
            )
    elif init_from:
        corpus = corpus.in_vocabulary(init_from.vocabulary.union(corpus.vocabulary))
        config = (config or Config()).replace(**init_from.architecture.as_dict())
    config = config or Config()
    characters, begin = len(corpus.split(config.valid, config.test)[0]), snapshot.step if snapshot else 0
    clock = None
    if config.steps is not None or config.epochs is not None:
        recipe = plan(config, characters, len(corpus.vocabulary))
    else:
        started = time.monotonic()
        seconds = compile_ahead(lambda: exercise(config))
        if ranks.world > 1:
            ranks.broadcast({"do": "compile", "config": config.model_dump(exclude_none=True, mode="json")})
            ranks.agree()
            seconds = time.monotonic() - started
        if seconds:
            say(f"compiled for this processor in {seconds:.0f} s, which is done once and not part of the budget")
            begun += seconds
        say("measuring this machine ...")
        recipe = _measured_plan(config, characters, len(corpus.vocabulary), ranks)
        clock = Clock(
            config.minutes or DEFAULT_MINUTES,
            most_steps(recipe, characters),
            spent=time.monotonic() - begun,
            moves_validations=config.eval_every is None,
        )
    recipe = recipe.replace(steps=begin + recipe.steps)
    trainer = Trainer(corpus, recipe, begin=begin, clock=clock, init_from=init_from, snapshot=snapshot, ranks=ranks)
    return _together(trainer, ranks, timed=clock is not None)


def _together(trainer: Trainer, ranks: Ranks, *, timed: bool = False) -> Trainer:
    """Let the other processes make trainers of the same weights, with the rows of the batch that are theirs."""
    if ranks.world > 1:
        order = {"do": "train", "timed": timed, "device": trainer.device.type, "precision": trainer.precision}
        ranks.broadcast(order, to_bytes(trainer.snapshot()))
    return trainer


def _measured_plan(config: Config, characters: int, vocabulary_size: int, ranks: Ranks) -> Recipe:
    """Plan a budget in minutes with the speed of this machine, and with the kernels that are faster on it."""
    device = pick_device(config.device)
    precision, _ = pick_precision(config.precision, device)
    # Speed depends on the size, and the size on the speed: it is measured again at the size that the first leads to.
    batch_size = config.batch_size or max(16, ranks.world)
    guess = config.replace(steps=1, hidden=config.hidden or 320, batch_size=batch_size)
    likely = plan(guess, characters, vocabulary_size)
    flops = measure_flops(likely, vocabulary_size, device, precision, ranks=ranks)
    first = plan(config, characters, vocabulary_size, flops)
    if config.kernels:
        flops = measure_flops(first, vocabulary_size, device, precision, ranks=ranks)
    else:
        kernels, flops = faster_kernels(first, vocabulary_size, device, precision, ranks)
        config = config.replace(kernels=kernels)
    return plan(config, characters, vocabulary_size, flops)


def exercise(config: Config) -> None:
    """Run all compiled code that a training needs: a few steps of a very small network, with a score and a sample."""
    sizes: dict[str, Any] = {"hidden": gcd(config.hidden or 16, 16), "batch_size": 4, "seq_length": 8, "steps": 2}
    small = config.replace(**sizes, minutes=None, dropout=0.1, recurrent_dropout=0.1, valid=0.1)
    recipe = plan(small, 400, 3)
    trainer = Trainer(Corpus.from_text("abc" * 150), recipe)
    for _ in trainer.events():
        pass
    sample(to_file(trainer.current_model()), "", SampleOptions(length=2))
