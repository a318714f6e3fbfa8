"""A model of lm-evaluation-harness: exact log-likelihoods in this process, without a window.

lm_eval --model nextchar --model_args model=runs/demo --tasks wikitext
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from lm_eval.api.model import LM

from nextchar.evaluation.score import nats_of
from nextchar.model.reading import Chunk, Reader, shift, surprisal, to_numpy
from nextchar.model.state import State
from nextchar.sampling.engine import Engine
from nextchar.sampling.options import SampleOptions, SamplingParams
from nextchar.sampling.sample import sample
from nextchar.storage import to_language_model
from nextchar.text.vocabulary import Unknown

LENGTH = 256  # of a generated text, if the task does not say


class NextcharLM(LM):  # type: ignore[misc]  # the harness has no types
    """One model.

    Args:
        model: A run folder or a model file.
        unknown: "error", or "skip" to leave out characters that the model does not know.
        **_: What the harness passes to every model, such as a batch size.
    """

    def __init__(self, model: str, unknown: Unknown = "error", **_: Any) -> None:
        super().__init__()
        self._lm, self._unknown = to_language_model(model), unknown
        self._engine: Engine | None = None
        self._context: tuple[str, State] | None = None

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Return ln p of each continuation of a context, and whether each of its characters is the likeliest."""
        return [self._continuation(*request.args) for request in requests]

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Return ln p of each text."""
        return [-self._nats(*request.args) for request in requests]

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Return the text that follows each context, up to a stop string."""
        self._engine = self._engine or Engine(self._lm)
        return [sample(self._engine, request.args[0], self._options(request.args[1])).text for request in requests]

    def _nats(self, text: str) -> float:
        ids = self._lm.vocabulary.encode(text, unknown=self._unknown)
        return (
            math.fsum(np.concatenate([*nats_of(self._lm.network, ids, self._lm.vocabulary.start)])) if len(ids) else 0.0
        )

    def _continuation(self, context: str, continuation: str) -> tuple[float, bool]:
        vocabulary, reader = self._lm.vocabulary, Reader(self._lm.network)
        before, after = (vocabulary.encode(text, unknown=self._unknown) for text in (context, continuation))
        ids = np.concatenate([before, after])
        if not len(after):
            return 0.0, True
        inputs = shift(ids, vocabulary.start)[:, None]
        # The choices of a question have one context, which is read once.
        if self._context is None or self._context[0] != context:
            state = self._lm.network.empty_state(1)
            self._context = context, reader.read(inputs[: len(before)], state)
        nats, greedy = np.empty((len(after), 1)), np.empty((len(after), 1), np.bool_)

        def visit(chunk: Chunk) -> None:
            targets = after[:, None][chunk.index]
            nats[chunk.index] = to_numpy(surprisal(chunk.logits, targets))
            greedy[chunk.index] = chunk.logits.argmax(-1).cpu().numpy() == targets

        reader.read(inputs[len(before) :], self._context[1], visit)
        return -math.fsum(nats[:, 0]), bool(greedy.all())

    def _options(self, given: dict[str, Any]) -> SampleOptions:
        until = given.get("until") or ()
        temperature = given.get("temperature", 0.0) if given.get("do_sample", True) else 0.0
        return SampleOptions(
            length=given.get("max_gen_toks", LENGTH),
            params=SamplingParams(temperature, top_k=given.get("top_k", 0), top_p=given.get("top_p", 1.0)),
            stop=(until,) if isinstance(until, str) else tuple(filter(None, until)),
            unknown=self._unknown,
        )
