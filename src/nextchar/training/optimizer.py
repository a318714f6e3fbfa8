"""The optimizers: Muon and torch's AdamW, or RMSProp, with clipped gradients; and their state as arrays."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from nextchar.config import Config, required
from nextchar.model.network import Network
from nextchar.storage import Arrays
from nextchar.training.muon import Muon


def make_optimizers(network: Network, config: Config, *, bf16: bool) -> list[torch.optim.Optimizer]:
    """Build what takes the steps: Muon for the square blocks of the recurrence and AdamW for the rest, or one for all.

    Of what is not Muon's, only matrices are decayed, and not the embedding.

    Args:
        network: On its device.
        config: Which optimizer, and its settings.
        bf16: Muon may multiply in bfloat16.
    """
    rate = required(config.learning_rate, "learning_rate")
    parameters = dict(network.named_parameters())
    if config.optimizer == "rmsprop":
        return [torch.optim.RMSprop(parameters.values(), lr=rate, alpha=config.beta2)]
    optimizers: list[torch.optim.Optimizer] = []
    if config.optimizer == "muon":
        square = {name for name, p in parameters.items() if p.ndim == 2 and name.startswith("layers")}
        square -= {"layers.0.weight_ih"}
        settings = {"lr": rate, "momentum": config.momentum, "weight_decay": config.weight_decay}
        optimizers.append(Muon([parameters.pop(name) for name in sorted(square)], **settings, bf16=bf16))
    decayed = {name for name, p in parameters.items() if p.ndim == 2 and not name.startswith("embedding")}
    groups = [
        {
            "params": [p for name, p in parameters.items() if name in decayed],
            "weight_decay": config.weight_decay,
        },
        {"params": [p for name, p in parameters.items() if name not in decayed], "weight_decay": 0.0},
    ]
    adamw = torch.optim.AdamW(groups, lr=rate, betas=(config.beta1, config.beta2), fused=True)
    return [*optimizers, adamw]


def clip(network: Network, config: Config) -> Tensor:
    """Limit the gradient by norm and by element; return its norm before."""
    limit = config.clip_norm or float("inf")
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), limit)
    if config.clip_value:
        torch.nn.utils.clip_grad_value_(network.parameters(), config.clip_value)
    return norm


def optimizer_arrays(optimizers: Sequence[torch.optim.Optimizer], network: Network) -> Arrays:
    """Return the optimizers' state as arrays, named optimizer/PARAMETER/WHAT."""
    return {
        f"optimizer/{name}/{what}": np.atleast_1d(value.detach().cpu().numpy()).copy()
        for name, parameter in network.named_parameters()
        for optimizer in optimizers
        for what, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizers(
    optimizers: Sequence[torch.optim.Optimizer], network: Network, arrays: Mapping[str, Tensor]
) -> None:
    """Put back what `optimizer_arrays` returned."""
    owners = {
        id(parameter): optimizer
        for optimizer in optimizers
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for name, parameter in network.named_parameters():
        prefix = f"optimizer/{name}/"
        for key, value in arrays.items():
            if key.startswith(prefix):
                what = key.removeprefix(prefix)
                # The count of steps is a number, and stays on the CPU.
                kept = value.reshape(()) if what == "step" else value.to(parameter.device)
                owners[id(parameter)].state[parameter][what] = kept.clone()
