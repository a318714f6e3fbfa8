"""`import_weights`: weights of torch's own modules, trained elsewhere, become a model of nextchar."""

import json
import re
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import safe_open

from nextchar.architecture import GATES, Architecture, Cell
from nextchar.errors import ConfigError, ModelFileError
from nextchar.language_model import LanguageModel
from nextchar.storage import FORMAT, ModelFile, to_language_model
from nextchar.text.paths import Text, expand
from nextchar.text.vocabulary import Units, Vocabulary, describe

Arrays = dict[str, npt.NDArray[np.float32]]
Known = Text | Sequence[str] | Sequence[int] | Mapping[str, int]

NESTED = ("state_dict", "model_state_dict", "model")  # where a checkpoint keeps its weights
RECURRENT = re.compile(r"(.*?)(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)(?:_l(\d+))?(_reverse)?")
EMBEDDING = re.compile("emb|enc|wte", re.IGNORECASE)  # in names, where shapes do not tell


def import_weights(
    weights: Text | Mapping[str, Any],
    vocabulary: Known | None = None,
    *,
    start: str | None = None,
    sum_outputs: bool = False,
) -> LanguageModel:
    """Make a model of weights of `torch.nn`: an `Embedding` or one-hot input, `LSTM`, `GRU` or `RNN`, and a `Linear`.

    Cell, layers and sizes follow from the shapes.

    Args:
        weights: A file of `torch.save(model.state_dict(), FILE)`, or of safetensors, of which no code is run; or the state
            dict itself. A .pt file of `export` has the vocabulary inside.
        vocabulary: The characters in the order of their ids: a list of them, a mapping from them to ids, a .json file
            with one of the two, or a text file. Whole numbers are bytes.
        start: The character that stands for the beginning of a text, if the embedding has no row for START, which would
            be one more than there are characters. By default a line break. "", or a line break that is not in the
            vocabulary, is an input of zeros.
        sum_outputs: Whether the output layer reads the sum of all recurrent layers instead of the last one.

    Raises:
        ModelFileError: The file cannot be read safely, or holds another kind of model.
        ConfigError: The vocabulary, or `start`, does not fit.

    Example:
        >>> lm = nextchar.import_weights("weights.pt", list(" abc"))
    """
    given, about = _read(weights)
    layers, rest = _split(given)
    rows, hidden = layers[0]["weight_hh"].shape
    width = layers[0]["weight_ih"].shape[-1]
    cells: dict[int, Any] = {gates * hidden: cell for cell, gates in GATES.items()}
    if rows not in cells:
        raise ModelFileError(f"a weight_hh has shape ({rows}, {hidden}), which is neither an LSTM, a GRU nor an RNN")
    cell: Cell = cells[rows]
    head, bias, table = _ends(rest, hidden, width)
    vocabulary = about.get("vocabulary") if vocabulary is None else vocabulary
    if vocabulary is None:
        raise ConfigError("the weights come without a vocabulary; give the characters in the order of their ids")
    codes, units = _codes(vocabulary, len(head))
    size, order = len(codes), np.argsort(codes)
    known = Vocabulary(units, tuple(sorted(codes)))
    one_hot = np.eye(size, width, dtype=np.float32)
    if table is None and width != size:
        raise ModelFileError(f"there is no embedding, and the first layer reads {width} values, not {size} {units}")
    table = one_hot if table is None else table
    if len(table) == size + 1 and start is not None:
        raise ConfigError("the embedding has a row for START, one more than the vocabulary; leave out the start")
    if len(table) == size:
        found = _start(known, "\n" if start is None else start, required=start is not None)
        row = np.zeros((1, width), np.float32) if found is None else table[order[found]][None]
        table = np.concatenate([table, row])
    arrays: Arrays = {"embedding.weight": table[[*order, size]] if len(table) == size + 1 else table}
    for number, layer in enumerate(layers):
        arrays |= {f"layers.{number}.{part}": array for part, array in layer.items()}
    arrays |= {"head.weight": head[order], "head.bias": bias[order]}
    if size == width and not table[-1].any() and np.array_equal(table[:-1], one_hot):
        del arrays["embedding.weight"]
        arrays["layers.0.weight_ih"] = arrays["layers.0.weight_ih"][:, order]
    shape = Architecture(
        cell=cell,
        layers=len(layers),
        hidden=hidden,
        embedding=width if "embedding.weight" in arrays else 0,
        sum_outputs=bool(about.get("sum_outputs", sum_outputs)),
    )
    for name, expected in shape.shapes(size).items():
        if arrays[name].shape != expected:
            raise ModelFileError(f"{name} would have shape {arrays[name].shape}, but {shape} needs {expected}")
    origin = {"imported": "a state dict" if isinstance(weights, Mapping) else expand(weights).name}
    return to_language_model(ModelFile(shape, known, arrays, {}, origin))


def _read(weights: Text | Mapping[str, Any]) -> tuple[Arrays, Mapping[str, Any]]:
    """Return the weights by name, and what else the file of a checkpoint holds."""
    about: Mapping[str, Any] = {}
    content = weights if isinstance(weights, Mapping) else _open(expand(weights))
    for name in NESTED:
        if isinstance(content.get(name), Mapping):
            content, about = content[name], content
    arrays = {}
    for name, value in content.items():
        if not isinstance(value, torch.Tensor | np.ndarray):
            raise ModelFileError(f"the weights have {name!r}, which is no tensor; give the state dict of a model")
        arrays[str(name)] = torch.as_tensor(value).detach().float().cpu().numpy()
        if not np.isfinite(arrays[str(name)]).all():
            raise ModelFileError(f"the weights in {name} are not finite")
    return arrays, about


def _open(path: Path) -> Mapping[str, Any]:
    """Return the content of a file of weights."""
    if not path.is_file():
        raise ModelFileError(f"there is no file {path}")
    try:
        if path.suffix.lower() == ".safetensors":
            with safe_open(path, "pt") as file:
                if FORMAT in (file.metadata() or {}):
                    raise ModelFileError(  # noqa: TRY301  it leaves the function as it is
                        f"{path} is a model of nextchar; every command reads it as it is"
                    )
                return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no dict
        with warnings.catch_warnings(action="ignore"):  # torch's, about other kinds of pickles
            content = torch.load(path, map_location="cpu", weights_only=True)
    except ModelFileError:
        raise
    except Exception:  # noqa: BLE001  a damaged pickle can raise almost any
        raise ModelFileError(
            f"{path} is damaged, or holds more than weights; write torch.save(model.state_dict(), FILE) or safetensors"
        ) from None
    if not isinstance(content, Mapping):
        raise ModelFileError(f"{path} holds a {type(content).__name__}, not the state dict of a model")
    return content


def _split(given: Arrays) -> tuple[list[Arrays], Arrays]:
    """Return the recurrent layers in order, each by the four parts, and all other weights."""
    found: dict[tuple[Any, ...], Arrays] = {}
    rest: Arrays = {}
    for name, array in given.items():
        if not (match := RECURRENT.fullmatch(name)):
            rest[name] = array
            continue
        prefix, part, number, reverse = match.groups()
        if reverse:
            raise ModelFileError(
                f"{name} is of a bidirectional layer, but what predicts the next character reads forwards"
            )
        if part == "weight_hr" or array.ndim != (2 if part.startswith("weight") else 1):
            raise ModelFileError(f"{name} is not of a plain LSTM, GRU or RNN (proj_size, for one, is not supported)")
        # Numbers are compared as such, so that layer 10 comes after layer 9.
        words = [int(word) if word.isdecimal() else word for word in re.split(r"(\d+)", prefix)]
        found.setdefault((*words, int(number or 0)), {})[part] = array
    biases = any("bias_ih" in layer or "bias_hh" in layer for layer in found.values())
    for layer in found.values():
        if not biases and "weight_hh" in layer:
            layer.update(dict.fromkeys(("bias_ih", "bias_hh"), np.zeros(len(layer["weight_hh"]), np.float32)))
        if missing := [part for part in ("weight_ih", "weight_hh", "bias_ih", "bias_hh") if part not in layer]:
            raise ModelFileError(f"the weights are incomplete: a recurrent layer has no {missing[0]}")
    if not found:
        raise ModelFileError("the weights have no LSTM, GRU or RNN, such as rnn.weight_hh_l0")
    return [found[place] for place in sorted(found)], rest


def _ends(rest: Arrays, hidden: int, width: int) -> tuple[Any, Any, Any]:
    """Return weights and bias of the output layer and the embedding, or None, of weights that are in no recurrent layer.

    Raises:
        ModelFileError: There is no output layer, more than one, or something else.
    """
    heads = [name for name, array in rest.items() if array.ndim == 2 and array.shape[1] == hidden]
    biased = [name for name in heads if name.removesuffix("weight") + "bias" in rest]
    heads = biased or [name for name in heads if not EMBEDDING.search(name)]
    if len(heads) != 1:
        raise ModelFileError(f"the weights have {len(heads) or 'no'} output layers, Linear({hidden}, ...); 1 is needed")
    head = rest.pop(heads[0])
    bias = rest.pop(heads[0].removesuffix("weight") + "bias", np.zeros(len(head), np.float32))
    tables = [name for name, array in rest.items() if array.ndim == 2 and array.shape[1] == width]
    table = rest.pop(tables[0]) if tables else None
    if rest:
        raise ModelFileError(f"{next(iter(rest))} is of no embedding, recurrent or output layer, and nothing else fits")
    return head, bias, table


def _codes(vocabulary: Known, size: int) -> tuple[list[int], Units]:
    """Return the code of each id of a vocabulary of `size`, and its units.

    Raises:
        ConfigError: An entry is no character, comes twice, or there are more or fewer.
    """
    entries: Any = vocabulary
    if isinstance(vocabulary, str | PathLike):
        path = expand(vocabulary)
        try:
            text = path.read_bytes().decode()
            entries = json.loads(text) if path.suffix.lower() == ".json" else text
        except (OSError, ValueError) as error:
            raise ConfigError(f"the vocabulary {path} cannot be read: {error}") from None
        if path.suffix.lower() != ".json" and len(text) == size + 1:
            entries = text.removesuffix("\n")  # an editor's
    if not isinstance(entries, Mapping | Sequence):
        raise ConfigError(f"a vocabulary is a list of characters, but {type(entries).__name__} was given")
    if isinstance(entries, Mapping):
        if sorted(entries.values(), key=str) != sorted(range(len(entries)), key=str):
            raise ConfigError("the ids of the vocabulary are not 0, 1, 2, ...; give the characters as a list")
        entries = sorted(entries, key=entries.__getitem__)
    units: Units = "bytes" if all(type(entry) is int for entry in entries) else "characters"
    if wrong := [
        entry for entry in entries if units == "characters" and not (isinstance(entry, str) and len(entry) == 1)
    ]:
        raise ConfigError(f"the vocabulary has {wrong[0]!r}, but each entry must be one character")
    codes = [entry if units == "bytes" else ord(entry) for entry in entries]
    if twice := [code for code, count in Counter(codes).items() if count > 1]:
        raise ConfigError(f"the vocabulary has {describe(twice[0], units)} twice")
    if len(codes) != size:
        raise ConfigError(f"the vocabulary has {len(codes)} {units}, but the output layer predicts {size}")
    return codes, units


def _start(vocabulary: Vocabulary, start: str, *, required: bool) -> int | None:
    """Return the id of the character that stands for START; None for none.

    Raises:
        ConfigError: It is required and not one character of the vocabulary.
    """
    if not start:
        return None
    codes = vocabulary.codes_of(start)
    if len(codes) == 1 and int(codes[0]) in vocabulary.codes:
        return vocabulary.codes.index(int(codes[0]))
    if required:
        raise ConfigError(f"the start is {start!r}, which is not one of the {vocabulary.units} of the model")
    return None
