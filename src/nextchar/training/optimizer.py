"""The optimizer: torch's AdamW or RMSProp with clipped gradients, and its state as arrays."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from nextchar.config import Config, required
from nextchar.model.network import Network
from nextchar.storage import Arrays


def make_optimizer(network: Network, config: Config) -> torch.optim.Optimizer:
    """Build the optimizer; only the matrices of the recurrence and the head are decayed."""
    rate = required(config.learning_rate, "learning_rate")
    matrices = [
        p for name, p in network.named_parameters() if p.ndim == 2 and not name.startswith("embedding")
    ]
    others = [p for name, p in network.named_parameters() if p.ndim == 1 or name.startswith("embedding")]
    if config.optimizer == "rmsprop":
        return torch.optim.RMSprop([*matrices, *others], lr=rate, alpha=config.beta2)
    groups = [
        {"params": matrices, "weight_decay": required(config.weight_decay, "weight_decay")},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=rate, betas=(config.beta1, config.beta2), fused=True)


def clip(network: Network, config: Config) -> Tensor:
    """Limit the gradient by norm and by element; return its norm before."""
    limit = config.clip_norm or float("inf")
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), limit)
    if config.clip_value:
        torch.nn.utils.clip_grad_value_(network.parameters(), config.clip_value)
    return norm


def optimizer_arrays(optimizer: torch.optim.Optimizer, network: Network) -> Arrays:
    """Return the optimizer's state as arrays, named optimizer/PARAMETER/WHAT."""
    return {
        f"optimizer/{name}/{what}": np.atleast_1d(value.detach().cpu().numpy()).copy()
        for name, parameter in network.named_parameters()
        for what, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer, network: Network, arrays: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_arrays` returned."""
    for name, parameter in network.named_parameters():
        prefix = f"optimizer/{name}/"
        for key, value in arrays.items():
            if key.startswith(prefix):
                what = key.removeprefix(prefix)
                # A fused optimizer counts steps where its parameters are, any other on the CPU.
                device = "cpu" if what == "step" and not optimizer.defaults.get("fused") else parameter.device
                kept = value.reshape(()) if what == "step" else value
                optimizer.state[parameter][what] = kept.to(device, copy=True)
