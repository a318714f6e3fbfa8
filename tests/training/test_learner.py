import copy

import numpy as np
import pytest
import torch
from torch.nn import functional

from nextchar.config import Config
from nextchar.kernels import threads
from nextchar.model.network import Network, initialize
from nextchar.model.recurrence import reference
from nextchar.model.regularization import Dropout
from nextchar.text.batches import Batch
from nextchar.training.autosize import plan
from nextchar.training.learner import Learner

CPU = torch.device("cpu")
SIZE, STEPS, ROWS = 11, 7, 12


def _batch(seed: int) -> Batch:
    generator = np.random.default_rng(seed)
    inputs, targets = generator.integers(0, SIZE, (2, STEPS, ROWS))
    return Batch(inputs, targets, generator.random(ROWS) < 0.3, 0)


@pytest.mark.parametrize("cores", [1, 2, 3])
@pytest.mark.parametrize(("cell", "hidden"), [("lstm", 32), ("lstm", 24), ("gru", 16)])
@pytest.mark.parametrize("loss_sum", [False, True])
def test_a_step_has_the_gradient_of_all_rows_at_once(
    cores: int, cell: str, hidden: int, loss_sum: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However rows are split among cores, loss, gradient and state are those of the plain network, masks included."""
    monkeypatch.setattr(threads, "available_cores", lambda: cores)
    config = Config(
        steps=1,
        cell=cell,
        hidden=hidden,
        batch_size=ROWS,
        seq_length=STEPS,
        dropout=0.3,
        recurrent_dropout=0.2,
        grad_clip_norm=0.0,
        learning_rate=1e-3,
        weight_decay=0.0,
        loss_sum=loss_sum,
        optimizer="adamw",  # leaves the gradient as it was
    )
    recipe = plan(config, STEPS * ROWS, SIZE)
    network = Network(recipe.architecture, SIZE)
    initialize(network, torch.Generator().manual_seed(1))
    learner = Learner(network, recipe, CPU, "fp32")
    learner.step(_batch(0), 1e-3, 0)
    before, state = copy.deepcopy(network), learner.state
    learner.losses.zero_()
    batch = _batch(1)
    learner.step(batch, 1e-3, 5)

    dropout = Dropout(0.3, CPU, recurrent=0.2)
    dropout.restart(5)
    warm = torch.from_numpy(~batch.reset).float()[:, None]
    start = tuple(tuple(vector.detach() * warm for vector in layer) for layer in state)
    logits, after = before(torch.from_numpy(batch.inputs), start, dropout, reference)
    loss = functional.cross_entropy(logits.flatten(0, 1), torch.from_numpy(batch.targets).flatten())
    before.zero_grad()
    (loss * STEPS if loss_sum else loss).backward()
    torch.testing.assert_close(learner.losses, loss.detach())
    for name, parameter in before.named_parameters():
        found = network.get_parameter(name).grad
        torch.testing.assert_close(found, parameter.grad, rtol=1e-4, atol=1e-6, msg=name)
    for found, expected in zip(learner.state, after, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_a_step_repeats_exactly() -> None:
    """The number of threads does not change results: the same steps give the same bits."""

    def weights() -> list[torch.Tensor]:
        config = Config(
            steps=1,
            hidden=48,
            batch_size=ROWS,
            seq_length=STEPS,
            dropout=0.2,
            recurrent_dropout=0.2,
            learning_rate=0.01,
            weight_decay=0,
        )
        recipe = plan(config, STEPS * ROWS, SIZE)
        network = Network(recipe.architecture, SIZE)
        initialize(network, torch.Generator().manual_seed(2))
        learner = Learner(network, recipe, CPU, "fp32")
        for step in range(20):
            learner.step(_batch(step), 0.01, step)
        return [parameter.detach() for parameter in network.parameters()]

    assert all(torch.equal(one, other) for one, other in zip(weights(), weights(), strict=True))
