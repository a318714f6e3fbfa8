"""Model files: one safetensors file holds a whole model; it is written atomically and validated when it is read.

Reading a model file needs neither torch nor the text it was trained on.
"""

import json
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from nextchar.architecture import Architecture, WeightKind
from nextchar.errors import ModelFileError, NextcharError, check_choice, check_types
from nextchar.kernels.quantization import grow, shrink
from nextchar.notebook import summary
from nextchar.text.hub import fetch_model, is_hub, model_address
from nextchar.text.paths import Text, expand
from nextchar.text.vocabulary import Vocabulary, common_vocabulary

if TYPE_CHECKING:
    import torch

    from nextchar.language_model import LanguageModel
    from nextchar.model.network import Network

FORMAT = "nextchar"
VERSION = 2  # a model with bf16 or int8 weights; all other files have 1, as before there were such models
MODEL = "model.safetensors"
TRAINING = "training.safetensors"
CONFIG = "config.toml"
LOG = "log.jsonl"
CHECKPOINTS = "checkpoints"
EXPORTS = (".html", ".onnx")  # what `export` writes and only other programs read
MEMBER = "member-"
"""How the folders in the run folder of an ensemble begin; a number follows."""
WINDOWS_IN_USE = (5, 32, 1224)  # Windows' error codes for a file that is open, locked or mapped
RETRIES = (0.05, 0.1, 0.2, 0.4, 0.8, 0.0)
"""Seconds between attempts to replace a file: virus scanners open new files for a moment."""

OPTIONS = {"valid": Real, "test": Real, "forget_bias": Real, "init": str}
ORIGIN = {"texts": list, "corpus": str, "step": int, "steps": int, "epochs": Real, "precision": str, "valid": dict}
SCORE = {"nats_per_char": Real, "bits_per_char": Real, "protocol": str}
EVENT = {"event": str, "step": int, "seconds": Real, "vocabulary": int, "dropout": bool}
OF_EVENT: dict[str, dict[str, type]] = {
    "progress": {"loss": Real},
    "validated": {"score": dict},
    "sampled": {"text": str},
}
"""Of what is read from the descriptions in files, the types."""

Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """The content of a model file: all that the compiled kernels need.

    Attributes:
        architecture: The shape of the network.
        vocabulary: Its characters or bytes.
        arrays: float32 weights, with the names and shapes of `Architecture.shapes`.
        config: The options of the training, by name.
        provenance: Texts with their digests, splits, steps, last scores.
        weights: The kind of weights in the file, and what texts are generated with unless another is asked for.
    """

    architecture: Architecture
    vocabulary: Vocabulary
    arrays: Arrays
    config: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
    weights: WeightKind = "fp32"

    @property
    def format(self) -> int:
        """The version of the format that can hold it."""
        return 1 if self.weights == "fp32" else VERSION

    def __repr__(self) -> str:
        return summary("ModelFile", self.architecture, self.vocabulary, self.provenance)


ModelSource = Union["LanguageModel", ModelFile, str, Path]
"""What every verb takes for a model: the model itself, its file as a value, or a file, a run folder or hf://USER/NAME."""


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Replace a file atomically: `write` fills a temporary file beside it, which is synced and then renamed.

    At any moment, also after a crash, the path holds the complete old content or the complete new content.

    Raises:
        NextcharError: The path is a folder; or, on Windows, another program keeps the file open.
    """
    if path.is_dir():
        raise NextcharError(f"{path} is a folder; name a file in it")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{secrets.token_hex(4)}")
    try:
        temporary.touch(exist_ok=False)
        write(temporary)
        with temporary.open("r+b") as file:  # Windows syncs only what is open for writing
            os.fsync(file.fileno())
        _replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _replace(source: Path, target: Path) -> None:
    """Rename a file over another; on Windows, wait for a program that has the other one open for a moment."""
    for seconds in RETRIES:
        try:
            source.replace(target)
        except OSError as error:
            if getattr(error, "winerror", None) not in WINDOWS_IN_USE:
                raise
            time.sleep(seconds)
        else:
            return
    raise NextcharError(f"{target} is open in another program; close it there and try again")


def _sync_folder(folder: Path) -> None:
    """Make a rename durable, on systems where a folder can be opened."""
    if flag := getattr(os, "O_DIRECTORY", 0):
        descriptor = os.open(folder, os.O_RDONLY | flag)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically, as UTF-8, without converting line ends."""
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline=""))


def write_arrays(path: Path, arrays: Arrays, metadata: Mapping[str, Any]) -> None:
    """Write arrays and JSON metadata as one safetensors file, atomically."""
    content = _encoded(arrays, metadata)
    write_atomically(path, lambda temporary: temporary.write_bytes(content))


def _encoded(arrays: Arrays, metadata: Mapping[str, Any]) -> bytes:
    # One key: safetensors does not keep the order of several, and equal models must give equal files.
    header = {FORMAT: json.dumps({"format": 1, **metadata})}
    return save_arrays({name: np.ascontiguousarray(array) for name, array in arrays.items()}, header)


def read_arrays(path: Path) -> tuple[Arrays, dict[str, Any]]:
    """Read a file of `write_arrays`.

    Raises:
        ModelFileError: The file is missing, damaged, of another kind, or of a newer version.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        run = Path("runs") / path
        near = f"; did you mean '{run}'?" if run.exists() else ""
        raise ModelFileError(f"there is no model file {path}{near}") from None
    except OSError:  # IsADirectoryError, or PermissionError on Windows
        if not path.is_dir():
            raise
        raise ModelFileError(f"{path} is a folder, not a model file") from None
    # A safetensors file starts with the length of its header, which may be any bytes, and then has JSON.
    if content[8:9] != b"{" and content[:2] in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"):
        raise ModelFileError(
            f"{path} is a pickle, which can run any code when it is opened; if it holds weights of PyTorch, "
            "`nextchar import` reads it safely"
        )
    metadata = _metadata(path, content)
    version = metadata.pop("format", None)
    if type(version) is not int or version > VERSION:
        raise ModelFileError(
            f"{path} has format {version}, and this nextchar reads up to {VERSION}; install a newer nextchar"
        )
    try:
        return load_arrays(content), metadata
    except (SafetensorError, ValueError, KeyError) as error:
        raise ModelFileError(f"{path} is damaged: {error}") from None


def read_metadata(path: Path) -> dict[str, Any]:
    """Read the metadata of a file of `write_arrays`, without its arrays.

    Raises:
        ModelFileError: The file is damaged or of another kind.
    """
    with path.open("rb") as file:
        start = file.read(8)
        # The length is what the file claims; memory is reserved only for what it has.
        return _metadata(path, start + file.read(min(int.from_bytes(start, "little"), os.fstat(file.fileno()).st_size)))


def _metadata(path: Path, content: bytes) -> dict[str, Any]:
    """Read nextchar's metadata from the header, before anything else of the file is used."""
    length = int.from_bytes(content[:8], "little")
    if path.suffix.lower() in EXPORTS:
        raise ModelFileError(f"{path} is for other programs; name the run folder or model file that it was made from")
    if path.suffix != ".safetensors" and content[:8].strip() and content[:8].decode(errors="replace").isprintable():
        raise ModelFileError(f"{path} is a text, not a model; `nextchar train` makes a model of it")
    if len(content) < 8 or length > len(content) - 8:
        raise ModelFileError(f"{path} is damaged or not a model file: it ends before its header does")
    try:
        header = json.loads(content[8 : 8 + length])
        mine = header.get("__metadata__", {}).get(FORMAT)
        metadata = json.loads(mine) if mine is not None else None
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise ModelFileError(f"{path} is damaged or not a model file: its header cannot be read") from None
    if not isinstance(metadata, dict):
        raise ModelFileError(f"{path} is a safetensors file, but not one that nextchar wrote; see `nextchar import`")
    return metadata


def model_path(path: Text) -> Path:
    """Return the model file of a run folder, or the file itself; for an address on the Hub, its file in the cache.

    Raises:
        ModelFileError: The folder holds no model.
        HubError: It cannot be fetched from the Hub.
    """
    if is_hub(path):
        return fetch_model(path, MODEL)
    place = expand(path)
    if not place.is_dir():
        return place
    if not (place / MODEL).exists() and (several := member_folders(place)):
        raise ModelFileError(
            f"{place} holds an ensemble of {len(several)} models, which sample, evaluate and serve take as one; "
            f"here, name one of them, such as {several[0]}"
        )
    if not (place / MODEL).exists():
        raise ModelFileError(f"the folder {place} holds no {MODEL}; name a run folder or a model file")
    return place / MODEL


def holds_run(folder: Path) -> bool:
    """Return whether a folder holds a run that a new one would overwrite."""
    return any((folder / name).exists() for name in (TRAINING, MODEL)) or bool(member_folders(folder))


def member_folders(folder: Path) -> list[Path]:
    """Return the run folders of the members of an ensemble, in the order of their numbers; none for any other folder."""
    numbers = {each.name.removeprefix(MEMBER): each for each in folder.glob(f"{MEMBER}*") if each.is_dir()}
    return [numbers[number] for number in sorted(filter(str.isdecimal, numbers), key=int)]


def members(models: "ModelSource | Sequence[ModelSource]") -> "list[ModelSource]":
    """Return one model or several as a list, with the run folder of an ensemble replaced by those of its members."""
    several: Any = models if isinstance(models, Sequence) and not isinstance(models, str) else [models]
    found: list[ModelSource] = []
    for model in several:
        inside = member_folders(expand(model)) if isinstance(model, (str, Path)) and not is_hub(model) else []
        found += [each for each in inside if (each / MODEL).exists()] or [model]
    return found


def read_model(path: Text) -> ModelFile:
    """Read a model file, that of a run folder, or one on the Hub, without torch.

    The provenance of a model from the Hub has its address, with the hash of the commit, as "hub".

    Raises:
        ModelFileError: The file is missing, damaged, of another kind, of a newer version, or its weights do not fit
            its architecture.
        HubError: It cannot be fetched from the Hub.
    """
    place = model_path(path)
    arrays, metadata = read_arrays(place)
    try:
        architecture = Architecture.from_dict(metadata["architecture"])
        if architecture.layers > len(arrays):  # a header can claim any number, and their names would be listed
            raise ModelFileError(f"it has {len(arrays)} arrays, too few for {architecture.layers} layers")
        vocabulary = Vocabulary.from_dict(metadata["vocabulary"])
        config, provenance = dict(metadata["config"]), dict(metadata["provenance"])
        _check_origin(config, provenance)
        check_choice("weights", kind := metadata.get("weights", "fp32"), WeightKind)
        arrays = grow(architecture, arrays, kind)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        detail = str(error) if isinstance(error, NextcharError) else f"its metadata lacks {error}"
        raise ModelFileError(f"{place} is damaged or not a model: {detail}") from None
    if is_hub(path):
        provenance["hub"] = model_address(path, place)
    shapes = architecture.shapes(len(vocabulary))
    found = {name: array.shape for name, array in arrays.items()}
    if found != shapes:
        wrong = sorted(name for name in {*shapes, *found} if shapes.get(name) != found.get(name))
        raise ModelFileError(f"{place} is damaged: {wrong[0]} does not have the shape of its architecture")
    if any(array.dtype != np.float32 for array in arrays.values()):
        raise ModelFileError(f"{place} is damaged: its weights are not float32")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise ModelFileError(f"{place} is damaged: a weight is not a finite number")
    return ModelFile(architecture, vocabulary, arrays, config, provenance, kind)


def _check_origin(config: dict[str, Any], provenance: dict[str, Any]) -> None:
    """Check the types of all that is read from the options and the provenance of a model."""
    check_types(config, OPTIONS, *(OPTIONS.keys() & config.keys()))
    check_types(provenance, ORIGIN, *(ORIGIN.keys() & provenance.keys() - {"valid"}))
    for text in provenance.get("texts") or ():
        check_types(text if isinstance(text, dict) else {}, {"name": str}, "name")
    if score := provenance.get("valid"):
        check_types(score, SCORE, *SCORE)


def encode_model(model: ModelFile) -> bytes:
    """Return the content of the file of a model; weights that are not fp32 are rounded as the engine rounds them."""
    metadata: dict[str, Any] = {
        "architecture": model.architecture.as_dict(),
        "vocabulary": model.vocabulary.as_dict(),
        "config": model.config,
        "provenance": model.provenance,
    }
    if model.weights != "fp32":
        metadata |= {"format": model.format, "weights": model.weights}
    return _encoded(shrink(model.architecture, model.arrays, model.weights), metadata)


def write_model(path: str | Path, model: ModelFile) -> None:
    """Write a model as one file, which holds everything that sampling and scoring need."""
    content = encode_model(model)
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(content))


def to_file(model: ModelSource) -> ModelFile:
    """Return the content of the file of a model, a model file or a path; the arrays of a model are copied.

    Functions that need no torch accept a model through this function, others through `to_language_model`.

    Raises:
        ModelFileError: The path leads to no model, or `model` is none of the three.
    """
    if isinstance(model, ModelFile):
        return model
    if isinstance(model, (str, Path)):
        return read_model(model)
    if not hasattr(model, "network"):
        raise ModelFileError(f"a model is a LanguageModel, a ModelFile or a path, but {type(model).__name__} was given")
    arrays = {name: tensor.detach().float().cpu().numpy().copy() for name, tensor in model.network.named_parameters()}
    return ModelFile(
        model.network.architecture, model.vocabulary, arrays, model.config, model.provenance, model.weights
    )


def to_language_model(model: ModelSource, device: "torch.device | str" = "cpu") -> "LanguageModel":
    """Return a model, a model file or a path as a torch network with its vocabulary.

    Args:
        model: A language model is returned as it is, on the device where it is.
        device: Where the network of a file is put.

    Raises:
        ModelFileError: The path leads to no model, or `model` is none of the three.
    """
    from nextchar.language_model import LanguageModel  # noqa: PLC0415  as above
    from nextchar.model.network import Network, set_weights  # noqa: PLC0415  as above

    if isinstance(model, LanguageModel):
        return model
    file = to_file(model)
    network = Network(file.architecture, len(file.vocabulary))
    set_weights(network, file.arrays)
    return LanguageModel(network.to(device), file.vocabulary, file.config, file.provenance, weights=file.weights)


def to_networks(models: "ModelSource | Sequence[ModelSource]") -> "tuple[list[Network], Vocabulary]":
    """Return the networks of one model, or of a list or tuple of several, and the vocabulary that they share.

    Raises:
        ConfigError: There is no model, or the vocabularies differ.
    """
    loaded = [to_language_model(model) for model in members(models)]
    return [lm.network for lm in loaded], common_vocabulary([lm.vocabulary for lm in loaded])


def save(lm: "LanguageModel", path: Text) -> None:
    """Write a language model to a file."""
    write_model(expand(path), to_file(lm))


def load(path: Text, device: "torch.device | str" = "cpu") -> "LanguageModel":
    """Read a language model from a file, a run folder or hf://USER/NAME, with the log of the run if it is there.

    Raises:
        ModelFileError: See `read_model`.
        ConfigError: The device is not on this machine.
    """
    from nextchar.device import pick_device  # noqa: PLC0415  torch takes long to import

    lm = to_language_model(read_model(path), pick_device(str(device)))
    file = model_path(path)
    return replace(lm, log=read_log(file.with_name(LOG)) if file.name == MODEL else ())


def read_log(path: Path) -> list[dict[str, Any]]:
    """Read the log of a run up to the first line that is incomplete or damaged."""
    entries: list[dict[str, Any]] = []
    with suppress(ValueError, RecursionError, AttributeError, FileNotFoundError):  # ModelFileError is a ValueError
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            entry = json.loads(line)
            check_types(entry, EVENT, "event", "step")
            own = OF_EVENT.get(entry["event"], {})
            check_types(entry, own, *own)
            if entry["event"] == "validated":
                check_types(entry["score"], SCORE, *SCORE)
            if entry["step"] < 0:
                break
            entries.append(entry)
    return entries
