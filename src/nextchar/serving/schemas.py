"""What clients send, in the forms of OpenAI and llama.cpp; fields that are not listed here are ignored."""

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, Field, StrictInt, StrictStr

from nextchar.errors import ConfigError
from nextchar.sampling.options import SamplingParams

STOPS = 16  # the most stop strings
_PARAMS = SamplingParams.__match_args__


class StreamOptions(BaseModel):
    """Options of a stream."""

    include_usage: bool | None = None


class Drawing(BaseModel):
    """What all requests for text share; None is the same as leaving a field out."""

    model: str | None = None
    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float | None = Field(
        None, validation_alias=AliasChoices("repetition_penalty", "repeat_penalty")
    )
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[int, float] | list[tuple[int, float]] | None = None
    stop: StrictStr | Annotated[list[StrictStr], Field(max_length=STOPS)] | None = None
    seed: int | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None

    def params(self) -> SamplingParams:
        """Return how characters are drawn.

        Raises:
            ConfigError: A value is out of its range.
        """
        given: dict[str, Any] = {name: getattr(self, name) for name in _PARAMS if getattr(self, name) is not None}
        given["top_k"] = max(0, given.get("top_k", 0))  # -1 is "all" in some clients
        return SamplingParams(**given)

    def stops(self) -> tuple[str, ...]:
        """Return the stop strings; an empty one is none."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return tuple(filter(None, stops))


Prompt = StrictStr | list[StrictInt]
"""A prompt as text, or as ids."""


class Completion(Drawing):
    """`POST /v1/completions`."""

    prompt: Prompt | list[StrictStr] | list[list[StrictInt]] | None = None
    max_tokens: int | None = None
    echo: bool | None = None
    logprobs: int | None = None
    best_of: int | None = None
    suffix: str | None = None

    def prompts(self) -> list[str | list[int]]:
        """Return every prompt.

        Raises:
            ConfigError: There is none.
        """
        given: Any = "" if self.prompt is None else self.prompt
        if isinstance(given, list) and not given:
            raise ConfigError("prompt is an empty list; give at least one prompt")
        return given if isinstance(given, list) and not isinstance(given[0], int) else [given]


class Message(BaseModel):
    """One message of a chat."""

    content: str | list[dict[str, Any]] | None = None

    def text(self) -> str:
        """Return the text of all parts."""
        parts = self.content or ""
        return parts if isinstance(parts, str) else "".join(str(part.get("text", "")) for part in parts)


class Chat(Drawing):
    """`POST /v1/chat/completions`: the contents are joined by line ends, and continued."""

    messages: list[Message]
    max_tokens: int | None = Field(None, validation_alias=AliasChoices("max_completion_tokens", "max_tokens"))
    logprobs: bool | None = None
    top_logprobs: int | None = None


class Llama(Drawing):
    """`POST /completion` and `POST /infill` of llama.cpp's server."""

    prompt: Prompt | None = None
    input_prefix: str = ""
    n_predict: int | None = Field(None, validation_alias=AliasChoices("n_predict", "max_tokens"))
    n_probs: int = 0
    t_max_predict_ms: float | None = None
    response_fields: list[str] | None = None


class Tokenize(BaseModel):
    """`POST /tokenize`, with the text as vLLM or llama.cpp names it."""

    model: str | None = None
    prompt: StrictStr = Field(validation_alias=AliasChoices("prompt", "content"))


class Detokenize(BaseModel):
    """`POST /detokenize`."""

    model: str | None = None
    tokens: list[StrictInt]
