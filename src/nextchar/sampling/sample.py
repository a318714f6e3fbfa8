"""Text from a model: `sample` returns whole texts, `stream` yields one while it is generated."""

import codecs
from collections.abc import Iterator, Sequence
from typing import Unpack, overload

from nextchar.keywords import SampleKeywords
from nextchar.sampling.engine import Engine
from nextchar.sampling.generation import Generator, Sample
from nextchar.sampling.options import SampleOptions, with_keywords
from nextchar.storage import ModelSource

Models = Engine | ModelSource | Sequence[ModelSource]
Options = SampleOptions | None


@overload
def sample(
    model: Models, prompt: str = "", options: Options = None, *, count: None = None, **given: Unpack[SampleKeywords]
) -> Sample: ...
@overload
def sample(
    model: Models, prompt: str = "", options: Options = None, *, count: int, **given: Unpack[SampleKeywords]
) -> list[Sample]: ...
def sample(
    model: Models,
    prompt: str = "",
    options: Options = None,
    *,
    count: int | None = None,
    **given: Unpack[SampleKeywords],
) -> Sample | list[Sample]:
    """Generate a text, or a list of `count` texts.

    Args:
        model: An `Engine`, which packs nothing again; or whatever an `Engine` can be made of.
        prompt: What every text continues.
        options: Length, sampling parameters, stops, seed and weights.
        count: The number of texts. Text k draws from a random stream of its own, and so does not depend on
            the count.
        **given: Fields of `SampleOptions` and `SamplingParams` by name, instead of those of `options`.

    Returns:
        Without a count one text, whose `str` is the text; with a count a list of texts in order.

    Raises:
        ConfigError: An option is unknown or out of its range.
        UnknownCharacterError: The prompt has a character that the model does not know.

    Example:
        >>> print(nextchar.sample("runs/book", "It was ", length=300, temperature=0.8))
    """
    generator = Generator(model, with_keywords(options, given))
    texts = [each.sample(prompt) for each in generator.generations(prompt, 1 if count is None else count)]
    return texts[0] if count is None else texts


def stream(model: Models, prompt: str = "", options: Options = None, **given: Unpack[SampleKeywords]) -> Iterator[str]:
    """Yield the first text of `sample` in pieces while it is generated; arguments and errors are the same."""
    generator = Generator(model, with_keywords(options, given))
    # The end of a piece, and of the text, can be within a character of a byte model.
    return codecs.iterdecode(generator.pieces(prompt, 0), "utf-8", errors="replace")
