"""The network: embedding -> L recurrent layers -> the sum of their outputs -> linear -> logits."""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor, nn

from nextchar.architecture import GATES, Architecture
from nextchar.model.cells import Weights
from nextchar.model.compiled import Lookup, own_threads, suits
from nextchar.model.recurrence import Recurrence, fastest
from nextchar.model.regularization import NO_DROPOUT, Dropout
from nextchar.model.state import State, empty_state


class Network(nn.Module):
    """Reads ids and returns logits for the next ones; the caller keeps the state.

    Example:
        >>> network = Network(Architecture(hidden=8), 65)
        >>> logits, state = network(torch.tensor([[65], [3]]), network.empty_state(1))
        >>> tuple(logits.shape)
        (2, 1, 65)
    """

    def __init__(self, architecture: Architecture, vocabulary_size: int) -> None:
        super().__init__()
        self.architecture = architecture
        self.vocabulary_size = vocabulary_size
        shapes = architecture.shapes(vocabulary_size)
        if architecture.embedding:
            self.embedding = nn.Embedding(vocabulary_size + 1, architecture.embedding)
        self.layers = nn.ModuleList(
            nn.ParameterDict([(part, torch.zeros(shapes[f"layers.{layer}.{part}"])) for part in Weights._fields])
            for layer in range(architecture.layers)
        )
        self.head = nn.Linear(architecture.hidden, vocabulary_size)

    def forward(
        self, ids: Tensor, state: State, regularize: Dropout | None = None, recurrence: Recurrence = fastest
    ) -> tuple[Tensor, State]:
        """Return the logits for the id after each id.

        Args:
            ids: `(T, B)`; V is START.
            state: Before the first id.
            regularize: Applied to recurrent weights, between the layers and before the head.
            recurrence: `fastest`, `fused`, `reference`, or one that records or intervenes.

        Returns:
            Logits `(T, B, V)` and the state after the last id.
        """
        regularize = regularize or NO_DROPOUT
        x: Tensor | Lookup = Lookup(ids, self._vectors())
        total: Tensor | None = None
        after = []
        for index, (layer, layer_state) in enumerate(zip(self.layers, state, strict=True)):
            assert isinstance(layer, nn.ParameterDict)
            weights = Weights(**layer)
            weights = weights._replace(weight_hh=regularize.recurrent(weights.weight_hh))
            outputs, layer_after = recurrence(self.architecture.cell, x, layer_state, weights)
            total = outputs if total is None or not self.architecture.sum_outputs else total + outputs
            if index < self.architecture.layers - 1:
                x = regularize(outputs)
            after.append(layer_after)
        assert total is not None
        logits: Tensor = self.head(regularize(total))
        return logits, tuple(after)

    def threads(self) -> AbstractContextManager[None]:
        """Return the context to compute in: it leaves the cores to our threads if our kernels run, else to torch's.

        `model/reading.py` and the training step enter it; other code computes through them.
        """
        return own_threads() if self.is_compiled() else nullcontext()

    def is_compiled(self) -> bool:
        """Return whether our compiled kernels run the layers; they use one thread if called from several."""
        return suits(self.architecture.cell, self.architecture.hidden, self.head.weight.device)

    def _vectors(self) -> Tensor:
        """Return the input of each id, START last, `(V + 1, X)`."""
        if self.architecture.embedding:
            return self.embedding.weight
        # START is no one-hot vector but the vector of zeros.
        return torch.eye(self.vocabulary_size + 1).to(self.head.weight)[:, :-1]

    def empty_state(self, batch_size: int) -> State:
        """Return the state before any text."""
        return empty_state(self.architecture, batch_size, self.head.weight)

    def size(self) -> int:
        """Count the parameters."""
        return sum(parameter.numel() for parameter in self.parameters())


def initialize(
    network: Network, generator: torch.Generator, *, how: str = "orthogonal", forget_bias: float = 1.0
) -> None:
    """Initialize the weights.

    Args:
        network: On the CPU.
        generator: Of random numbers.
        how: "orthogonal": recurrent weights orthogonal for each gate (Saxe et al. 2014), others scaled to their width.
            "uniform": all weights from U(-0.08, 0.08), as in char-rnn.
        forget_bias: The bias of an lstm's forget gate (Gers et al. 2000; Jozefowicz et al. 2015).
    """
    hidden = network.architecture.hidden
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if how == "uniform":
                parameter.uniform_(-0.08, 0.08, generator=generator)
            elif name.endswith("weight_hh"):
                for gate in range(GATES[network.architecture.cell]):
                    block = parameter[gate * hidden : (gate + 1) * hidden]
                    nn.init.orthogonal_(block, generator=generator)
            elif name.endswith("weight_ih"):
                nn.init.xavier_uniform_(parameter, generator=generator)
            elif name == "embedding.weight":
                parameter.normal_(generator=generator)
            elif name == "head.weight":
                parameter.normal_(std=0.02, generator=generator)
            else:
                parameter.zero_()
            if network.architecture.cell == "lstm" and ".bias_" in name:
                parameter[hidden : 2 * hidden] = forget_bias if name.endswith("bias_ih") else 0


def same_weights(network: Network) -> Network:
    """Return a network with its weights in the same memory, and separate gradients."""
    twin = Network(network.architecture, network.vocabulary_size)
    for parameter, original in zip(twin.parameters(), network.parameters(), strict=True):
        parameter.data = original.data
    return twin


def set_weights(network: Network, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Copy weights by name into a network of the same architecture."""
    network.load_state_dict({name: torch.tensor(array) for name, array in arrays.items()})
