"""What a step changes: the network, its optimizer and the carried state; and the step itself."""

import torch
from torch import Tensor
from torch.nn import functional

from nextchar.config import Config, required
from nextchar.kernels.gemm import MR
from nextchar.kernels.threads import parallel_for, split_range
from nextchar.model.network import Network, same_weights, set_weights
from nextchar.model.regularization import Dropout
from nextchar.model.state import State, concatenate_rows, detach, reset_rows, select_rows
from nextchar.storage import Arrays
from nextchar.text.batches import Batch
from nextchar.training.optimizer import (
    clip,
    make_optimizer,
    optimizer_arrays,
    restore_optimizer,
    set_rate,
)


class Learner:
    """A network while it learns.

    Attributes:
        network: On its device.
        state: Of the recurrence, one row a lane, as the last window left it.
        losses: Sum of the mean losses of the steps since it was last set to zero, in nats per character.
        norm: Of the whole gradient at the last step, before clipping.
    """

    def __init__(self, network: Network, config: Config, device: torch.device, precision: str) -> None:
        self.network = network.to(device)
        self._config, self._device, self._precision = config, device, precision
        self._optimizer = make_optimizer(network, config)
        self._dropout = Dropout(config.dropout or 0.0, device, recurrent=config.recurrent_dropout or 0.0)
        lanes = required(config.batch_size, "batch_size")
        self.state: State = network.empty_state(lanes)
        self._shares = split_range(lanes, MR) if network.is_compiled() else [(0, lanes)]
        # Threads that build graphs on the same parameters would wait for each other, if need be forever.
        self._views = [network, *(same_weights(network) for _ in self._shares[1:])]
        self.losses = torch.zeros((), device=device)
        self.norm = torch.zeros((), device=device)

    def step(self, batch: Batch, rate: float, number: int) -> None:
        """Learn from one window of every lane: forward, backward, clip, update.

        Args:
            batch: `(T, N)` inputs and targets, and which lanes start cold.
            rate: The learning rate.
            number: Of the step; the dropout masks follow from it and the seed.
        """
        with self.network.threads():
            self._step(batch, rate, number)

    def _step(self, batch: Batch, rate: float, number: int) -> None:
        inputs, targets, reset = (torch.from_numpy(array).to(self._device) for array in batch[:3])
        set_rate(self._optimizer, rate)
        self._dropout.restart((self._config.seed << 32) ^ number)
        state = reset_rows(detach(self.state), reset)
        lanes = len(reset)
        parts: dict[int, tuple[Tensor, State]] = {}

        def learn(share: int, _: int) -> None:
            first, last = self._shares[share]
            dropout = self._dropout.of_lanes(first, last, lanes)
            own = (inputs[:, first:last], targets[:, first:last], select_rows(state, slice(first, last)))
            parts[share] = self._part(self._views[share], *own, dropout)

        # Each core takes its lanes through everything, so that cores wait for each other where gradients are added up.
        parallel_for(learn, len(self._shares), 1)
        parallel_for(self._add_up, len(self._shares), 1)
        losses, states = zip(*(parts[share] for share in sorted(parts)), strict=True)
        self.state = concatenate_rows(list(states))
        self.norm = clip(self.network, self._config)
        self._optimizer.step()
        self.losses += torch.stack(losses).sum() / targets.numel()

    def _part(
        self, view: Network, inputs: Tensor, targets: Tensor, state: State, dropout: Dropout
    ) -> tuple[Tensor, State]:
        """Set a view's gradients to what some lanes say; return the sum of their losses and their state after."""
        view.zero_grad(set_to_none=True)
        # A cache of casts would belong to all threads, and with it a piece of their graphs.
        bf16 = self._precision == "bf16"
        with torch.autocast(self._device.type, torch.bfloat16, enabled=bf16, cache_enabled=False):
            logits, after = view(inputs, state, dropout)
        loss = functional.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="sum")
        lanes = self._shares[-1][1]
        (loss / (lanes if self._config.loss_sum else lanes * len(inputs))).backward()  # type: ignore[no-untyped-call]
        return loss.detach(), after

    def _add_up(self, first: int, last: int) -> None:
        """Add the gradients of all views, in some shares of the rows of every parameter, to the network's own."""
        count = len(self._shares)
        for own, *others in zip(*(view.parameters() for view in self._views), strict=True):
            rows = slice(first * len(own) // count, last * len(own) // count)
            for other in others:
                own.grad[rows] += other.grad[rows]

    def optimizer_arrays(self) -> Arrays:
        """Return the optimizer's state by name."""
        return optimizer_arrays(self._optimizer, self.network)

    def restore(self, weights: Arrays, optimizer: Arrays, state: State) -> None:
        """Put back weights, optimizer and recurrent state."""
        set_weights(self.network, {name: torch.from_numpy(array) for name, array in weights.items()})
        kept = {name: torch.from_numpy(array) for name, array in optimizer.items()}
        restore_optimizer(self._optimizer, self.network, kept)
        self.state = tuple(tuple(vector.to(self._device) for vector in layer) for layer in state)
