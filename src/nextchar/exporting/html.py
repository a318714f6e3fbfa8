"""A model as one HTML file that writes, without a network and without this package."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.architecture import CELLS, WeightKind
from nextchar.kernels.gemm import ROWS
from nextchar.kernels.packing import pack as pack_weights
from nextchar.kernels.sampler import Ids
from nextchar.pages.page import numbers, pack
from nextchar.sampling.compiled import CompiledBackend, CompiledNetwork
from nextchar.sampling.generation import stream_key
from nextchar.sampling.options import SamplingParams
from nextchar.sampling.protocol import Nats
from nextchar.storage import ModelFile

Array = npt.NDArray[Any]
Unit = tuple[int, int]
CHECKED = 200  # characters whose log-probabilities are stored beside the weights
TILE = 8
"""Rows of a matrix whose weights the script multiplies together."""


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
    ids, nats = _known(file, weights)
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


def _known(file: ModelFile, weights: WeightKind) -> tuple[Ids, Nats]:
    """Return ids and nats of a text that the engine draws, `(200,)` each."""
    backend = CompiledBackend([CompiledNetwork(file, weights)])
    (batch,) = backend.batches(1)
    batch.add(backend.prefill([]), SamplingParams(), stream_key(0, 0))
    ids, nats = batch.generate(CHECKED)
    return ids[:, 0], nats[:, 0]
