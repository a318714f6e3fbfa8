import numpy as np
import pytest
import torch
from torch.nn import functional

import gpt

IDS = np.random.default_rng(0).integers(0, 7, 200)


@pytest.fixture
def network() -> gpt.GPT:
    """Return an untrained network."""
    torch.manual_seed(0)
    return gpt.GPT(7)


def test_attention_is_causal(network: gpt.GPT) -> None:
    """Logits do not depend on later characters."""
    ids = torch.from_numpy(IDS[None, : gpt.BLOCK])
    other = ids.clone()
    other[0, 40:] = 0
    assert torch.equal(network(ids)[0, :40], network(other)[0, :40])


@pytest.mark.slow
@pytest.mark.parametrize("stride", [gpt.BLOCK, 8, 1])
def test_every_character_is_scored_once(network: gpt.GPT, stride: int) -> None:
    """The mean is that of the definition: each character after at least BLOCK - stride others, if there are any."""
    total = 0.0
    ends = [*range(gpt.BLOCK, len(IDS) - 1, stride), len(IDS) - 1]
    with torch.no_grad():
        for target in range(1, len(IDS)):
            end = next(end for end in ends if end >= target)
            context = torch.from_numpy(IDS[None, end - gpt.BLOCK : target])
            log_p = functional.log_softmax(network(context)[0, -1].double(), 0)
            total -= log_p[IDS[target]].item()
    assert gpt.nats(network, IDS, stride) == pytest.approx(total / (len(IDS) - 1), abs=1e-5)


@pytest.mark.slow
def test_it_learns(network: gpt.GPT) -> None:
    """On a repetitive text the loss falls well below chance, and the learning rate ends at its lowest."""
    text = np.tile(np.arange(7), 100)
    before = gpt.nats(network, text)
    trained = next(network for network, step, _ in gpt.train(text, 7, seconds=None, seed=0) if step == 40)
    assert before > 1.5
    assert gpt.nats(trained, text) < 0.5
    assert gpt.rate(gpt.STEPS, gpt.STEPS) == pytest.approx(gpt.LEAST)


def test_a_short_text_is_refused(network: gpt.GPT) -> None:
    """A text shorter than a window is one sentence."""
    with pytest.raises(ValueError, match="has 64 characters, but must have more than 64"):
        gpt.nats(network, IDS[: gpt.BLOCK])
