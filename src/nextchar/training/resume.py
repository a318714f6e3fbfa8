"""Where a training begins when it does not begin from nothing: a snapshot of its own, or another model's weights."""

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from nextchar.architecture import STATES
from nextchar.config import Config, make_config
from nextchar.errors import ConfigError, ModelFileError, TextError
from nextchar.model.network import Network, set_weights
from nextchar.model.state import State
from nextchar.storage import Arrays, ModelFile, read_arrays, write_arrays
from nextchar.text.corpus import Corpus
from nextchar.text.vocabulary import UNKNOWN, Vocabulary

FIRST_LAYER = "layers.0.weight_ih"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything needed to go on to the bit.

    The place in the text and all randomness follow from the seed and the step, so they need no room here.

    Attributes:
        config: Complete.
        vocabulary: Of the network.
        corpus: The key of the text.
        step: Steps done.
        begin: The step at which the present budget began.
        steps: The step at which it ends.
        best_nats: Best validation score so far.
        since_best: Validations since then.
        weights: By name.
        optimizer: As `optimizer_arrays` returns it.
        state: Of the recurrence, every lane.
        best: The best model so far; kept in a file of its own.
    """

    config: Config
    vocabulary: Vocabulary
    corpus: str
    step: int
    begin: int
    steps: int
    best_nats: float
    since_best: int
    weights: Arrays
    optimizer: Arrays
    state: State
    best: ModelFile | None = None

    @property
    def unfinished(self) -> bool:
        """Whether its budget has not been used up, nor its patience."""
        return self.step < self.steps and not 0 < self.config.patience <= self.since_best

    def must_be_of(self, corpus: Corpus) -> None:
        """Refuse another text than the one this is of."""
        if corpus.key != self.corpus:
            raise TextError(
                "the text is not the one this run was trained on; --init-from starts a new run from its model"
            )


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot as one file, atomically; the best model is not in it."""
    arrays = {f"weights/{name}": array for name, array in snapshot.weights.items()} | snapshot.optimizer
    for layer, vectors in enumerate(snapshot.state):
        for index, vector in enumerate(vectors):
            # bf16 fits into float32 exactly, and numpy has no type for it.
            arrays[f"state/{layer}/{index}"] = vector.detach().float().cpu().numpy()
    metadata = {
        "config": snapshot.config.model_dump(exclude_none=True, mode="json"),
        "vocabulary": snapshot.vocabulary.as_dict(),
        "corpus": snapshot.corpus,
        "state_type": str(snapshot.state[0][0].dtype).removeprefix("torch."),
        "best_nats": snapshot.best_nats if np.isfinite(snapshot.best_nats) else None,
        **{name: getattr(snapshot, name) for name in ("step", "begin", "steps", "since_best")},
    }
    write_arrays(path, arrays, metadata)


def read_snapshot(path: Path) -> Snapshot:
    """Read what `write_snapshot` wrote; the best model is left out."""
    arrays, metadata = read_arrays(path)
    try:
        config = make_config(metadata["config"], str(path))
        shape = config.architecture()
        kind = getattr(torch, metadata["state_type"])
        state = tuple(
            tuple(
                torch.from_numpy(arrays[f"state/{layer}/{index}"]).to(kind)
                for index in range(STATES[shape.cell])
            )
            for layer in range(shape.layers)
        )
        best = metadata["best_nats"]
        return Snapshot(
            config=config,
            vocabulary=Vocabulary.from_dict(metadata["vocabulary"]),
            corpus=metadata["corpus"],
            best_nats=float("inf") if best is None else best,
            weights=_below("weights/", arrays),
            optimizer={name: array for name, array in arrays.items() if name.startswith("optimizer/")},
            state=state,
            step=int(metadata["step"]),
            begin=int(metadata["begin"]),
            steps=int(metadata["steps"]),
            since_best=int(metadata["since_best"]),
        )
    except (KeyError, AttributeError, TypeError, json.JSONDecodeError) as error:
        raise ModelFileError(f"{path} is damaged or does not hold a training: it lacks {error}") from None


def _below(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def load_extended_vocabulary(model: ModelFile, network: Network, vocabulary: Vocabulary) -> None:
    """Put a model's weights into a network over a larger vocabulary.

    Rows of characters that both know are kept; rows of new characters stay as they were initialized. The last row of
    an embedding is START's in both.
    """
    if model.architecture != network.architecture:
        raise ConfigError("the network is of another shape than the model it starts from")
    places = vocabulary.find(np.array(model.vocabulary.codes, np.uint32)).astype(np.int64)
    if (places == int(UNKNOWN)).any():
        raise ConfigError("the vocabulary lacks characters of the model it starts from")
    arrays = {name: parameter.detach().numpy().copy() for name, parameter in network.named_parameters()}
    with_start = np.append(places, len(vocabulary))
    for name, array in model.arrays.items():
        if name == "embedding.weight":
            arrays[name][with_start] = array
        elif name.startswith("head."):
            arrays[name][places] = array
        elif name == FIRST_LAYER and not model.architecture.embedding:
            arrays[name][:, places] = array
        else:
            arrays[name][...] = array
    set_weights(network, {name: torch.from_numpy(array) for name, array in arrays.items()})
