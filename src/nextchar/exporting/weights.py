"""Model files with smaller weights, which every command reads."""

from dataclasses import replace

from nextchar.architecture import WeightKind
from nextchar.kernels.packing import pack
from nextchar.storage import ModelFile, encode_model


def encode(file: ModelFile, weights: WeightKind) -> bytes:
    """Return the content of a model file.

    Raises:
        ConfigError: The network is too large for int8.
    """
    if weights == "int8":
        pack(file.architecture, file.arrays, len(file.vocabulary), weights)  # refuses what it could not generate with
    return encode_model(replace(file, weights=weights))
