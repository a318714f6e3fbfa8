"""Text from a model: `sample` returns whole texts, `stream` yields one while it is generated."""

import codecs
from collections.abc import Iterator, Sequence

from nextchar.sampling.engine import Engine
from nextchar.sampling.generation import Generator, Sample
from nextchar.sampling.options import SampleOptions
from nextchar.storage import ModelSource


def sample(
    model: "Engine | ModelSource | Sequence[ModelSource]",
    prompt: str = "",
    options: SampleOptions | None = None,
    *,
    count: int = 1,
) -> list[Sample]:
    """Generate `count` texts.

    Args:
        model: An `Engine`, which packs nothing again; or whatever an `Engine` can be made of.
        prompt: What every text continues.
        options: Length, sampling parameters, stops, seed and weights.
        count: The number of texts. Text k draws from a random stream of its own, and so does not depend on
            the count.

    Returns:
        The texts in order.

    Raises:
        ConfigError: An option is out of its range.
        UnknownCharacterError: The prompt has a character that the model does not know.
    """
    generator = Generator(model, options or SampleOptions())
    return [generation.sample() for generation in generator.generations(prompt, count)]


def stream(
    model: "Engine | ModelSource | Sequence[ModelSource]", prompt: str = "", options: SampleOptions | None = None
) -> Iterator[str]:
    """Yield the first text of `sample` in pieces while it is generated; arguments and errors are the same."""
    generator = Generator(model, options or SampleOptions())
    # The end of a piece, and of the text, can be within a character of a byte model.
    return codecs.iterdecode(generator.pieces(prompt, 0), "utf-8", errors="replace")
