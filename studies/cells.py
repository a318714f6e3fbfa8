"""Layer normalisation and a Mogrifier beside the plain lstm, in plain torch, for the same number of steps.

    python studies/cells.py TEXT --steps 900 --hidden 192

The compiled kernels have neither, so each variant must gain enough to be worth a kernel and its time. All other options are
those that `nextchar train` chooses for as many steps. The last 10 % of the text are for validation, under *stream*.
"""

import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from nextchar.architecture import Architecture, Cell
from nextchar.config import Config, compose
from nextchar.evaluation.score import score_ids
from nextchar.model.cells import Weights, lstm
from nextchar.model.compiled import Lookup
from nextchar.model.network import Network, initialize
from nextchar.model.recurrence import dense
from nextchar.model.regularization import Dropout
from nextchar.model.state import LayerState, State
from nextchar.text.corpus import Corpus, open_corpus
from nextchar.training.learner import Learner
from nextchar.training.schedule import lr_factor
from nextchar.training.start import make_trainer
from tables import argument_parser, markdown

VALID = 0.1


class Plain(nn.Module):
    """The plain lstm."""

    def forward(self, x: Tensor, state: LayerState, weights: Weights) -> LayerState:
        """Advance by one character: input `(B, X)`, hidden and cell `(B, H)`."""
        return lstm(x, state, weights)[0]


class Normalised(nn.Module):
    """Layer normalisation of the input's product, of the hidden state's product, and of the cell state.

    Source: Ba, Kiros & Hinton 2016, arXiv 1607.06450, equations 20 to 22.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.from_input = nn.LayerNorm(4 * hidden, bias=False)
        self.from_hidden = nn.LayerNorm(4 * hidden, bias=False)
        self.cell = nn.LayerNorm(hidden)

    def forward(self, x: Tensor, state: LayerState, weights: Weights) -> LayerState:
        """Advance by one character."""
        hidden, cell = state
        stacked = self.from_input(x @ weights.weight_ih.T) + self.from_hidden(hidden @ weights.weight_hh.T)
        i, f, g, o = (stacked + weights.bias_ih + weights.bias_hh).chunk(4, dim=-1)
        cell = torch.sigmoid(f) * cell + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(self.cell(cell)), cell


class Mogrifier(nn.Module):
    """Input and hidden state scale each other in turns before the lstm reads them; initially by 1.

    Source: Melis, Kocisky & Blunsom 2020, arXiv 1909.01792, equations 1 and 2.
    """

    def __init__(self, width: int, hidden: int, rounds: int) -> None:
        super().__init__()
        widths = (width, hidden)
        self.rounds = nn.ModuleList(
            nn.Linear(widths[1 - turn % 2], widths[turn % 2], bias=False) for turn in range(rounds)
        )

    def forward(self, x: Tensor, state: LayerState, weights: Weights) -> LayerState:
        """Advance by one character."""
        both = [x, state[0]]
        for turn, scale in enumerate(self.rounds):
            own = turn % 2
            both[own] = 2 * torch.sigmoid(scale(both[1 - own])) * both[own]
        return lstm(both[0], (both[1], state[1]), weights)[0]


STEPS: dict[str, Callable[[int, int], nn.Module]] = {
    "lstm": lambda _, __: Plain(),
    "layer normalisation": lambda _, hidden: Normalised(hidden),
    "mogrifier, 2 rounds": lambda width, hidden: Mogrifier(width, hidden, 2),
    "mogrifier, 5 rounds": lambda width, hidden: Mogrifier(width, hidden, 5),
}


class Varied(Network):
    """A network whose layers use another step function, one character after the other."""

    def __init__(self, architecture: Architecture, vocabulary_size: int, kind: str, seed: int) -> None:
        super().__init__(architecture, vocabulary_size)
        widths = [architecture.shapes(vocabulary_size)[f"layers.{k}.weight_ih"][1] for k in range(architecture.layers)]
        self.kinds = nn.ModuleList(STEPS[kind](width, architecture.hidden) for width in widths)
        initialize(self, torch.Generator().manual_seed(seed))
        for module in self.kinds.modules():
            if isinstance(module, nn.LayerNorm):
                module.reset_parameters()

    def is_compiled(self) -> bool:
        """Return False: these are torch's operations, on torch's threads."""
        return False

    def forward(
        self, ids: Tensor, state: State, regularize: Dropout | None = None, _: object = None
    ) -> tuple[Tensor, State]:
        """Do the same as `Network.forward`, with this step function."""
        kinds = iter(self.kinds)

        def recurrence(_: Cell, x: Tensor | Lookup, own: LayerState, weights: Weights) -> tuple[Tensor, LayerState]:
            step, outputs = next(kinds), []
            for at in dense(x):
                own = step(at, own, weights)
                outputs.append(own[0])
            return torch.stack(outputs), own

        return super().forward(ids, state, regularize, recurrence)


def train(corpus: Corpus, config: Config, kind: str) -> tuple[int, float, float]:
    """Train one kind; return its number of parameters, milliseconds a step, and validation nats per character."""
    trainer = make_trainer(corpus, config)  # for its recipe and its batches
    recipe = trainer.recipe
    network = Varied(recipe.architecture, len(corpus.vocabulary), kind, recipe.seed)
    learner = Learner(network, recipe, torch.device("cpu"), "fp32")
    begin = time.perf_counter()
    for step in range(recipe.steps):
        batch = trainer.batches.batch(step)
        factor = lr_factor(step, batch.epoch, recipe, begin=0)
        learner.step(batch, recipe.learning_rate * factor, step)
    milliseconds = 1e3 * (time.perf_counter() - begin) / recipe.steps
    valid = corpus.part("valid", VALID, 0.0).take(0, len(corpus))
    return network.size(), milliseconds, score_ids(network, valid, corpus.vocabulary).nats_per_char


def main() -> None:
    """Read the command line, train every kind, print the table."""
    parser = argument_parser(__doc__)
    parser.add_argument("text")
    parser.add_argument("--kinds", nargs="+", default=list(STEPS), choices=list(STEPS))
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--hidden", type=int, default=192)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    corpus = open_corpus([options.text])
    sizes = {"steps": options.steps, "hidden": options.hidden, "seed": options.seed}
    config, _ = compose({**sizes, "valid": VALID, "test": 0.0})
    rows = []
    for kind in options.kinds:
        size, milliseconds, nats = train(corpus, config, kind)
        rows.append((kind, f"{size:,}", f"{milliseconds:.0f}", f"{nats:.4f}"))
        print(*rows[-1], sep=" | ", flush=True)
    print()
    print(markdown(["kind", "parameters", "ms a step", "nats per character"], rows))


if __name__ == "__main__":
    main()
