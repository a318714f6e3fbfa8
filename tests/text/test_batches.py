import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nextchar.errors import TextError
from nextchar.text.batches import BatchLoader
from nextchar.text.corpus import Corpus


def distinct(length: int) -> Corpus:
    """Return a text whose every character comes once, so that an id is a place."""
    return Corpus.from_text("".join(map(chr, range(0x4E00, 0x4E00 + length))))


shapes = given(
    batch_size=st.integers(1, 5),
    seq_length=st.integers(1, 9),
    seed=st.integers(0, 2**31 - 1),
    length=st.integers(45, 200),
    state_reset_prob=st.sampled_from([0.0, 0.3, 1.0]),
)


@shapes
@settings(max_examples=60)
def test_rows_concatenate_to_the_corpus(
    batch_size: int, seq_length: int, seed: int, length: int, state_reset_prob: float
) -> None:
    """Over an epoch every row reads a stretch of the ring, targets one character ahead of the inputs."""
    stream = BatchLoader(distinct(length), batch_size, seq_length, seed=seed, state_reset_prob=state_reset_prob)
    batches = [stream.batch(step) for step in range(stream.steps_per_epoch)]
    targets = np.concatenate([batch.targets for batch in batches])
    inputs = np.concatenate([batch.inputs for batch in batches])
    assert (targets == (targets[0] + np.arange(len(targets))[:, None]) % length).all()
    assert ((np.diff(targets[0]) % length) == length // batch_size).all()
    started = np.zeros(inputs.shape, bool)
    started[::seq_length] = [batch.reset for batch in batches]
    assert (inputs[started] == length).all()
    assert (inputs[~started] == (targets[~started] - 1) % length).all()
    assert len(np.unique(targets)) == targets.size, "no character is read twice in an epoch"


@shapes
@settings(max_examples=30)
def test_a_sequence_continues_where_the_one_before_ended(
    batch_size: int, seq_length: int, seed: int, length: int, state_reset_prob: float
) -> None:
    """Within an epoch, a row that is not reset first reads the last target of the batch before."""
    stream = BatchLoader(distinct(length), batch_size, seq_length, seed=seed, state_reset_prob=state_reset_prob)
    for step in range(1, stream.steps_per_epoch):
        before, after = stream.batch(step - 1), stream.batch(step)
        assert (after.inputs[0] == np.where(after.reset, length, before.targets[-1])).all()


@shapes
@settings(max_examples=30)
def test_a_batch_is_a_function_of_the_step(
    batch_size: int, seq_length: int, seed: int, length: int, state_reset_prob: float
) -> None:
    """Two loaders agree on a step whatever was asked of them before."""
    corpus = distinct(length)
    one, other = (
        BatchLoader(corpus, batch_size, seq_length, seed=seed, state_reset_prob=state_reset_prob) for _ in range(2)
    )
    steps = [7, 0, 10_000, 1, 7]
    later = [other.batch(step) for step in reversed(steps)]
    for step, again in zip(steps, reversed(later), strict=True):
        batch = one.batch(step)
        assert all((a == b).all() for a, b in zip(batch[:3], again[:3], strict=True))
        assert batch.epoch == again.epoch == step // one.steps_per_epoch


def test_batches_have_the_shape_they_say() -> None:
    """Inputs and targets are (T, B) int64 and reset is (B,)."""
    batch = BatchLoader(distinct(100), 3, 7).batch(0)
    assert batch.inputs.shape == batch.targets.shape == (7, 3)
    assert batch.reset.shape == (3,)
    assert batch.inputs.dtype == batch.targets.dtype == np.int64


def test_an_epoch_starts_with_a_reset_at_another_place() -> None:
    """All rows are reset at the first step of every epoch, and epochs begin at different places."""
    stream = BatchLoader(distinct(200), 4, 5, state_reset_prob=0.0)
    firsts = [stream.batch(epoch * stream.steps_per_epoch) for epoch in range(10)]
    assert all(batch.reset.all() for batch in firsts)
    assert [batch.epoch for batch in firsts] == list(range(10))
    assert len({int(batch.targets[0, 0]) for batch in firsts}) > 5


def test_the_seed_decides_where_an_epoch_begins() -> None:
    """Different seeds read the text from different places."""
    corpus = distinct(200)
    assert len({int(BatchLoader(corpus, 4, 5, seed=seed).batch(0).targets[0, 0]) for seed in range(10)}) > 5


@pytest.mark.parametrize(("state_reset_prob", "share"), [(0.0, 0.0), (1.0, 1.0)])
def test_resets_never_or_always(state_reset_prob: float, share: float) -> None:
    """A probability of 0 is never, of 1 always, within an epoch."""
    stream = BatchLoader(distinct(500), 4, 5, state_reset_prob=state_reset_prob)
    resets = [stream.batch(step).reset for step in range(1, stream.steps_per_epoch)]
    assert np.mean(resets) == share


def test_resets_come_as_often_as_they_should() -> None:
    """A probability of 0.02 per row and step resets near 2 % of them."""
    stream = BatchLoader(distinct(20_000), 50, 1, seed=1)
    resets = [stream.batch(step).reset for step in range(1, stream.steps_per_epoch)]
    # 19,950 draws: the standard deviation of their mean is 0.001.
    assert np.mean(resets) == pytest.approx(0.02, abs=0.004)
    assert (np.mean(resets, axis=0) > 0).all(), "every row is reset at times"


def test_the_shortest_text_wraps_around() -> None:
    """A text of exactly B T characters makes one step whose last target is its first character."""
    stream = BatchLoader(distinct(12), 3, 4)
    batch = stream.batch(0)
    assert stream.steps_per_epoch == 1
    assert sorted(batch.targets.ravel().tolist()) == list(range(12))


def test_too_short_a_text_is_refused_with_numbers() -> None:
    """A text that does not fill one batch is refused with what there is and what it takes."""
    message = "has 1,199 characters, fewer than one batch of 30 sequences of 40 \\(1,200\\); give more text"
    with pytest.raises(TextError, match=message):
        BatchLoader(distinct(1199), 30, 40)
