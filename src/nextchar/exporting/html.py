"""A model as one HTML file that writes, without a network and without this package."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.architecture import CELLS, WeightKind
from nextchar.errors import ConfigError
from nextchar.inspection.report import Read, read
from nextchar.inspection.trace import SHOWN
from nextchar.kernels.gemm import ROWS
from nextchar.kernels.packing import pack as pack_weights
from nextchar.kernels.sampler import Ids
from nextchar.pages.page import WRITER, asset, numbers, pack, page
from nextchar.sampling.compiled import CompiledBackend, CompiledNetwork
from nextchar.sampling.generation import stream_key
from nextchar.sampling.options import SamplingParams
from nextchar.sampling.protocol import Nats
from nextchar.storage import ModelFile, to_language_model
from nextchar.text.corpus import read_ids

Array = npt.NDArray[Any]
Unit = tuple[int, int]
CHECKED = 200  # characters whose log-probabilities are stored beside the weights
NEURONS = 12  # that are offered as colours of a text
TEXTS = 3  # that are named in the heading
TILE = 8
"""Rows of a matrix whose weights the script multiplies together."""
_own = partial(asset, package="nextchar.exporting")


def encode(file: ModelFile, weights: WeightKind, *, name: str = "model", text: Sequence[str] = ()) -> bytes:
    """Return a page that writes and scores texts, and colours them by what single neurons hold.

    Args:
        file: The model.
        weights: "int8" or "fp32".
        name: The title.
        text: Files on which neurons are searched that are worth seeing, as `nextchar inspect` does; without any, on a text that
            the model generates.

    Raises:
        ConfigError: The network is too large for integers.
    """
    try:
        CompiledNetwork(file, weights)
    except ConfigError:
        raise ConfigError("the network is too large for the integers of int8 weights; use --weights fp32") from None
    seen = read(to_language_model(file), _text(file, text))
    chosen = seen.chosen[:NEURONS]
    where = ", ".join(Path(each).name for each in text) or "a text that the model wrote"
    found = sum(unit in seen.names for unit in chosen)
    data = {
        "title": name,
        "about": _about(file, weights),
        "named": f"A neuron is named by its layer and its place in it, from 0. {found} of these {len(chosen)} follow something "
        f"that has a name, found on {where}; the others matter most for the output.",
        "model": _summary(file, name),
        "neurons": [{"about": _sentence(seen, unit)} for unit in chosen],
        "engine": engine_data(file, weights, chosen),
        "worker": worker_program(),
    }
    style = asset("writer.css") + _own("page.css")
    programs = [*map(asset, WRITER), _own("client.js"), _own("page.js")]
    return page(data, _own("body.html"), style, programs, worker=True).encode()


def worker_program() -> str:
    """Return the script of the worker, which generates."""
    return asset("unpack.js") + _own("engine.js") + _own("worker.js")


def engine_arrays(file: ModelFile, weights: WeightKind) -> tuple[dict[str, Any], dict[str, Array]]:
    """Return what assets/engine.js makes a network of: its shape, and its arrays by name.

    Args:
        file: The model.
        weights: "int8" or "fp32".

    Returns:
        cell, layers, units (of a layer, with padding), size (V), sum (whether the head reads all layers) and whole
        (whether the weights are integers); and the arrays of
        `kernels.packing.Packed`, with every matrix in tiles of 8 rows, whose weights follow each other column by column.
    """
    packed = pack_weights(file.architecture, file.arrays, len(file.vocabulary), weights)
    units = packed.first.shape[1] * packed.first.shape[2] // ROWS
    shape = {
        "cell": CELLS[packed.cell],
        "layers": 1 + len(packed.above),
        "units": units,
        "size": len(file.vocabulary),
        "sum": packed.sum_outputs,
        "whole": weights == "int8",
    }
    arrays = {
        "table": packed.table,
        "first": _tiles(packed.first),
        "above": _tiles(packed.above),
        "bias": packed.bias,
        "scales": packed.scales,
        "head": _tiles(packed.head),
        "head_bias": packed.head_bias,
        "head_scales": packed.head_scales,
    }
    return shape, arrays


def engine_data(file: ModelFile, weights: WeightKind, neurons: Sequence[Unit] = ()) -> dict[str, Any]:
    """Return what assets/worker.js opens: the network, its vocabulary, and the log-probabilities of a text to check it with.

    Args:
        file: The model.
        weights: "int8" or "fp32".
        neurons: Layer and unit of each neuron whose value is part of every step.
    """
    shape, arrays = engine_arrays(file, weights)
    ids, nats = _drawn(file, weights, CHECKED)
    return {
        "shape": shape,
        "arrays": {name: pack(array) for name, array in arrays.items()},
        "codes": list(file.vocabulary.codes),
        "bytes": file.vocabulary.units == "bytes",
        "neurons": [{"layer": layer, "unit": unit} for layer, unit in neurons],
        "known": {"ids": ids.tolist(), "logprobs": numbers(-nats, 6)},
    }


def _tiles(blocks: Array) -> Array:
    """Return blocks of 64 rows, `(..., C, 64)` or `(..., C / 2, 128)`, as tiles of 8 rows, `(..., 8, C, 8)`."""
    *outer, steps, width = blocks.shape
    split = blocks.reshape(math.prod(outer), steps, ROWS // TILE, TILE, width // ROWS)
    tiles = split.transpose(0, 2, 1, 4, 3).reshape(*outer, ROWS // TILE, steps * width // ROWS, TILE)
    return np.ascontiguousarray(tiles)


def _drawn(file: ModelFile, weights: WeightKind, length: int) -> tuple[Ids, Nats]:
    """Return ids and nats of a text that the engine draws, `(length,)` each."""
    backend = CompiledBackend([CompiledNetwork(file, weights)])
    (batch,) = backend.batches(1)
    batch.add(backend.prefill([]), SamplingParams(), stream_key(0, 0))
    ids, nats = batch.generate(length)
    return ids[:, 0], nats[:, 0]


def _text(file: ModelFile, names: Sequence[str]) -> Ids:
    """Return the ids of files, or else of a text that the model generates, `(T,)`."""
    if names:
        return np.asarray(read_ids(names, file.vocabulary, unknown="skip")[0][:SHOWN], np.int64)
    drawn, _ = _drawn(file, "int8" if file.architecture.hidden <= 1024 else "fp32", SHOWN)
    return drawn


def _sentence(seen: Read, unit: Unit) -> str:
    """Return a neuron's name, and what it follows."""
    name = f"{unit[0]}:{unit[1]}"
    return f"{name} {seen.names[unit].phrase}" if unit in seen.names else name


def _about(file: ModelFile, weights: WeightKind) -> str:
    """Return what the model is, in words."""
    names = [text["name"] for text in file.provenance.get("texts", [])]
    more = f" and {len(names) - TEXTS:,} more" if len(names) > TEXTS else ""
    trained = f", trained on {', '.join(names[:TEXTS])}{more}" if names else ""
    bits = (file.provenance.get("valid") or {}).get("bits_per_char")
    score = f"; {bits:.2f} bits per character on a part that it was not trained on" if bits else ""
    known = f"{len(file.vocabulary)} {file.vocabulary.units}"
    return (
        f"{file.architecture} over {known}{trained}{score}. It runs in this page, without a network; {weights} weights."
    )


def _summary(file: ModelFile, name: str) -> dict[str, Any]:
    """Return what pages/assets/writer.js has to know about the model."""
    vocabulary, shape = file.vocabulary, file.architecture
    alphabet = None if vocabulary.units == "bytes" else vocabulary.decode(range(len(vocabulary)))
    summary = {"name": name, "units": vocabulary.units, "characters": len(vocabulary), "alphabet": alphabet}
    return {**summary, "layers": shape.layers, "hidden": shape.hidden, "cell": shape.cell}
