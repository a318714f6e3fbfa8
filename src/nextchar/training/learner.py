"""The training step, and what it changes: the network, its optimizer and the carried state."""

from contextlib import nullcontext

import torch
from torch import Tensor
from torch.nn import functional

from nextchar.kernels.gemm import MR
from nextchar.kernels.threads import parallel_for, split_range
from nextchar.model.network import Network, same_weights, set_weights
from nextchar.model.recurrence import fastest, fused
from nextchar.model.regularization import Dropout
from nextchar.model.state import State, concatenate_rows, detach, reset_rows, select_rows
from nextchar.recipe import Recipe
from nextchar.storage import Arrays
from nextchar.text.batches import Batch
from nextchar.training.optimizer import clip, make_optimizer, optimizer_arrays, restore_optimizer, set_rate


class Learner:
    """A network in training.

    With our kernels, each core takes its rows of the batch through the whole step, in a view of the network with the
    same weights and its own gradients, and the gradients are added up. Torch uses one thread meanwhile.

    Attributes:
        network: On its device.
        state: Of the recurrence, one row per sequence, as the last step left it.
        losses: Sum of the mean losses of the steps since it was last set to zero, in nats per character.
        norm: Of the whole gradient at the last step, before clipping.
    """

    def __init__(self, network: Network, recipe: Recipe, device: torch.device, precision: str) -> None:
        self.network = network.to(device)
        self._recipe, self._device, self._precision = recipe, device, precision
        self._optimizer = make_optimizer(network, recipe)
        self._dropout = Dropout(recipe.dropout, device, recurrent=recipe.recurrent_dropout)
        self.state: State = network.empty_state(recipe.batch_size)
        self._compiled = recipe.kernels == "compiled" and network.is_compiled()
        rows = recipe.batch_size
        self._shares = split_range(rows, MR) if self._compiled else [(0, rows)]
        # Threads that record graphs on the same parameters could wait for each other for ever.
        self._views = [network, *(same_weights(network) for _ in self._shares[1:])]
        self.losses = torch.zeros((), device=device)
        self.norm = torch.zeros((), device=device)

    def step(self, batch: Batch, rate: float, number: int) -> None:
        """Make one optimizer step: forward, backward, clip, update.

        Args:
            batch: `(T, B)` inputs and targets, and which rows are reset.
            rate: The learning rate.
            number: Of the step; with the seed, it determines the dropout masks.
        """
        with self.network.threads() if self._compiled else nullcontext():
            self._step(batch, rate, number)

    def _step(self, batch: Batch, rate: float, number: int) -> None:
        inputs, targets, reset = (torch.from_numpy(array).to(self._device) for array in batch[:3])
        set_rate(self._optimizer, rate)
        self._dropout.restart((self._recipe.seed << 32) ^ number)
        state = reset_rows(detach(self.state), reset)
        results: dict[int, tuple[Tensor, State]] = {}

        def learn(share: int, _: int) -> None:
            first, last = self._shares[share]
            dropout = self._dropout.of_rows(first, last, len(reset))
            own = (inputs[:, first:last], targets[:, first:last], select_rows(state, slice(first, last)))
            results[share] = self._backward(self._views[share], *own, dropout)

        parallel_for(learn, len(self._shares), 1)
        parallel_for(self._add_gradients, len(self._shares), 1)
        losses, states = zip(*(results[share] for share in sorted(results)), strict=True)
        self.state = concatenate_rows(list(states))
        self.norm = clip(self.network, self._recipe)
        self._optimizer.step()
        self.losses += torch.stack(losses).sum() / targets.numel()

    def _backward(
        self, view: Network, inputs: Tensor, targets: Tensor, state: State, dropout: Dropout
    ) -> tuple[Tensor, State]:
        """Compute a view's gradients for some rows; return the sum of their losses and their state after the batch."""
        view.zero_grad(set_to_none=True)
        bf16, recurrence = self._precision == "bf16", fastest if self._compiled else fused
        # Without the cache of casts, which all threads would share, and with it parts of their graphs.
        with torch.autocast(self._device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            logits, after = view(inputs, state, dropout, recurrence)
        loss = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")
        rows = self._recipe.batch_size
        (loss / (rows if self._recipe.loss_sum else rows * len(inputs))).backward()  # type: ignore[no-untyped-call]
        return loss.detach(), after

    def _add_gradients(self, first: int, last: int) -> None:
        """Add the gradients of all views to the network's own, for some shares of the rows of every parameter."""
        count = len(self._shares)
        for own, *others in zip(*(view.parameters() for view in self._views), strict=True):
            rows = slice(first * len(own) // count, last * len(own) // count)
            for other in others:
                own.grad[rows] += other.grad[rows]

    def optimizer_arrays(self) -> Arrays:
        """Return the optimizer's state by name."""
        return optimizer_arrays(self._optimizer, self.network)

    def restore(self, weights: Arrays, optimizer: Arrays, state: State) -> None:
        """Restore weights, optimizer and recurrent state."""
        set_weights(self.network, weights)
        tensors = {name: torch.from_numpy(array) for name, array in optimizer.items()}
        restore_optimizer(self._optimizer, self.network, tensors)
        self.state = tuple(tuple(vector.to(self._device) for vector in layer) for layer in state)
