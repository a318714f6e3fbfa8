"""What `nextchar discover` searches for and how: the flags, declared once. Imports nothing that is slow."""

from dataclasses import dataclass, field

from nextchar.text.vocabulary import Unknown


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverOptions:
    """What to search for, and how; the attributes are the flags of the command, with their help.

    Attributes:
        features: auto, general, prose, c, python, latex or wiki; or a .toml or .py file with your own.
        shifts: Circular shifts of the text against the units.
        rotations: Random rotations of each layer.
        steered: How many of the strongest findings to steer.
        no_causal: Do not ablate, patch and steer.
        emergence: Also follow the claims over the checkpoints of `train --keep-checkpoints`.
        seed: Seed of everything random; the same seed gives the same claims.json.
        unknown: Characters that the model does not know: error, or skip to leave them out.
        encoding: Encoding of the texts.
    """

    features: str = "auto"
    shifts: int = 200
    rotations: int = 20
    steered: int = 3
    no_causal: bool = False
    emergence: bool = field(default=False, metadata={"alias": "births"})
    seed: int = 0
    unknown: Unknown = "error"
    encoding: str = "utf-8"
