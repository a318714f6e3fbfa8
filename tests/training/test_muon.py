import pytest
import torch
from torch import nn

from nextchar.architecture import Architecture
from nextchar.config import Config
from nextchar.model.network import Network
from nextchar.training.muon import SIZE, Muon, orthogonal
from nextchar.training.optimizer import make_optimizers


def test_singular_values_come_near_one_and_vectors_stay() -> None:
    """A block keeps its singular vectors; from 0.03 of the whole on its singular values come near 1."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.linalg.qr(torch.randn(24, 24, generator=generator))[0] for _ in range(2))
    values = torch.linspace(0.03, 1, 24)
    values /= values.norm()
    blocks = torch.stack([left @ torch.diag(values * scale) @ right.T for scale in (1e-3, 50.0)])
    for block in orthogonal(blocks):
        inside = left.T @ block @ right
        assert (inside - torch.diag(inside.diag())).abs().max() < 1e-3
        assert 0.2 < inside.diag().min() <= inside.diag().max() < 2


@pytest.mark.parametrize("threads", [1, 2])
def test_blocks_do_not_depend_on_their_company(threads: int) -> None:
    """Each block is polished by itself, on our threads and on torch's."""
    blocks = torch.randn(5, 16, 16, generator=torch.Generator().manual_seed(1))
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        together = orthogonal(blocks)
        alone = torch.cat([orthogonal(block[None]) for block in blocks])
    finally:
        torch.set_num_threads(before)
    assert torch.allclose(together, alone, atol=1e-5)


def test_nothing_comes_of_a_gradient_of_zeros() -> None:
    """A matrix without gradient stays, and nothing turns into NaN."""
    assert torch.equal(orthogonal(torch.zeros(1, 4, 4)), torch.zeros(1, 4, 4))


def test_two_steps_are_the_equation() -> None:
    """With m <- 0.9 m + 0.1 g, W <- (1 - lr decay) W - lr 0.2 sqrt(H) orthogonal(0.1 g + 0.9 m), gate by gate."""
    generator = torch.Generator().manual_seed(2)
    weight = nn.Parameter(torch.randn(12, 4, generator=generator))
    optimizer = Muon([weight], lr=0.1, momentum=0.9, weight_decay=0.5, bf16=False)
    expected, memory = weight.detach().clone(), torch.zeros(12, 4)
    for _ in range(2):
        gradient = torch.randn(12, 4, generator=generator)
        weight.grad = gradient.clone()
        optimizer.step()
        memory = 0.9 * memory + 0.1 * gradient
        ahead = 0.1 * gradient + 0.9 * memory
        direction = torch.cat([orthogonal(gate[None])[0] for gate in ahead.split(4)])
        expected = 0.95 * expected - 0.1 * SIZE * 2.0 * direction
    assert torch.allclose(weight, expected, atol=1e-5)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_every_parameter_has_one_optimizer(cell: str) -> None:
    """Muon takes what is square, gate by gate; nothing is left out or moved twice."""
    network = Network(Architecture(cell=cell, layers=2, hidden=8), 5)
    muon, adamw = make_optimizers(network, Config(optimizer="muon", learning_rate=0.1), bf16=False)
    owned = [p for optimizer in (muon, adamw) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(map(id, owned)) == sorted(map(id, network.parameters()))
    names = {id(p): name for name, p in network.named_parameters()}
    assert {names[id(p)] for group in muon.param_groups for p in group["params"]} == {
        "layers.0.weight_hh",
        "layers.1.weight_hh",
        "layers.1.weight_ih",
    }
