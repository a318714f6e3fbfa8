import pytest
import torch
from torch import Tensor

from conftest import make_model
from nextchar.architecture import CELLS, GATES, Architecture, Cell
from nextchar.model.network import Network, initialize
from nextchar.model.recurrence import fused, reference
from nextchar.model.regularization import Dropout
from nextchar.model.state import State, detach, largest_difference, map_state, reset_rows
from nextchar.text.vocabulary import Vocabulary

VOCABULARY = Vocabulary("characters", tuple(map(ord, "abcdefghijk")))
V = len(VOCABULARY)
EVERY_CELL = pytest.mark.parametrize("cell", CELLS)


def _network(cell: Cell = "lstm", **shape: object) -> Network:
    return make_model(VOCABULARY, cell=cell, **shape).network.double()


def _ids(T: int, N: int, seed: int = 0) -> Tensor:
    ids = torch.randint(V, (T, N), generator=torch.Generator().manual_seed(seed))
    ids[0] = VOCABULARY.start
    return ids


def _warm(network: Network, rows: int) -> State:
    _, state = network(_ids(5, rows, seed=9), network.empty_state(rows))
    return detach(state)


def _same(one: Tensor, other: Tensor, tolerance: float = 1e-12) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=tolerance)


def _same_state(one: State, other: State) -> None:
    assert float(largest_difference(detach(one), detach(other)).max()) < 1e-12


@EVERY_CELL
@pytest.mark.parametrize("embedding", [0, 4])
def test_both_recurrences_give_the_same_logits(cell: Cell, embedding: int) -> None:
    """A network predicts the same through the fused and the reference recurrence."""
    network = _network(cell, layers=3, embedding=embedding)
    fast, fast_after = network(_ids(20, 3), _warm(network, 3), recurrence=fused)
    slow, slow_after = network(_ids(20, 3), _warm(network, 3), recurrence=reference)
    assert fast.shape == (20, 3, V)
    _same(fast, slow, 1e-10)
    _same_state(fast_after, slow_after)


@EVERY_CELL
@pytest.mark.parametrize("split", [1, 5, 11])
def test_a_window_may_be_split_anywhere(cell: Cell, split: int) -> None:
    """Two windows with the state carried give the logits and the state of one."""
    network, ids = _network(cell), _ids(12, 2)
    whole, after = network(ids, _warm(network, 2))
    first, between = network(ids[:split], _warm(network, 2))
    second, end = network(ids[split:], between)
    _same(torch.cat([first, second]), whole)
    _same_state(end, after)


@EVERY_CELL
def test_a_row_alone_is_the_row_in_a_batch(cell: Cell) -> None:
    """Rows do not affect each other."""
    network, ids = _network(cell), _ids(15, 4)
    state = _warm(network, 4)
    together, _ = network(ids, state)
    for row in range(4):
        at = slice(row, row + 1)
        alone, _ = network(ids[:, at], map_state(lambda vector, at=at: vector[at], state))
        _same(alone, together[:, at])


@EVERY_CELL
@pytest.mark.parametrize("t", [0, 6, 13])
def test_no_prediction_sees_the_future(cell: Cell, t: int) -> None:
    """Changing id t leaves every logit before t and changes the one at t."""
    network, ids = _network(cell), _ids(14, 1)
    changed = ids.clone()
    changed[t] = (changed[t] + 1) % V
    before, _ = network(ids, network.empty_state(1))
    after, _ = network(changed, network.empty_state(1))
    assert torch.equal(before[:t], after[:t])
    assert float((before[t] - after[t]).abs().max().detach()) > 1e-6


@EVERY_CELL
@pytest.mark.parametrize("layers", [1, 2])
def test_summing_matters_from_the_second_layer_on(cell: Cell, layers: int) -> None:
    """Sum or last layer is the same for one layer and not for two."""
    summed, last = _network(cell, layers=layers), _network(cell, layers=layers, sum_outputs=False)
    last.load_state_dict(summed.state_dict())
    one, _ = summed(_ids(6, 2), summed.empty_state(2))
    other, _ = last(_ids(6, 2), last.empty_state(2))
    assert torch.equal(one, other) == (layers == 1)


@EVERY_CELL
@pytest.mark.parametrize("layers", [1, 3])
def test_regularization_acts_between_layers_and_before_the_head(cell: Cell, layers: int) -> None:
    """It is applied to the outputs of each layer but the last and to the input of the head, never to the embedding."""

    class Emptying(Dropout):
        def __init__(self) -> None:
            super().__init__(0.0, torch.device("cpu"))
            self.seen: list[Tensor] = []

        def __call__(self, x: Tensor) -> Tensor:
            self.seen.append(x)
            return torch.zeros_like(x)

    network, regularizer = _network(cell, layers=layers), Emptying()
    logits, _ = network(_ids(4, 2), network.empty_state(2), regularizer)
    assert [tuple(x.shape) for x in regularizer.seen] == [(4, 2, 8)] * layers
    assert torch.equal(logits, network.head.bias.expand(4, 2, V))


@EVERY_CELL
def test_start_among_one_hot_vectors_is_zero(cell: Cell) -> None:
    """Without an embedding, START feeds no weight of the first layer, and every character feeds its column."""
    network = _network(cell, embedding=0)
    start, _ = network(torch.tensor([[V]]), network.empty_state(1))
    third, _ = network(torch.tensor([[3]]), network.empty_state(1))
    with torch.no_grad():
        network.get_parameter("layers.0.bias_ih").add_(network.get_parameter("layers.0.weight_ih")[:, 3])
        network.get_parameter("layers.0.weight_ih").zero_()
    blind, _ = network(torch.tensor([[V]]), network.empty_state(1))
    _same(blind, third)
    assert not torch.equal(start, third)


@EVERY_CELL
@pytest.mark.parametrize("embedding", [0, 4])
@pytest.mark.parametrize("layers", [1, 3])
def test_weights_have_the_names_and_shapes_of_the_architecture(cell: Cell, embedding: int, layers: int) -> None:
    """A network's parameters are what Architecture.shapes lists, in that order."""
    architecture = Architecture(cell=cell, layers=layers, hidden=6, embedding=embedding)
    network = Network(architecture, V)
    found = [(name, tuple(parameter.shape)) for name, parameter in network.named_parameters()]
    assert found == list(architecture.shapes(V).items())
    assert network.size() == architecture.parameters(V)


def _fresh(cell: Cell, seed: int, **how: object) -> Network:
    network = Network(Architecture(cell=cell, hidden=6, embedding=3), V)
    initialize(network, torch.Generator().manual_seed(seed), **how)  # type: ignore[arg-type]
    return network


@EVERY_CELL
def test_recurrent_weights_begin_orthogonal_gate_by_gate(cell: Cell) -> None:
    """W^T W = I for the recurrent block of every gate."""
    for name, parameter in _fresh(cell, 0).named_parameters():
        if name.endswith("weight_hh"):
            blocks = parameter.detach().chunk(GATES[cell])
            assert all(block.shape == (6, 6) for block in blocks)
            for block in blocks:
                _same(block.T @ block, torch.eye(6), 1e-5)


@pytest.mark.parametrize("how", ["orthogonal", "uniform"])
def test_an_lstm_begins_by_remembering(how: str) -> None:
    """The forget bias is set once, in the input bias, and is zero in the recurrent one."""
    network = _fresh("lstm", 0, how=how, forget_bias=1.5)
    for layer in range(2):
        assert network.get_parameter(f"layers.{layer}.bias_ih")[6:12].tolist() == [1.5] * 6
        assert network.get_parameter(f"layers.{layer}.bias_hh")[6:12].tolist() == [0.0] * 6


@EVERY_CELL
def test_uniform_weights_fill_their_bounds(cell: Cell) -> None:
    """Uniform weights lie in [-0.08, 0.08] and reach near both ends."""
    network = _fresh(cell, 0, how="uniform", forget_bias=0.0)
    values = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
    assert -0.08 <= float(values.min()) < -0.075
    assert 0.075 < float(values.max()) <= 0.08
    assert abs(float(values.mean())) < 0.01


@EVERY_CELL
@pytest.mark.parametrize("how", ["orthogonal", "uniform"])
def test_weights_depend_on_the_generator_alone(cell: Cell, how: str) -> None:
    """The same seed gives the same weights whatever the global stream, another seed gives others."""
    torch.manual_seed(1)
    one = _fresh(cell, 5, how=how)
    torch.manual_seed(2)
    two, three = _fresh(cell, 5, how=how), _fresh(cell, 6, how=how)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert not torch.equal(one.head.weight, three.head.weight)


@EVERY_CELL
def test_only_selected_rows_are_reset(cell: Cell) -> None:
    """The selected rows become zero, the others stay bitwise the same, and the given state is not modified."""
    state = _warm(_network(cell), 4)
    before = map_state(torch.clone, state)
    after = reset_rows(state, torch.tensor([False, True, False, True]))
    for was, given, got in zip(sum(before, ()), sum(state, ()), sum(after, ()), strict=True):
        assert torch.equal(was, given)
        assert torch.equal(got[[0, 2]], was[[0, 2]])
        assert not got[[1, 3]].any()
        assert was[[1, 3]].any()


@EVERY_CELL
def test_detaching_cuts_the_graph(cell: Cell) -> None:
    """No gradient flows through a detached state, and its values stay."""
    network = _network(cell)
    _, state = network(_ids(3, 2), network.empty_state(2))
    cut = detach(state)
    assert all(vector.requires_grad for layer in state for vector in layer)
    assert not any(vector.requires_grad for layer in cut for vector in layer)
    assert float(largest_difference(cut, state).max().detach()) == 0
