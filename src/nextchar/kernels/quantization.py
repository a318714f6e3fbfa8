"""Smaller weights: bfloat16, or int8 with one scale a row; the engine computes with them, and model files hold them.

In numpy alone, so that reading a file compiles nothing. The first layer's products with its input are a table of
float32, so what they are made of, the embedding and the first `weight_ih`, is not rounded.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from nextchar.architecture import Architecture, WeightKind
from nextchar.errors import ModelFileError

Floats = npt.NDArray[np.float32]
Arrays = dict[str, npt.NDArray[Any]]

LARGEST = np.float32(127)  # of int8
PEAKS = ".largest"  # ends the name of the array with the largest absolute value of each row, `(rows,)` float32


def largest(rows: Floats) -> Floats:
    """Return the largest absolute value of each row of `(n, C)`, `(n,)`."""
    return np.abs(rows).max(axis=1)


def int8_rows(rows: Floats, peaks: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Round rows `(n, C)` to int8; return them and the scale of each, `(n, 1)`.

    Args:
        rows: The weights.
        peaks: The largest absolute value of each row, `(n, 1)`; it becomes 127.
    """
    scale = peaks / LARGEST
    return np.rint(rows / np.where(scale > 0, scale, 1)).astype(np.int8), scale


def bfloat16(values: Floats) -> npt.NDArray[np.uint16]:
    """Round to the nearest bfloat16, ties to even; return the 16 bits of each."""
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def rounded_names(shape: Architecture) -> list[str]:
    """Return the names of the matrices that the engine rounds."""
    above = [f"layers.{layer}.{part}" for layer in range(1, shape.layers) for part in ("weight_ih", "weight_hh")]
    return ["layers.0.weight_hh", *above, "head.weight"]


def shrink(shape: Architecture, arrays: Arrays, kind: WeightKind) -> Arrays:
    """Return the arrays of a model in a smaller form, for a file.

    Args:
        shape: The architecture.
        arrays: float32 by the names of `Architecture.shapes`; not modified.
        kind: fp32, which leaves them as they are; bf16; or int8.
    """
    stored = dict(arrays)
    for name in rounded_names(shape) if kind != "fp32" else ():
        values = np.asarray(arrays[name], np.float32, order="C")
        if kind == "bf16":
            stored[name] = bfloat16(values)
            continue
        peaks = _peaks(shape, arrays, name)
        stored[name], _ = int8_rows(values, peaks[:, None])
        stored[name + PEAKS] = peaks
    return stored


def grow(shape: Architecture, stored: Arrays, kind: WeightKind) -> Arrays:
    """Return the float32 arrays that `shrink` stored.

    The engine rounds them to the same bits again: a row's largest value is restored exactly, and so is its scale.

    Raises:
        ModelFileError: An array is missing, or has another type or shape.
    """
    arrays = dict(stored)
    for name in rounded_names(shape) if kind != "fp32" else ():
        values = arrays.get(name)
        if values is None or values.ndim != 2 or values.dtype != (np.uint16 if kind == "bf16" else np.int8):
            raise ModelFileError(f"its {name} is not {kind}")
        if kind == "bf16":
            arrays[name] = (values.astype(np.uint32) << 16).view(np.float32)
            continue
        peaks = arrays.pop(name + PEAKS, None)
        if peaks is None or peaks.dtype != np.float32 or peaks.shape != values.shape[:1] or not _are_scales(peaks):
            raise ModelFileError(f"its {name}{PEAKS} does not fit {name}")
        arrays[name] = values / LARGEST * peaks[:, None]
    return arrays


def _peaks(shape: Architecture, arrays: Arrays, name: str) -> Floats:
    """Return the largest absolute value of each row of a matrix, `(rows,)`, as the engine groups it.

    A row of the input's weights and one of the recurrent weights are one row of the engine, in the layers above the
    first. Only in gate n of a gru they are two.
    """
    own = largest(arrays[name])
    layer = name.split(".")[1]
    if name == "head.weight" or layer == "0":
        return own
    both = np.maximum(*(largest(arrays[f"layers.{layer}.{part}"]) for part in ("weight_ih", "weight_hh")))
    if shape.cell == "gru":
        both[-shape.hidden :] = own[-shape.hidden :]
    return both


def _are_scales(peaks: Floats) -> bool:
    return bool(((peaks >= 0) & (peaks < np.inf)).all())
