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
from nextchar.model.state import State, concatenate_rows, detach, map_state, reset_rows, select_rows
from nextchar.recipe import Recipe
from nextchar.storage import Arrays
from nextchar.text.batches import Batch
from nextchar.training.optimizer import clip, make_optimizer, optimizer_arrays, restore_optimizer, set_rate
from nextchar.training.ranks import ALONE, Ranks


class Learner:
    """A network in training.

    With our kernels, each core takes its rows of the batch through the whole step, in a view of the network with the
    same weights and its own gradients, and the gradients are added up. Torch uses one thread meanwhile.

    Several processes divide the batch in the same way: each has its rows of every batch and of the state, and gradients
    and loss are added up over all of them in one message a step.

    Attributes:
        network: On its device.
        state: Of the recurrence, one row for each sequence of this process, as the last step left it.
        losses: Sum of the mean losses of the steps since it was last set to zero, in nats per character.
        norm: Of the whole gradient at the last step, before clipping.
    """

    def __init__(
        self, network: Network, recipe: Recipe, device: torch.device, precision: str, ranks: Ranks = ALONE
    ) -> None:
        self.network = network.to(device)
        self._recipe, self._device, self._precision = recipe, device, precision
        self._optimizer = make_optimizer(network, recipe)
        self._dropout = Dropout(recipe.dropout, device, recurrent=recipe.recurrent_dropout)
        self._ranks, self._rows = ranks, slice(*ranks.rows(recipe.batch_size))
        rows = self._rows.stop - self._rows.start
        self.state: State = network.empty_state(rows)
        self._compiled = recipe.kernels == "compiled" and network.is_compiled()
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
        own_rows = (batch.inputs[:, self._rows], batch.targets[:, self._rows], batch.reset[self._rows])
        inputs, targets, reset = (torch.from_numpy(array).to(self._device) for array in own_rows)
        set_rate(self._optimizer, rate)
        self._dropout.restart((self._recipe.seed << 32) ^ number)
        state = reset_rows(detach(self.state), reset)
        results: dict[int, tuple[Tensor, State]] = {}

        def learn(share: int, _: int) -> None:
            first, last = self._shares[share]
            before = self._rows.start
            dropout = self._dropout.of_rows(before + first, before + last, self._recipe.batch_size)
            own = (inputs[:, first:last], targets[:, first:last], select_rows(state, slice(first, last)))
            results[share] = self._backward(self._views[share], *own, dropout)

        parallel_for(learn, len(self._shares), 1)
        parallel_for(self._add_gradients, len(self._shares), 1)
        losses, states = zip(*(results[share] for share in sorted(results)), strict=True)
        loss = self._over_ranks(torch.stack(losses).sum())
        self.state = concatenate_rows(list(states))
        self.norm = clip(self.network, self._recipe)
        self._optimizer.step()
        self.losses += loss / (self._recipe.batch_size * len(inputs))

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

    def _over_ranks(self, loss: Tensor) -> Tensor:
        """Add up the gradients of all processes; return the sum of their losses."""
        if self._ranks.world == 1:
            return loss
        parameters = list(self.network.parameters())
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        whole = self._ranks.sum(torch.cat([each.reshape(-1) for each in (*gradients, loss)]))
        *parts, total = torch.split(whole, [*map(Tensor.numel, gradients), 1])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter)
        return total[0]

    def whole_state(self) -> State:
        """Return the state of all rows of the batch, those of other processes included."""
        if self._ranks.world == 1:
            return self.state

        def gathered(vector: Tensor) -> Tensor:
            whole = torch.zeros(self._recipe.batch_size, vector.shape[1], device=self._device)
            whole[self._rows] = vector.float()  # which holds bfloat16 exactly
            return self._ranks.sum(whole).to(vector.dtype)

        return map_state(gathered, self.state)

    def optimizer_arrays(self) -> Arrays:
        """Return the optimizer's state by name."""
        return optimizer_arrays(self._optimizer, self.network)

    def restore(self, weights: Arrays, optimizer: Arrays, state: State) -> None:
        """Restore weights, optimizer and the recurrent state, of which `state` has all rows."""
        set_weights(self.network, weights)
        tensors = {name: torch.from_numpy(array) for name, array in optimizer.items()}
        restore_optimizer(self._optimizer, self.network, tensors)
        self.state = map_state(lambda vector: vector[self._rows].to(self._device), state)
