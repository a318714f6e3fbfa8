import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nextchar.architecture import Architecture
from nextchar.kernels import threads
from nextchar.kernels.cpu import HAS_BF16
from nextchar.model import compiled
from nextchar.model.cells import Weights
from nextchar.model.compiled import Lookup, own_threads
from nextchar.model.network import Network, initialize
from nextchar.model.recurrence import Recurrence, fastest, fused, reference

V = 11
BF16 = pytest.mark.skipif(not HAS_BF16, reason="this CPU does not multiply bfloat16")


def _network(shape: Architecture) -> Network:
    network = Network(shape, V)
    generator = torch.Generator().manual_seed(1)
    initialize(network, generator)
    with torch.no_grad():  # biases and head too, so that no gradient is 0 for want of a weight
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return network


def _learn(
    network: Network, recurrence: Recurrence, T: int, N: int, *, bf16: bool = False
) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return logits, the state after, and the gradient of every weight and of the state before."""
    like = network.head.weight
    generator = torch.Generator().manual_seed(100 * T + N)
    ids = torch.randint(0, V + 1, (T, N), generator=generator)
    weights = torch.randn(T, N, V, generator=generator)
    leaves = [
        (0.5 * torch.randn(vector.shape, generator=generator)).to(like).requires_grad_()
        for layer in network.empty_state(N)
        for vector in layer
    ]
    state = tuple(zip(leaves[::2], leaves[1::2], strict=True))
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
        logits, after = network(ids, state, recurrence=recurrence)
    flat = [vector for layer in after for vector in layer]
    loss = (logits.to(like.dtype) * weights.to(like.dtype)).sum() + sum(
        (vector * (1 + index)).sum() for index, vector in enumerate(flat)
    )
    gradients = torch.autograd.grad(loss, [*network.parameters(), *leaves])
    return logits.detach(), [vector.detach() for vector in flat], list(gradients)


def _relative(one: Tensor, other: Tensor) -> float:
    return float((one.double() - other).norm() / other.norm())


SHAPES = [
    Architecture(hidden=16, layers=1, embedding=3),
    Architecture(hidden=48, layers=2, embedding=8),
    Architecture(hidden=80, layers=3, embedding=0, sum_outputs=False),
]


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.layers}x{shape.hidden}")
@pytest.mark.parametrize(("T", "N"), [(1, 1), (2, 3), (7, 9)])
def test_it_is_the_reference_in_float32(shape: Architecture, T: int, N: int) -> None:
    """Logits, state and every gradient agree with the reference in float64, to float32's own error."""
    network = _network(shape)
    double = Network(shape, V).double()
    double.load_state_dict(network.state_dict())
    exact = _learn(double, reference, T, N)
    fast = _learn(network, fastest, T, N)
    torch.testing.assert_close(fast[0].double(), exact[0], rtol=0, atol=1e-5)
    for ours, theirs in zip(fast[1] + fast[2], exact[1] + exact[2], strict=True):
        assert _relative(ours, theirs) < 5e-6


@pytest.mark.slow
@BF16
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: f"{shape.layers}x{shape.hidden}")
def test_in_bfloat16_it_errs_no_more_than_the_library(shape: Architecture) -> None:
    """Its errors against float64 are those of bfloat16, and not above twice those of the library's kernel."""
    network = _network(shape)
    double = Network(shape, V).double()
    double.load_state_dict(network.state_dict())
    exact = _learn(double, reference, 7, 9)
    ours = _learn(network, fastest, 7, 9, bf16=True)
    theirs = _learn(network, fused, 7, 9, bf16=True)
    for kind in (1, 2):
        errors = [
            max(_relative(a, b) for a, b in zip(found[kind], exact[kind], strict=True)) for found in (ours, theirs)
        ]
        assert errors[0] < max(0.02, 2 * errors[1])


def test_it_runs_where_it_is_meant_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole vectors of float32 units on a CPU go through it; everything else through the library."""
    runs = []
    monkeypatch.setattr(compiled, "lstm", lambda x, state, weights: runs.append(1) or fused("lstm", x, state, weights))
    for shape, kind, count in (
        (Architecture(hidden=16), torch.float32, 2),
        (Architecture(hidden=24), torch.float32, 0),
        (Architecture(hidden=16), torch.float64, 0),
        (Architecture(hidden=16, cell="gru"), torch.float32, 0),
    ):
        network = Network(shape, V).to(kind)
        network(torch.zeros(2, 3, dtype=torch.int64), network.empty_state(3))
        assert len(runs) == count
        runs.clear()


def test_more_rows_than_characters_are_looked_up() -> None:
    """With a vocabulary larger than the window, only the rows in use are multiplied, and the result is the same."""
    network = Network(Architecture(hidden=16, layers=1, embedding=4), 500)
    initialize(network, torch.Generator().manual_seed(0))
    ids = torch.tensor([[499, 3], [500, 3], [7, 499]])
    ours, _ = network(ids, network.empty_state(2))
    theirs, _ = network(ids, network.empty_state(2), recurrence=reference)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
    ours.square().sum().backward()
    used = network.embedding.weight.grad.abs().sum(dim=1).nonzero().flatten()
    assert used.tolist() == [3, 7, 499, 500]


@settings(max_examples=20, deadline=None)
@given(lanes=st.integers(1, 13), cut=st.integers(1, 12), window=st.integers(1, 5))
def test_a_row_does_not_depend_on_the_rest_of_the_batch(lanes: int, cut: int, window: int) -> None:
    """Lanes that run together come out, to the bit, as those that run apart, and so do windows cut in two."""
    weights = Weights(**_network(SHAPES[1]).layers[1])
    generator = torch.Generator().manual_seed(lanes)
    x = torch.randn(2 * window, lanes, 48, generator=generator)
    state = (torch.rand(lanes, 48, generator=generator), torch.randn(lanes, 48, generator=generator))
    some = min(cut, lanes)
    with torch.no_grad():
        together, after = compiled.lstm(x, state, weights)
        apart, _ = compiled.lstm(x[:, :some], (state[0][:some], state[1][:some]), weights)
        first, between = compiled.lstm(x[:window], state, weights)
        second, last = compiled.lstm(x[window:], between, weights)
    assert torch.equal(together[:, :some], apart)
    assert torch.equal(torch.cat([first, second]), together)
    assert all(torch.equal(one, other) for one, other in zip(after, last, strict=True))


def test_the_cores_are_given_back() -> None:
    """Torch has as many threads after an error in `own_threads` as before."""
    before = torch.get_num_threads()
    during = []

    def fail() -> None:
        with own_threads():
            during.append(torch.get_num_threads())
            raise ValueError("wrong")

    with pytest.raises(ValueError, match="wrong"):
        fail()
    assert during == [1]
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("cores", [1, 2, 3, 7])
def test_shares_cover_everything_once(cores: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many cores there are, each piece of work is in exactly one share, and cuts lie between groups."""
    monkeypatch.setattr(threads, "available_cores", lambda: cores)
    for count in range(1, 40):
        for multiple in (1, 4):
            found = threads.split_range(count, multiple)
            assert [n for first, last in found for n in range(first, last)] == list(range(count))
            assert len(found) <= cores
            assert all(first % multiple == 0 for first, _ in found)


def test_an_error_in_a_share_comes_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong in another thread is raised where the work was asked for."""
    monkeypatch.setattr(threads, "available_cores", lambda: 2)

    def fail(first: int, _: int) -> None:
        if first:
            raise ValueError("not here")

    with pytest.raises(ValueError, match="not here"):
        threads.parallel_for(fail, 8, 4)


def test_a_share_is_not_cut_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work within a share is one piece, so that nobody waits for a thread that waits; after it all is as before."""
    monkeypatch.setattr(threads, "available_cores", lambda: 2)
    inner: list[list[tuple[int, int]]] = []

    def again(first: int, _: int) -> None:
        inner.append(threads.split_range(6, 1))
        threads.parallel_for(lambda *share: inner.append([share]), 6, 1)
        if first:
            raise ValueError("after it")

    for _ in range(2):
        with pytest.raises(ValueError, match="after it"):
            threads.parallel_for(again, 2, 1)
    assert inner == 8 * [[(0, 6)]]
    assert len(threads.split_range(6, 1)) == 2


def test_a_processor_without_fma_takes_torch_s_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """The choice of kernels depends on the processor as well as on the network."""
    device = torch.device("cpu")
    monkeypatch.setattr(compiled, "HAS_FMA", True)
    assert compiled.suits("lstm", 32, device)
    monkeypatch.setattr(compiled, "HAS_FMA", False)
    assert not compiled.suits("lstm", 32, device)


def test_a_lookup_is_its_rows() -> None:
    """`dense` gives the rows at the ids."""
    vectors = torch.arange(6.0).reshape(3, 2)
    assert Lookup(torch.tensor([[2, 0]]), vectors).dense().tolist() == [[[4.0, 5.0], [0.0, 1.0]]]


@BF16
def test_bfloat16_outputs_are_bfloat16() -> None:
    """Under autocast outputs are bfloat16, and the state stays float32."""
    network = _network(SHAPES[1])
    with torch.autocast("cpu", torch.bfloat16):
        outputs, state = fastest("lstm", torch.zeros(2, 3, 48), network.empty_state(3)[0], Weights(**network.layers[1]))
    assert outputs.dtype == torch.bfloat16
    assert {vector.dtype for vector in state} == {torch.float32}
    assert np.isfinite(outputs.detach().float().numpy()).all()


def test_backward_runs_once() -> None:
    """Gradients overwrite the gates, so a second call is an error instead of a wrong result."""
    network = _network(SHAPES[0])
    logits, _ = network(torch.zeros(2, 3, dtype=torch.int64), network.empty_state(3))
    loss = logits.sum()
    loss.backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward was called twice"):
        loss.backward()
