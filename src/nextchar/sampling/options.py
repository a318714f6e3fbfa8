"""What is generated and how: options that are checked when they are made, and the flags of `nextchar sample`.

The attributes are flags, their descriptions the help. "alias" in the metadata of a field names other flags with its
meaning, most of them those of other projects (docs/options.md). Imports nothing that is slow.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from sys import float_info
from typing import Any, Literal

from nextchar.architecture import WeightKind
from nextchar.errors import ConfigError, as_integer, check_choice, check_is, check_options
from nextchar.keywords import SampleKeywords
from nextchar.text.vocabulary import Unknown

# More than any vocabulary has, and within the integers of compiled code.
LARGEST_TOP_K = 1 << 32
Device = Literal["auto", "cpu", "cuda", "mps"]
LARGEST_BIAS = 100.0


@dataclass(frozen=True, slots=True)
class SamplingParams:
    """How the next character of one text is drawn.

    Attributes:
        temperature: 1 is the model's own distribution; lower is safer, higher more varied; 0 takes the likeliest character.
        top_k: Draw among the k most likely characters; 0, or more than there are, for all.
        top_p: Draw among the fewest most likely characters that together reach this probability; 1 for all.
        min_p: Draw among the characters at least this many times as likely as the most likely one; 0 for all.
        repetition_penalty: Divides positive logits, and multiplies negative ones, of characters that were already
            generated; 1 for none.
        presence_penalty: Subtracted from the logits of characters that were already generated; 0 for none.
        frequency_penalty: Subtracted from a logit once for each time that its character was generated; 0 for none.
        logit_bias: Added to the logits: a mapping from ids, or pairs of an id and a number from -100 to 100.

    Raises:
        ConfigError: A value is out of its range.
    """

    temperature: float = field(default=1.0, metadata={"alias": "t temp"})
    top_k: int = field(default=0, metadata={"alias": "top-n"})
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: tuple[tuple[int, float], ...] = field(default=(), metadata={"flag": False})

    @property
    def adjusts_logits(self) -> bool:
        """Whether there is a penalty or a bias."""
        penalties = (self.repetition_penalty, self.presence_penalty, self.frequency_penalty)
        return bool(self.logit_bias) or penalties != (1, 0, 0)

    def __post_init__(self) -> None:
        """Check every value, and keep it as an int or a float."""
        given: Mapping[int, float] | Iterable[tuple[int, float]] = self.logit_bias
        pairs = tuple(given.items() if isinstance(given, Mapping) else given)
        bias = {as_integer("an id of logit_bias", id_): value for id_, value in pairs}
        within = ("from -100 to 100", -LARGEST_BIAS, LARGEST_BIAS)
        named = tuple((id_, _number(f"the logit_bias of id {id_}", value, *within)) for id_, value in bias.items())
        object.__setattr__(self, "logit_bias", named)
        top_k = as_integer("top_k", self.top_k, "0 (all) or more")
        object.__setattr__(self, "top_k", min(top_k, LARGEST_TOP_K))
        for name, bounds, least, largest in (
            ("temperature", "0 or more", 0.0, float_info.max),
            ("top_p", "above 0 and at most 1 (all)", float_info.min, 1.0),
            ("min_p", "from 0 (all) to 1", 0.0, 1.0),
            ("repetition_penalty", "from 0.01 to 100", 0.01, 100.0),
            ("presence_penalty", "from -2 to 2", -2.0, 2.0),
            ("frequency_penalty", "from -2 to 2", -2.0, 2.0),
        ):
            object.__setattr__(self, name, _number(name, getattr(self, name), bounds, least, largest))


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleOptions:
    """What to generate.

    Weights of None are those of the model file, or of the engine; a device of None is the cpu, or that of the engine.

    Attributes:
        length: The most characters to generate (bytes, for a byte model).
        params: How each character is drawn.
        stop: End before the first of these texts, which is not part of the result; one or more.
        seed: The same seed and kind of weights give the same text; without one, each text is new.
        unknown: What to do with characters of the prompt that are not in the vocabulary.
        weights: Precision of the weights, by default that of the model file. bf16 and int8 take half and a quarter of the memory, and are faster.
        device: Where to generate. A GPU is faster for many texts, not for one, and needs fp32 weights.

    Raises:
        ConfigError: A value is out of its range.
    """

    length: int = field(default=500, metadata={"alias": "n max-new-tokens max-tokens max-gen-length"})
    params: SamplingParams = field(default_factory=SamplingParams)
    stop: tuple[str, ...] = field(default=(), metadata={"alias": "stop-strings"})
    seed: int | None = 0
    unknown: Unknown = "error"
    weights: WeightKind | None = None
    device: Device | None = None

    def __post_init__(self) -> None:
        """Check every value."""
        check_is("params", self.params, SamplingParams)
        object.__setattr__(self, "length", as_integer("the length", self.length))
        if self.seed is not None:
            object.__setattr__(self, "seed", as_integer("the seed", self.seed))
        stop: Any = self.stop
        several = (stop,) if isinstance(stop, str) or not isinstance(stop, Iterable) else tuple(stop)
        object.__setattr__(self, "stop", several)
        check_choice("unknown", self.unknown, Unknown)
        for name, kind in (("weights", WeightKind), ("device", Device)):
            if getattr(self, name) is not None:
                check_choice(name, getattr(self, name), kind)
        for each in several:
            check_is("a stop string", each, str)
        if "" in several:
            raise ConfigError("a stop string is empty; every text would end at once")


def _number(name: str, given: float, bounds: str, least: float, largest: float) -> float:
    """Return an option as a float.

    Raises:
        ConfigError: It is no number, or out of its bounds.
    """
    try:
        value = float(given)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{name} is {given!r}, but must be a number {bounds}") from None
    if not least <= value <= largest:
        raise ConfigError(f"{name} is {value:g}, but must be {bounds}")
    return value


def with_keywords(options: SampleOptions | None, keywords: SampleKeywords) -> SampleOptions:
    """Return options, or the default ones, with some of their fields and those of their params changed by keyword.

    Raises:
        ConfigError: A keyword is unknown, or its value out of its range.
    """
    every = (*fields(SampleOptions), *fields(SamplingParams))
    check_options(keywords, {each.name: each.metadata.get("alias", "") for each in every if each.name != "params"})
    check_is("options", options or SampleOptions(), SampleOptions)
    base, params = options or SampleOptions(), SamplingParams.__match_args__
    drawn: dict[str, Any] = {name: value for name, value in keywords.items() if name in params}
    others: dict[str, Any] = {name: value for name, value in keywords.items() if name not in params}
    return replace(base, params=replace(base.params, **drawn), **others)
