"""What a feature is called in words, for people."""

import tomllib
from functools import cache
from importlib.resources import files

PARTS = {
    "depth": "how deep it is inside {}",
    "since": "how long it has been inside {}",
    "next_close": "the end of {} comes next",
}
"""By ending of the name of a span's feature, what a unit that follows it knows; {} stands for the span."""


@cache
def _phrases() -> tuple[dict[str, str], dict[str, str]]:
    """Return what follows "knows" for features, and what spans are called."""
    phrases = tomllib.loads((files("nextchar.features") / "assets" / "phrases.toml").read_text(encoding="utf-8"))
    return phrases, phrases.pop("inside")


def phrase(name: str) -> str:
    """Return what a neuron that follows a feature does, in words that follow the neuron's name.

    Args:
        name: Of a feature, such as `braces` or `braces.depth`; also of one that a user defined.

    Example:
        >>> f"0:48 {phrase('braces')}", phrase("column"), phrase("my_feature")
        ('0:48 knows it is inside { }', 'knows its position in the line', 'follows my_feature')
    """
    phrases, spans = _phrases()
    span, _, part = name.partition(".")
    if name in phrases:
        return f"knows {phrases[name]}"
    if span in spans and part in ("", *PARTS):
        return f"knows {PARTS.get(part, 'it is inside {}').format(spans[span])}"
    return f"follows {name}"
