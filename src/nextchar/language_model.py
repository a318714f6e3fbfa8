"""The value every verb works on: a network with the vocabulary, the options and the origin it belongs to."""

from dataclasses import dataclass, field
from typing import Any

from nextchar.model.network import Network
from nextchar.text.vocabulary import Vocabulary


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A trained network and what is needed to use it.

    Attributes:
        network: Torch weights. Frozen binds the parts; the weights stay torch's.
        vocabulary: What its ids stand for.
        config: The options it was trained with, by name.
        provenance: Where it comes from: texts with digests, splits, steps, last scores.
    """

    network: Network
    vocabulary: Vocabulary
    config: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, Any] = field(default_factory=dict)
