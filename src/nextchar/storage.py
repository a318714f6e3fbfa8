"""Files: one safetensors file that holds a whole model, written atomically and read with suspicion.

Reading a model file needs neither torch nor the text it was trained on.
"""

import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from nextchar.architecture import Architecture
from nextchar.errors import ModelFileError, NextcharError
from nextchar.text.paths import expand
from nextchar.text.vocabulary import Vocabulary

if TYPE_CHECKING:
    import torch

    from nextchar.language_model import LanguageModel

FORMAT = "nextchar"
VERSION = 1
MODEL = "model.safetensors"
TRAINING = "training.safetensors"
CONFIG = "config.toml"
CHECKPOINTS = "checkpoints"

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """What lies on disk, as a value: enough for the kernels.

    Attributes:
        architecture: The shape.
        vocabulary: What the ids stand for.
        arrays: float32 weights by the names of `Architecture.shapes`.
        config: The options of the training, by name.
        provenance: Texts with digests, splits, steps, last scores.
    """

    architecture: Architecture
    vocabulary: Vocabulary
    arrays: Arrays
    config: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside the target, sync it, then put it in the target's place.

    Whatever happens, the target is either what it was or what it is to be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        write(temporary)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0o22)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, line ends as they are."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline=""))


def write_arrays(path: Path, arrays: Arrays, metadata: Mapping[str, Any]) -> None:
    """Write arrays and JSON metadata as one safetensors file, atomically."""
    # One key, because safetensors does not keep the order of several, and equal models shall be equal files.
    header = {FORMAT: json.dumps({"format": VERSION, **metadata})}
    whole = save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()}, header)
    write_atomically(path, lambda temporary: temporary.write_bytes(whole))


def read_arrays(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read what `write_arrays` wrote.

    Raises:
        ModelFileError: Missing, damaged, foreign or from the future; one sentence.
    """
    try:
        whole = path.read_bytes()
    except FileNotFoundError:
        raise ModelFileError(f"there is no model file {path}") from None
    except IsADirectoryError:
        raise ModelFileError(f"{path} is a folder, not a model file") from None
    # A safetensors file may begin with any two bytes, because its header's length does, but then comes JSON.
    if whole[8:9] != b"{" and whole[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise ModelFileError(
            f"{path} is a pickle, which can run any code when opened; nextchar reads only its own files"
        )
    metadata = _metadata(path, whole)
    version = metadata.pop("format", None)
    if type(version) is not int or version > VERSION:
        raise ModelFileError(
            f"{path} has format {version}, and this nextchar reads up to {VERSION}; install a newer nextchar"
        )
    try:
        return load_arrays(whole), metadata
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelFileError(f"{path} is damaged: {error}") from None


def _metadata(path: Path, whole: bytes) -> dict[str, Any]:
    """Read what nextchar wrote into the header, before anything else is believed."""
    length = int.from_bytes(whole[:8], "little")
    if len(whole) < 8 or length > len(whole) - 8:
        raise ModelFileError(f"{path} is damaged or is no model file: it ends before its header does")
    try:
        header = json.loads(whole[8 : 8 + length])
        mine = header.get("__metadata__", {}).get(FORMAT)
        metadata = json.loads(mine) if mine is not None else None
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise ModelFileError(f"{path} is damaged or is no model file: its header cannot be read") from None
    if not isinstance(metadata, dict):
        raise ModelFileError(f"{path} is a safetensors file, but not one that nextchar wrote")
    return metadata


def model_path(path: str | Path) -> Path:
    """Return the model file of a run folder, or the file itself."""
    place = expand(path)
    if not place.is_dir():
        return place
    if not (place / MODEL).exists():
        raise ModelFileError(f"the folder {place} holds no {MODEL}; name a run folder or a model file")
    return place / MODEL


def holds_run(folder: Path) -> bool:
    """Tell whether a folder holds a run that a new one would overwrite."""
    return any((folder / name).exists() for name in (TRAINING, MODEL))


def read_model(path: str | Path) -> ModelFile:
    """Read a model file, or that of a run folder, without torch.

    Raises:
        ModelFileError: Missing, damaged, foreign, from the future, or not the weights it says.
    """
    place = model_path(path)
    arrays, metadata = read_arrays(place)
    try:
        architecture = Architecture.from_dict(metadata["architecture"])
        vocabulary = Vocabulary.from_dict(metadata["vocabulary"])
        config, provenance = dict(metadata["config"]), dict(metadata["provenance"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        detail = str(error) if isinstance(error, NextcharError) else f"its metadata lacks {error}"
        raise ModelFileError(f"{place} is damaged or is no model: {detail}") from None
    shapes = architecture.shapes(len(vocabulary))
    found = {name: array.shape for name, array in arrays.items()}
    if found != shapes:
        wrong = sorted(name for name in {*shapes, *found} if shapes.get(name) != found.get(name))
        raise ModelFileError(f"{place} is damaged: {wrong[0]} is not what its architecture asks for")
    if any(array.dtype != np.float32 for array in arrays.values()):
        raise ModelFileError(f"{place} is damaged: its weights are not float32")
    return ModelFile(architecture, vocabulary, arrays, config, provenance)


def write_model(path: str | Path, model: ModelFile) -> None:
    """Write a model as one file that suffices alone."""
    metadata = {
        "architecture": model.architecture.as_dict(),
        "vocabulary": model.vocabulary.as_dict(),
        "config": model.config,
        "provenance": model.provenance,
    }
    write_arrays(Path(path), model.arrays, metadata)


def to_file(lm: "LanguageModel") -> ModelFile:
    """Return a language model as the value that lies on disk; the arrays are copies."""
    arrays = {
        name: tensor.detach().float().cpu().numpy().copy() for name, tensor in lm.network.named_parameters()
    }
    return ModelFile(lm.network.architecture, lm.vocabulary, arrays, lm.config, lm.provenance)


def to_language_model(model: ModelFile, device: "torch.device | str" = "cpu") -> "LanguageModel":
    """Put a torch network around a model file."""
    import torch  # noqa: PLC0415  reading a file must not need torch

    from nextchar.language_model import LanguageModel  # noqa: PLC0415  as above
    from nextchar.model.network import Network, set_weights  # noqa: PLC0415  as above

    network = Network(model.architecture, len(model.vocabulary))
    set_weights(network, {name: torch.from_numpy(array.copy()) for name, array in model.arrays.items()})
    return LanguageModel(network.to(device), model.vocabulary, model.config, model.provenance)


def save(lm: "LanguageModel", path: str | Path) -> None:
    """Write a language model to a file."""
    write_model(path, to_file(lm))


def load(path: str | Path, device: "torch.device | str" = "cpu") -> "LanguageModel":
    """Read a language model from a file or run folder."""
    return to_language_model(read_model(path), device)
