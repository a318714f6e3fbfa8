"""The value that every verb takes: a network with its vocabulary, its options and its provenance."""

from dataclasses import dataclass, field
from typing import Any

from nextchar.model.network import Network
from nextchar.text.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A trained network with everything needed to use it.

    Attributes:
        network: The torch module. The fields are frozen; the weights can be changed as usual in torch.
        vocabulary: What the ids stand for.
        config: The options it was trained with, by name.
        provenance: Its origin: texts with digests, splits, steps, last scores.
    """

    network: Network
    vocabulary: Vocabulary
    config: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
