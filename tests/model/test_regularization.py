import pytest
import torch

from nextchar.architecture import Architecture
from nextchar.model.cells import STEPS, Weights
from nextchar.model.network import Network, initialize
from nextchar.model.recurrence import reference
from nextchar.model.regularization import NO_DROPOUT, Dropout
from nextchar.model.state import LayerState

CPU = torch.device("cpu")


def _dropped(share: float, number: int, *, size: int = 100_000) -> torch.Tensor:
    dropout = Dropout(share, CPU)
    dropout.restart(number)
    return dropout(torch.ones(size))


def test_dropping_nothing_is_the_identity() -> None:
    """At share 0, and without a regularizer, activations come back as they are."""
    x = torch.randn(3, 4, generator=torch.Generator().manual_seed(0))
    assert Dropout(0.0, CPU)(x) is x
    assert NO_DROPOUT(x) is x
    assert NO_DROPOUT.recurrent(x) is x
    assert Dropout(0.5, CPU).recurrent(x) is x


def test_restarting_repeats_exactly() -> None:
    """After restart(k) the same calls drop the same, whatever ran before."""
    dropout, x = Dropout(0.3, CPU), torch.ones(4, 5, 6)
    dropout.restart(7)
    first = [dropout(x) for _ in range(3)]
    dropout.restart(8)
    dropout(x)
    dropout.restart(7)
    assert all(torch.equal(was, dropout(x)) for was in first)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_parts_of_a_batch_have_the_masks_of_the_whole(dtype: torch.dtype) -> None:
    """However a batch is cut, the masks of its parts are those of the whole; dropped units are the same in all rows."""
    dropout, x = Dropout(0.4, CPU, recurrent=0.5), torch.ones(5, 7, 6, dtype=dtype)
    dropout.restart(3)
    parts = [dropout.of_rows(first, last, 7) for first, last in ((0, 3), (3, 4), (4, 7))]
    units = dropout.recurrent(torch.ones(4, 6))
    assert all(torch.equal(units, part.recurrent(torch.ones(4, 6))) for part in parts)
    for _ in range(2):
        apart = [part(x[:, :count]) for part, count in zip(parts, (3, 1, 3), strict=True)]
        assert torch.equal(torch.cat(apart, dim=1), dropout(x))


def test_a_process_has_its_part_of_the_masks_of_a_gpu() -> None:
    """A generator draws the masks of other types, as on a GPU: those of one part of the batch are those of the whole."""
    x = torch.ones(5, 7, 6, dtype=torch.float64)
    masks = []
    for first, last in ((0, 7), (2, 5)):
        dropout = Dropout(0.4, CPU)
        dropout.restart(3)
        part = dropout.of_rows(first, last, 7)
        masks.append([part(x[:, first:last]) for _ in range(2)])
    assert all(torch.equal(whole[:, 2:5], part) for whole, part in zip(*masks, strict=True))


def test_calls_within_a_step_drop_differently() -> None:
    """Two calls after one restart do not share a mask."""
    dropout, x = Dropout(0.5, CPU), torch.ones(1000)
    dropout.restart(7)
    assert not torch.equal(dropout(x), dropout(x))


def test_different_numbers_drop_differently() -> None:
    """Another number begins another random stream."""
    assert not torch.equal(_dropped(0.5, 1, size=1000), _dropped(0.5, 2, size=1000))


def test_the_global_stream_has_no_say() -> None:
    """What is dropped depends on neither the global seed nor its use."""
    torch.manual_seed(1)
    one = _dropped(0.5, 1)
    torch.manual_seed(2)
    assert torch.equal(one, _dropped(0.5, 1))


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
def test_the_share_of_zeros_is_the_share_asked_for(share: float) -> None:
    """Of many activations, a share within five standard errors of p is zero."""
    zeros = float((_dropped(share, 3) == 0).double().mean())
    assert abs(zeros - share) < 5 * (share * (1 - share) / 100_000) ** 0.5


@pytest.mark.parametrize("share", [0.05, 0.3, 0.5, 0.9])
def test_the_mean_is_preserved(share: float) -> None:
    """What is kept is scaled by 1 / (1 - p), so that the expectation stays."""
    dropped = _dropped(share, 4).double()
    kept = dropped[dropped != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - share)), rtol=1e-6, atol=0)
    assert abs(float(dropped.mean()) - 1) < 5 * (share / (1 - share) / 100_000) ** 0.5


def test_dropping_leaves_what_it_is_given_alone() -> None:
    """The activations handed in are not modified, and gradients reach only what was kept."""
    x = torch.ones(1000, requires_grad=True)
    dropout = Dropout(0.5, CPU)
    dropout.restart(0)
    y = dropout(x)
    y.sum().backward()
    assert torch.equal(x.detach(), torch.ones(1000))
    assert x.grad is not None
    assert torch.equal(x.grad, y.detach())


def test_recurrent_dropout_is_hidden_units_that_a_layer_does_not_see() -> None:
    """Dropping columns of the weights is dropping the same units of the hidden state at every step, in every row."""
    network = Network(Architecture(layers=1, hidden=16), 5)
    initialize(network, torch.Generator().manual_seed(0))
    dropout = Dropout(0.0, CPU, recurrent=0.5)
    dropout.restart(3)
    seen = dropout.recurrent(torch.ones(64, 16))
    assert torch.equal(seen, seen[:1].expand_as(seen))
    assert set(seen.unique().tolist()) == {0.0, 2.0}
    dropout.restart(3)
    ids = torch.tensor([[0, 1], [2, 3], [4, 0]])
    logits, _ = network(ids, network.empty_state(2), dropout, reference)
    layer = network.layers[0]
    assert isinstance(layer, torch.nn.ParameterDict)
    state: LayerState = tuple(torch.zeros(2, 16) for _ in range(2))
    for step, row in enumerate(ids):
        state, _ = STEPS["lstm"](network.embedding(row), (state[0] * seen[0], state[1]), Weights(**layer))
        torch.testing.assert_close(logits[step], network.head(state[0]))
