"""Where a training starts if not from nothing: a snapshot of its own, or another model's weights."""

from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from nextchar.architecture import STATES
from nextchar.errors import ConfigError, ModelFileError, check_types
from nextchar.model.network import Network, set_weights
from nextchar.model.state import State
from nextchar.recipe import Recipe
from nextchar.storage import Arrays, ModelFile, read_arrays, write_arrays
from nextchar.text.vocabulary import UNKNOWN, Vocabulary

FIRST_LAYER = "layers.0.weight_ih"
STATE_TYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
COUNTS = ("step", "begin", "steps", "since_best")
KINDS: dict[str, type] = {"config": dict, "vocabulary": dict, "corpus": str, "state_type": str}
KINDS |= {"best_nats": Real, **dict.fromkeys(COUNTS, int)}


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything needed to resume a training with the same bits.

    The position in the text and all random numbers follow from the seed and the step.

    Attributes:
        recipe: Its `steps` are the end of the present budget.
        vocabulary: Of the network.
        corpus: The key of the text.
        step: Steps done.
        begin: The step at which the present budget began.
        best_nats: Best validation score so far.
        since_best: Validations since then.
        weights: By name.
        optimizer: As `optimizer_arrays` returns it.
        state: Of the recurrence, `(B, H)` per vector.
        best: The best model so far; kept in a file of its own.
    """

    recipe: Recipe
    vocabulary: Vocabulary
    corpus: str
    step: int
    begin: int
    best_nats: float
    since_best: int
    weights: Arrays
    optimizer: Arrays
    state: State
    best: ModelFile | None = None

    @property
    def unfinished(self) -> bool:
        """Whether steps of its budget are left, and its patience is not used up."""
        return self.step < self.recipe.steps and not 0 < self.recipe.patience <= self.since_best


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write a snapshot as one file, atomically; the best model is not in it."""
    arrays = {f"weights/{name}": array for name, array in snapshot.weights.items()} | snapshot.optimizer
    for layer, vectors in enumerate(snapshot.state):
        for index, vector in enumerate(vectors):
            # numpy has no bfloat16, whose values float32 holds exactly.
            arrays[f"state/{layer}/{index}"] = vector.detach().float().cpu().numpy()
    metadata = {
        "config": snapshot.recipe.model_dump(exclude_none=True, mode="json"),
        "vocabulary": snapshot.vocabulary.as_dict(),
        "corpus": snapshot.corpus,
        "state_type": str(snapshot.state[0][0].dtype).removeprefix("torch."),
        "best_nats": snapshot.best_nats if np.isfinite(snapshot.best_nats) else None,
        "steps": snapshot.recipe.steps,
        **{name: getattr(snapshot, name) for name in ("step", "begin", "since_best")},
    }
    write_arrays(path, arrays, metadata)


def read_snapshot(path: Path) -> Snapshot:
    """Read what `write_snapshot` or version 0.1.0 wrote; the best model is left out."""
    arrays, metadata = read_arrays(path)
    try:
        check_types(
            {name: metadata[name] for name in KINDS},
            KINDS,
            *(KINDS.keys() - {"best_nats"}),
            where=f"{path} is damaged: ",
        )
        if not 0 <= metadata["begin"] <= metadata["step"] or metadata["since_best"] < 0:
            raise ModelFileError(f"{path} is damaged: its counts of steps contradict each other")
        # Before kernels were measured, ours were used wherever they can run.
        recipe = Recipe.make({"kernels": "compiled", **metadata["config"], "steps": metadata["steps"]}, str(path))
        vocabulary, kind = Vocabulary.from_dict(metadata["vocabulary"]), STATE_TYPES[metadata["state_type"]]
        _check_arrays(path, recipe, len(vocabulary), arrays)
        state = tuple(
            tuple(torch.from_numpy(arrays[f"state/{layer}/{index}"]).to(kind) for index in range(STATES[recipe.cell]))
            for layer in range(recipe.layers)
        )
        best = metadata["best_nats"]
        return Snapshot(
            recipe=recipe,
            vocabulary=vocabulary,
            corpus=metadata["corpus"],
            best_nats=float("inf") if best is None else best,
            weights=_below("weights/", arrays),
            optimizer={name: array for name, array in arrays.items() if name.startswith("optimizer/")},
            state=state,
            step=metadata["step"],
            begin=metadata["begin"],
            since_best=metadata["since_best"],
        )
    except (KeyError, AttributeError, TypeError, OverflowError) as error:
        raise ModelFileError(f"{path} is damaged or does not hold a training: it lacks {error}") from None


def to_bytes(snapshot: Snapshot) -> bytes:
    """Return what `write_snapshot` writes."""
    with TemporaryDirectory(prefix="nextchar-") as folder:
        write_snapshot(Path(folder) / "snapshot", snapshot)
        return (Path(folder) / "snapshot").read_bytes()


def from_bytes(content: bytes) -> Snapshot:
    """Read what `to_bytes` returned."""
    with TemporaryDirectory(prefix="nextchar-") as folder:
        (Path(folder) / "snapshot").write_bytes(content)
        return read_snapshot(Path(folder) / "snapshot")


def _check_arrays(path: Path, recipe: Recipe, size: int, arrays: Arrays) -> None:
    """Check names, shapes and types of all arrays, which compiled code relies on, and that they are finite."""
    shapes = recipe.architecture.shapes(size)
    known = {f"weights/{name}": shape for name, shape in shapes.items()}
    for layer in range(recipe.layers):
        known |= {f"state/{layer}/{index}": (recipe.batch_size, recipe.hidden) for index in range(STATES[recipe.cell])}
    if any(name.startswith("optimizer/") for name in arrays):  # at step 0 there are none
        moments = ("square_avg",) if recipe.optimizer == "rmsprop" else ("exp_avg", "exp_avg_sq")
        known |= {f"optimizer/{name}/{moment}": shape for name, shape in shapes.items() for moment in moments}
        known |= {f"optimizer/{name}/step": (1,) for name in shapes}
    for name in sorted({*known, *arrays}):
        array = arrays[name]
        if (
            array.shape != known.get(name)
            or array.dtype != np.float32
            or not np.isfinite(array).all()
            or ("/step" in name and array[0] < 0)
        ):
            raise ModelFileError(f"{path} is damaged: {name!r:.80} is not what its options and its network need")


def _below(prefix: str, arrays: Arrays) -> Arrays:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}


def load_extended_vocabulary(model: ModelFile, network: Network, vocabulary: Vocabulary) -> None:
    """Copy a model's weights into a network with a larger vocabulary.

    Rows of shared characters are copied; rows of new characters keep their initial values. The last row of an embedding
    is START's in both.

    Raises:
        ConfigError: The network has another shape, or its vocabulary lacks characters of the model.
    """
    if model.architecture != network.architecture:
        raise ConfigError("the network does not have the shape of the model it starts from")
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
    set_weights(network, arrays)
