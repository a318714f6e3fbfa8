"""What a GPU must do as a CPU does; skipped where there is none."""

import pytest
import torch

from nextchar.architecture import CELLS, Architecture, Cell
from nextchar.config import Config
from nextchar.device import pick_device, pick_precision
from nextchar.evaluation.score import score_ids
from nextchar.model.network import Network, initialize
from nextchar.text.corpus import Corpus
from nextchar.training.start import make_trainer

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")

TEXT = "It is a truth universally acknowledged, that a text repeats itself. " * 200


@pytest.mark.parametrize("cell", CELLS)
def test_the_network_is_the_same_on_both(cell: Cell) -> None:
    """Logits, state and gradients in float32 agree with those of the CPU."""
    network = Network(Architecture(cell=cell, hidden=64), 20)
    initialize(network, torch.Generator().manual_seed(0))
    ids = torch.randint(0, 21, (17, 5), generator=torch.Generator().manual_seed(1))
    found = []
    for device in ("cpu", "cuda"):
        moved = network.to(device)
        moved.zero_grad()
        logits, state = moved(ids.to(device), moved.empty_state(5))
        logits.square().sum().backward()
        gradients = [parameter.grad.cpu() for parameter in moved.parameters()]
        found.append([logits.detach().cpu(), *(v.detach().cpu() for layer in state for v in layer), *gradients])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("precision", ["fp32", "auto"])
def test_training_learns_and_scores(precision: str) -> None:
    """A run on the GPU ends with a model that knows its text, and whose score is the CPU's."""
    config = Config(
        steps=150, hidden=64, batch_size=16, seq_length=32, device="cuda", precision=precision, learning_rate=1e-2
    )
    trainer = make_trainer(Corpus.from_text(TEXT), config)
    for _ in trainer.events():
        pass
    lm = trainer.current_model()
    ids = lm.vocabulary.encode(TEXT[:5000])
    on_gpu = score_ids(lm.network, ids, lm.vocabulary)
    on_cpu = score_ids(lm.network.cpu(), ids, lm.vocabulary)
    assert on_gpu.nats_per_char < 1.0
    assert abs(on_gpu.nats_per_char - on_cpu.nats_per_char) < 1e-3


@pytest.mark.parametrize("optimizer", ["cautious", "adamw", "rmsprop"])
def test_going_on_is_the_same(optimizer: str) -> None:
    """Ten steps, a snapshot and ten more on the GPU end where twenty steps end."""
    config = Config(
        steps=20, hidden=64, batch_size=16, seq_length=32, device="cuda", precision="fp32", learning_rate=1e-3,
        weight_decay=0.1, optimizer=optimizer,
    )  # fmt: skip
    whole, first = (make_trainer(Corpus.from_text(TEXT), config) for _ in range(2))
    for _ in whole.events():
        pass
    for event in first.events():
        if event.step == 10:
            break
    second = make_trainer(Corpus.from_text(TEXT), snapshot=first.snapshot())
    for _ in second.events():
        pass
    one, other = whole.snapshot(), second.snapshot()
    assert one.optimizer.keys() == other.optimizer.keys()
    for name, array in {**one.weights, **one.optimizer}.items():
        again = torch.from_numpy({**other.weights, **other.optimizer}[name])
        torch.testing.assert_close(torch.from_numpy(array), again, rtol=1e-3, atol=1e-3, msg=name)


def test_auto_takes_the_gpu() -> None:
    """`auto` picks CUDA, and says why of the precision."""
    device = pick_device("auto")
    precision, reason = pick_precision("auto", device)
    assert device.type == "cuda"
    assert precision in ("fp32", "bf16")
    assert reason
