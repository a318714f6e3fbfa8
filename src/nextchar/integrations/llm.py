"""Models of `llm`: every run in the folder that NEXTCHAR_RUNS names, by default runs/.

llm -m nextchar/demo "def "
"""

import os
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import llm

from nextchar.sampling.engine import Engine
from nextchar.sampling.options import SampleOptions, SamplingParams
from nextchar.sampling.sample import stream as pieces
from nextchar.storage import MODEL


@llm.hookimpl  # type: ignore[untyped-decorator]  # llm has no types
def register_models(register: "Callable[[llm.Model], None]") -> None:
    """Register every run by the name of its folder."""
    for file in sorted(Path(os.environ.get("NEXTCHAR_RUNS", "runs")).glob(f"*/{MODEL}")):
        register(NextcharModel(file.parent))


class NextcharModel(llm.Model):  # type: ignore[misc]
    """One run; it continues the prompt, and in a conversation all that came before.

    Args:
        run: Its folder.
    """

    can_stream = True

    class Options(llm.Options):  # type: ignore[misc]
        """As for `nextchar sample`."""

        length: int = 500
        temperature: float = 1.0
        top_k: int = 0
        top_p: float = 1.0
        min_p: float = 0.0
        stop: str | None = None
        seed: int | None = None

    def __init__(self, run: Path) -> None:
        self.model_id, self._run = f"nextchar/{run.name}", run

    @cached_property
    def engine(self) -> Engine:
        """The model, which is read when it is first used."""
        return Engine(self._run)

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[str]:
        """Yield the text in pieces."""
        del stream, response
        turns = [
            each
            for turn in (conversation.responses if conversation else ())
            for each in (turn.prompt.prompt, turn.text())
        ]
        given = prompt.options
        params = SamplingParams(given.temperature, given.top_k, given.top_p, given.min_p)
        stops = (given.stop,) if given.stop else ()
        options = SampleOptions(length=given.length, params=params, stop=stops, seed=given.seed)
        yield from pieces(self.engine, "\n".join([*turns, prompt.prompt or ""]), options)
