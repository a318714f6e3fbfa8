"""Optimizers: cautious AdamW, torch's AdamW and RMSProp; gradient clipping; and the optimizer's state as arrays."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Union

import numpy as np
import torch
from torch import Tensor

from nextchar.kernels.optimizer_steps import cautious_adam_direction
from nextchar.kernels.threads import parallel_for
from nextchar.model.network import Network
from nextchar.recipe import Recipe
from nextchar.storage import Arrays

MIN_SHARE = 1 << 16  # weights per thread


Optimizer = Union[torch.optim.Optimizer, "Cautious"]


def make_optimizer(network: Network, recipe: Recipe) -> Optimizer:
    """Build the optimizer: only the matrices of the recurrence and the head decay, and the head has its own learning rate."""
    rate = recipe.learning_rate
    decay = 0.0 if recipe.optimizer == "rmsprop" else recipe.weight_decay
    kinds: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in network.named_parameters():
        factor = recipe.head_lr_multiplier if name.startswith("head") else 1.0
        decayed = parameter.ndim == 2 and not name.startswith("embedding")
        # The rate multiplies the decay, which is to be the same for all groups.
        kinds.setdefault((factor, decay / factor if decayed else 0.0), []).append(parameter)
    groups = [
        {"params": parameters, "lr": rate * factor, "factor": factor, "weight_decay": own}
        for (factor, own), parameters in kinds.items()
    ]
    betas = (recipe.beta1, recipe.beta2)
    if recipe.optimizer == "rmsprop":
        return torch.optim.RMSprop(groups, lr=rate, alpha=recipe.beta2)
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=rate, betas=betas, fused=True)
    return Cautious(groups, lr=rate, betas=betas)


def set_rate(optimizer: Optimizer, rate: float) -> None:
    """Set the learning rate of the next step, times each group's own factor."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["factor"]


class Cautious:
    """AdamW that updates a weight only where the update agrees in sign with the present gradient.

    The updates that remain are scaled up, so that a step is on average as long as AdamW's. Source: Liang et al. 2024,
    "Cautious Optimizers: Improving Training with One Line of Code", arXiv 2411.16085. Unlike there, a gradient of 0
    agrees with every update, so that the embeddings of rare characters keep moving between their occurrences. The state
    is that of AdamW. This is no `torch.optim.Optimizer`, whose constructor imports torch's compiler, a second of work.
    """

    EPSILON = 1e-8
    MIN_MOVING = 1e-3  # lower bound of the fraction of a matrix's weights that are updated, for the scale

    def __init__(self, groups: list[dict[str, Any]], *, lr: float, betas: tuple[float, float]) -> None:
        defaults = {"lr": lr, "betas": betas, "weight_decay": 0.0}
        self.param_groups: list[dict[str, Any]] = [{**defaults, **group} for group in groups]
        self.state: defaultdict[Tensor, dict[str, Tensor]] = defaultdict(dict)
        self.defaults: dict[str, Any] = defaults

    @torch.no_grad()
    def step(self) -> None:
        """Update all weights; their gradients are overwritten."""
        for group in self.param_groups:
            for weight in group["params"]:
                state = self.state[weight]
                if not state:
                    state["step"] = torch.zeros(())
                    state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(weight), torch.zeros_like(weight)
                state["step"] += 1
                update = _compiled_update if weight.device.type == "cpu" else reference_update
                update(weight, state["exp_avg"], state["exp_avg_sq"], int(state["step"]), group)


def reference_update(weight: Tensor, mean: Tensor, square: Tensor, step: int, group: Mapping[str, Any]) -> None:
    """Update one matrix by the plain equations; `mean` and `square` are updated in place.

    Args:
        weight: Updated; its gradient is read.
        mean: Running mean of its gradients.
        square: Running mean of their squares.
        step: Counted from 1.
        group: Its "lr", "betas" and "weight_decay".
    """
    gradient, (beta1, beta2), rate = weight.grad, group["betas"], group["lr"]
    assert gradient is not None
    mean.lerp_(gradient, 1 - beta1)
    square.lerp_(gradient.square(), 1 - beta2)
    update = (mean / (1 - beta1**step)) / ((square / (1 - beta2**step)).sqrt() + Cautious.EPSILON)
    agrees = (update * gradient >= 0).to(update.dtype)
    weight.mul_(1 - rate * group["weight_decay"])
    weight.sub_(rate * update * agrees / agrees.mean().clamp(min=Cautious.MIN_MOVING))


def _compiled_update(weight: Tensor, mean: Tensor, square: Tensor, step: int, group: Mapping[str, Any]) -> None:
    """Do the same as `reference_update`, reading the state only once; the gradient is overwritten."""
    assert weight.grad is not None
    flat = [tensor.view(-1).numpy() for tensor in (weight.grad, mean, square)]
    beta1, beta2 = group["betas"]
    settings = np.array([beta1, beta2, 1 - beta1**step, 1 - beta2**step, Cautious.EPSILON], np.float32)
    moving: list[int] = []

    def share(first: int, last: int) -> None:
        moving.append(cautious_adam_direction(*(array[first:last] for array in flat), settings))

    parallel_for(share, weight.numel(), MIN_SHARE)
    rate = group["lr"] / max(sum(moving) / weight.numel(), Cautious.MIN_MOVING)
    weight.mul_(1 - group["lr"] * group["weight_decay"]).sub_(weight.grad, alpha=rate)


def clip(network: Network, recipe: Recipe) -> Tensor:
    """Clip the gradient by norm and by element; return its norm before clipping."""
    limit = recipe.grad_clip_norm or float("inf")
    norm = torch.nn.utils.clip_grad_norm_(network.parameters(), limit)
    if recipe.grad_clip_value:
        torch.nn.utils.clip_grad_value_(network.parameters(), recipe.grad_clip_value)
    return norm


def optimizer_arrays(optimizer: Optimizer, network: Network) -> Arrays:
    """Return the optimizer's state as arrays, named optimizer/PARAMETER/FIELD."""
    return {
        f"optimizer/{name}/{what}": np.atleast_1d(value.detach().cpu().numpy()).copy()
        for name, parameter in network.named_parameters()
        for what, value in optimizer.state.get(parameter, {}).items()
    }


def restore_optimizer(optimizer: Optimizer, network: Network, arrays: Mapping[str, Tensor]) -> None:
    """Restore the state that `optimizer_arrays` returned."""
    for name, parameter in network.named_parameters():
        prefix = f"optimizer/{name}/"
        for key, value in arrays.items():
            if key.startswith(prefix):
                what = key.removeprefix(prefix)
                # A fused optimizer counts steps on the device of its parameters, any other on the CPU.
                device = "cpu" if what == "step" and not optimizer.defaults.get("fused") else parameter.device
                kept = value.reshape(()) if what == "step" else value
                optimizer.state[parameter][what] = kept.to(device, copy=True)
