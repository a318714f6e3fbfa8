"""What clients receive: the scheduler's events as the objects of OpenAI's and llama.cpp's interfaces."""

import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from nextchar.serving.models import START_NAME, Model, Prompt
from nextchar.serving.texts import Piece, PromptRead, Reason, Token

JSON = dict[str, Any]


@dataclass(slots=True)
class Choice:
    """One text as far as it has come.

    Attributes:
        text: What was generated.
        tokens: Its tokens, if they were asked for.
        offset: Where its next token begins, in characters from the beginning of the prompt.
        reason: Why it ended.
        last: Its last piece.
    """

    text: str = ""
    tokens: list[Token] = field(default_factory=list)
    offset: int = 0
    reason: Reason | None = None
    last: Piece = field(default_factory=lambda: Piece(0, ""))


class Reply:
    """The reply to one request, in the form of `POST /v1/completions`.

    Args:
        model: What generates.
        prompts: What is continued.
        count: The number of texts of each prompt.
        echo: Whether the prompt is part of the text.
        logprobs: Whether the probabilities of tokens are asked for.
    """

    kind, chunk_kind, prefix = "text_completion", "text_completion", "cmpl"

    def __init__(
        self, model: Model, prompts: list[Prompt], count: int = 1, *, echo: bool = False, logprobs: bool = False
    ) -> None:
        self._model, self._prompts, self._count = model, prompts, count
        self._echo, self._logprobs = echo, logprobs
        self._head = {
            "id": f"{self.prefix}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model.name,
            "system_fingerprint": model.fingerprint,
        }
        self._begun = self._read = self._ended = time.monotonic()
        self._prompt_tokens: list[list[Token]] = [[] for _ in prompts]
        self.cached = 0
        self.choices = [Choice(offset=len(self._text(prompt))) for prompt in prompts for _ in range(count)]

    def take(self, number: int, event: PromptRead | Piece) -> Iterator[JSON]:
        """Take an event of prompt `number`; yield the objects of a stream."""
        self._ended = time.monotonic()
        if isinstance(event, PromptRead):
            self._read = self._ended
            self.cached += event.cached
            self._prompt_tokens[number] = event.tokens
            for index in range(number * self._count, (number + 1) * self._count):
                yield from self._opening(index, number)
            return
        index = number * self._count + event.index
        choice = self.choices[index]
        choice.text += event.text
        choice.tokens += event.tokens
        if event.finish_reason:
            choice.reason, choice.last = event.finish_reason, event
        if event.text or event.tokens or event.finish_reason:
            yield from self._continuation(index, choice, event)

    def whole(self, kept: int) -> JSON:
        """Return the reply as one object, with the most likely `kept` texts of each prompt."""
        chosen = []
        for first in range(0, len(self.choices), self._count):
            texts = list(range(first, first + self._count))
            if kept < self._count:
                means = {i: self.choices[i].last.nats / max(1, self.choices[i].last.chars) for i in texts}
                texts = sorted(texts, key=means.__getitem__)[:kept]
            chosen += texts
        choices = [self._finished(place, index) for place, index in enumerate(chosen)]
        return {**self._head, "object": self.kind, "choices": choices, "usage": self._usage()}

    def last(self, *, usage: bool) -> Iterator[JSON]:
        """Yield the objects at the end of a stream."""
        if usage:
            yield {**self._head, "object": self.chunk_kind, "choices": [], "usage": self._usage()}

    def _usage(self) -> JSON:
        read = sum(len(prompt.ids) + prompt.starts for prompt in self._prompts)
        drawn = sum(choice.last.chars for choice in self.choices)
        details = {"cached_tokens": self.cached}
        tokens = {"prompt_tokens": read, "completion_tokens": drawn, "total_tokens": read + drawn}
        return {**tokens, "prompt_tokens_details": details}

    def _text(self, prompt: Prompt) -> str:
        return START_NAME * prompt.starts + self._model.vocabulary.decode(prompt.ids)

    def _chunk(self, choice: JSON) -> JSON:
        return {**self._head, "object": self.chunk_kind, "choices": [choice]}

    def _opening(self, index: int, number: int) -> Iterator[JSON]:
        if self._echo:
            text, logprobs = self._text(self._prompts[number]), self._echoed(number)
            yield self._chunk({"index": index, "text": text, "logprobs": logprobs, "finish_reason": None})

    def _continuation(self, index: int, choice: Choice, piece: Piece) -> Iterator[JSON]:
        logprobs = self._table(piece.tokens, choice.offset) if self._logprobs else None
        choice.offset += sum(len(self._model.token(token.id)) for token in piece.tokens)
        reason = piece.finish_reason
        yield self._chunk({"index": index, "text": piece.text, "logprobs": logprobs, "finish_reason": reason})

    def _finished(self, place: int, index: int) -> JSON:
        choice, number = self.choices[index], index // self._count
        text, logprobs = choice.text, None
        if self._logprobs:
            logprobs = self._table(choice.tokens, len(self._text(self._prompts[number])))
        if self._echo:
            text = self._text(self._prompts[number]) + text
            before = self._echoed(number)
            logprobs = (
                {name: before[name] + column for name, column in logprobs.items()} if before and logprobs else None
            )
        return {"index": place, "text": text, "logprobs": logprobs, "finish_reason": choice.reason}

    def _echoed(self, number: int) -> JSON | None:
        """Return the table of a prompt's tokens; START is not predicted, and has no probability."""
        if not self._logprobs:
            return None
        starts = self._prompts[number].starts
        table = self._table(self._prompt_tokens[number], len(START_NAME) * starts)
        first: JSON = {"tokens": START_NAME, "token_logprobs": None, "top_logprobs": None, "text_offset": 0}
        return {name: [first[name]] * starts + column for name, column in table.items()}

    def _table(self, tokens: list[Token], offset: int) -> JSON:
        names = [self._model.token(token.id) for token in tokens]
        tops = [{**token.top, token.id: token.logprob} for token in tokens]
        offsets = [offset]
        for name in names:
            offsets.append(offsets[-1] + len(name))
        return {
            "tokens": names,
            "token_logprobs": [token.logprob for token in tokens],
            "top_logprobs": [{self._model.token(id_): logprob for id_, logprob in top.items()} for top in tops],
            "text_offset": offsets[:-1],
        }

    def _explained(self, id_: int, logprob: float) -> JSON:
        return {"token": self._model.token(id_), "logprob": logprob, "bytes": self._model.token_bytes(id_)}

    def _listed(self, tokens: list[Token]) -> list[JSON]:
        """Return tokens as chat clients expect them."""
        tops = [[self._explained(*pair) for pair in token.top.items()] for token in tokens]
        own = [self._explained(token.id, token.logprob) for token in tokens]
        return [{**each, "top_logprobs": top} for each, top in zip(own, tops, strict=True)]


class ChatReply(Reply):
    """The reply in the form of `POST /v1/chat/completions`."""

    kind, chunk_kind, prefix = "chat.completion", "chat.completion.chunk", "chatcmpl"

    def _opening(self, index: int, number: int) -> Iterator[JSON]:
        del number
        delta = {"role": "assistant", "content": ""}
        yield self._chunk({"index": index, "delta": delta, "logprobs": None, "finish_reason": None})

    def _continuation(self, index: int, choice: Choice, piece: Piece) -> Iterator[JSON]:
        del choice
        logprobs = {"content": self._listed(piece.tokens)} if self._logprobs else None
        delta = {"content": piece.text} if piece.text else {}
        yield self._chunk({"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": piece.finish_reason})

    def _finished(self, place: int, index: int) -> JSON:
        choice = self.choices[index]
        logprobs = {"content": self._listed(choice.tokens)} if self._logprobs else None
        message = {"role": "assistant", "content": choice.text}
        return {"index": place, "message": message, "logprobs": logprobs, "finish_reason": choice.reason}


class LlamaReply(Reply):
    """The reply in the form of llama.cpp's `POST /completion`."""

    def whole(self, kept: int) -> JSON:
        """Return the reply as one object."""
        del kept
        return self._final(self.choices[0].text, self.choices[0].tokens)

    def last(self, *, usage: bool) -> Iterator[JSON]:
        """Yield nothing: the last piece is marked."""
        del usage
        yield from ()

    def _opening(self, index: int, number: int) -> Iterator[JSON]:
        del index, number
        yield from ()

    def _continuation(self, index: int, choice: Choice, piece: Piece) -> Iterator[JSON]:
        del choice
        if piece.finish_reason:
            yield self._final(piece.text, piece.tokens)
        else:
            shown = {"completion_probabilities": self._listed(piece.tokens)} if self._logprobs else {}
            yield {"index": index, "content": piece.text, "stop": False, **shown}

    def _final(self, text: str, tokens: list[Token]) -> JSON:
        last, read = self.choices[0].last, len(self._prompts[0].ids)
        spent = (self._read - self._begun, self._ended - self._read)
        counts = (read - self.cached, last.chars)
        timings: JSON = {}
        for name, seconds, number in zip(("prompt", "predicted"), spent, counts, strict=True):
            timings |= {f"{name}_n": number, f"{name}_ms": 1000 * seconds}
            timings |= {f"{name}_per_token_ms": 1000 * seconds / max(1, number)}
            timings |= {f"{name}_per_second": number / seconds if seconds else 0.0}
        return {
            "index": 0,
            "content": text,
            "stop": True,
            "model": self._model.name,
            "tokens_predicted": last.chars,
            "tokens_evaluated": read,
            "tokens_cached": read + last.chars,
            "truncated": False,
            "stop_type": "word" if last.finish_reason == "stop" else "limit",
            "stopping_word": last.stop,
            "system_fingerprint": self._model.fingerprint,
            "timings": timings,
            **({"completion_probabilities": self._listed(tokens)} if self._logprobs else {}),
        }


def selected(reply: JSON, fields: list[str]) -> JSON:
    """Return the fields of a reply that llama.cpp's `response_fields` name, such as "timings/prompt_n"."""
    found = {}
    for name in fields:
        value: Any = reply
        for part in name.split("/"):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            found[name] = value
    return found
