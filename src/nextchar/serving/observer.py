"""What the neurons of a model do, in torch: which are worth seeing, their values in a text, and texts while one is held."""

import time
import tomllib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import torch

from nextchar.discovery.interventions import Edit, clamp, intervening
from nextchar.discovery.states import as_memory
from nextchar.errors import NextcharError
from nextchar.inspection.naming import Named, read_names
from nextchar.inspection.report import read, typical_place
from nextchar.inspection.trace import MAIN
from nextchar.kernels.functions import UNIT
from nextchar.kernels.sampler import Floats
from nextchar.kernels.threads import undivided
from nextchar.language_model import LanguageModel
from nextchar.model.compiled import own_threads
from nextchar.model.reading import Chunk, Reader, log_probabilities
from nextchar.model.state import State
from nextchar.sampling.compiled import CompiledBatch, CompiledNetwork
from nextchar.sampling.generation import stream_key
from nextchar.sampling.options import SampleOptions, SamplingParams
from nextchar.sampling.protocol import PromptState
from nextchar.serving.texts import Ids
from nextchar.storage import CONFIG, ModelFile, to_language_model
from nextchar.text.catalogue import CATALOGUE, place
from nextchar.text.paths import expand
from nextchar.text.sources import find_sources, read_codes
from nextchar.text.vocabulary import UNKNOWN

SEARCHED = 20_000  # characters in which neurons are searched for
CLAIMED = 3000  # of them, for the range of neurons that have names already
SHOWN = 16  # neurons: those with a name, and then those that matter most
OWN_TEXTS = 8  # which the model generates if it has to be searched in text of its own
EXAMPLE = 600  # characters that are shown first

Unit = tuple[int, int]
Values = list[list[float]]
"""Of K units at each of T characters."""


class Observer:
    """A model as a torch network, which computes in the calling thread alone.

    Args:
        file: The model.
        folder: Where its file is, if it was read from one.
        networks: The same, packed.
    """

    def __init__(self, file: ModelFile, folder: Path | None, networks: Sequence[CompiledNetwork]) -> None:
        self.lm, self._folder, self._networks = to_language_model(file), folder, networks

    def search(self, closing: Event) -> dict[str, Any]:
        """Find the neurons that are worth seeing first.

        They are those of claims.json beside the model or in a folder there. Otherwise they are searched for in the beginning
        of the text that the model was trained on, or, if that cannot be read, in text of its own.

        Args:
            closing: Ends the search.

        Returns:
            `neurons`: for each its `unit`, LAYER:UNIT, its `low`est and `high`est value, and, if it has a name, its `phrase`,
            `score` and `measure`. `text`: an example, in which the first of them varies most. `message`: where they are
            from, in sentences.
        """
        begun = time.monotonic()
        named, message = self._claims()
        ids, of = self._corpus()

        def check(_what: str, _done: int, _total: int) -> None:
            if closing.is_set():
                raise NextcharError("the search was ended")

        with computing():
            if len(ids) < CLAIMED:
                texts = self._batch(OWN_TEXTS, SamplingParams(), 0).generate(SEARCHED // OWN_TEXTS)[0]
                ids, of = texts.T.ravel(), "text of its own"
            found = read(self.lm, ids if named is None else ids[:CLAIMED], named, check)
        if named is None:
            count = f"{len(found.names) or 'none'} found in {len(ids):,} characters of {of}"
            message = f"{message}{count} in {time.monotonic() - begun:.1f} s"
        neurons = []
        for layer, unit in found.chosen[:SHOWN]:
            name, (low, high) = (
                found.names.get((layer, unit)),
                np.quantile(found.of(layer, unit), [0, 1]).round(4).tolist(),
            )
            said = {"phrase": name.phrase, "score": round(name.score, 4), "measure": name.measure} if name else {}
            neurons.append({"unit": f"{layer}:{unit}", "low": low, "high": high, **said})
        shown = found.text.ids
        at = typical_place(found.of(*found.chosen[0]), shown, self.lm.vocabulary, EXAMPLE)
        text = self.lm.vocabulary.decode(shown[at : at + EXAMPLE])
        text = text[: text.rfind("\n") + 1] if "\n" in text[EXAMPLE // 2 :] else text  # up to the end of a line
        return {"neurons": neurons, "text": text, "message": message}

    def _claims(self) -> tuple[list[Named] | None, str]:
        """Return the names of a claims.json, if there is one about this model; and what there is to say."""
        paths = [] if self._folder is None else [self._folder / "claims.json", *self._folder.glob("*/claims.json")]
        message = ""
        for path in filter(Path.is_file, paths):
            try:
                return read_names(path, self.lm), f"from {path.name} of nextchar discover"
            except NextcharError as error:
                message = f"{error}; it was left out. ".replace(str(path), path.name)
        return None, message

    def _corpus(self) -> tuple[Ids, str]:
        """Return the beginning of the text that the model was trained on, as ids, and its name; no ids if it is not here."""
        ids, name, vocabulary, config = np.zeros(0, np.int64), "", self.lm.vocabulary, dict[str, Any](texts=())
        with suppress(OSError, NextcharError, ValueError, LookupError):
            if self._folder:
                config = tomllib.loads((self._folder / CONFIG).read_text(encoding="utf-8"))
            here = [text for text in config["texts"] if _is_here(text)]
            with find_sources(here, suffixes=config.get("suffix", ()), units=vocabulary.units) as (sources, _):
                name, encoding = sources[0].name, config.get("encoding", "utf-8")
                for codes in chain.from_iterable(read_codes(each, vocabulary.units, encoding) for each in sources):
                    found = vocabulary.find(codes)
                    ids = np.concatenate([ids, found[found != UNKNOWN]])[:SEARCHED].astype(np.int64)
                    if len(ids) == SEARCHED:
                        break
        return ids, name

    def reading(self, units: Sequence[Unit], before: PromptState) -> "Reading":
        """Begin to read after a state."""
        return Reading(self.lm, units, self._state(before), before[0].logits[:, : len(self.lm.vocabulary)])

    def holding(
        self,
        units: Sequence[Unit],
        before: PromptState | None,
        last: int,
        held: tuple[Unit, float],
        options: SampleOptions,
    ) -> "Holding":
        """Begin to generate with a unit held.

        Args:
            units: Whose values are wanted.
            before: The state before the last character of the prompt; None if it is START.
            last: That character's id. It is read with the unit held already.
            held: The unit, and its value as it is shown, from -1 to 1.
            options: How it draws, with a seed.
        """
        batch = self._batch(1, options.params, options.seed or 0)
        state = self.lm.network.empty_state(1) if before is None else self._state(before)
        (layer, unit), value = held
        memory = float(as_memory(np.array(value), self.lm.network.architecture.cell))
        return Holding(self.lm, units, state, last, Edit(layer, (unit,), clamp(memory)), batch)

    def _batch(self, count: int, params: SamplingParams, seed: int) -> CompiledBatch:
        """Return new texts, which draw as those of `nextchar.sample`."""
        batch = CompiledBatch(self._networks, count)
        for index in range(count):
            batch.add(tuple(network.start for network in self._networks), params, stream_key(seed, index))
        return batch

    def _state(self, prompt: PromptState) -> State:
        """Return the state of a compiled stream as the network's; it has the precision of the packed weights."""
        shape = self.lm.network.architecture
        hidden, memory, _ = prompt[0]
        scale = np.float32(1 / UNIT if hidden.dtype == np.int16 else 1)
        flat = [
            torch.from_numpy(vector.reshape(shape.layers, 1, -1)[:, :, : shape.hidden].astype(np.float32))
            for vector in (scale * hidden, memory)
        ]
        kept = {"lstm": flat, "gru": flat[1:], "rnn": flat[:1]}[shape.cell]
        return tuple(tuple(vector[layer] for vector in kept) for layer in range(shape.layers))


class Reading:
    """A text that is read piece by piece, from a state and the logits that came with it, `(1, V)`."""

    def __init__(self, lm: LanguageModel, units: Sequence[Unit], state: State, logits: Floats) -> None:
        self._lm, self._units, self._state, self._before = lm, units, state, torch.from_numpy(logits)

    def read(self, ids: Sequence[int]) -> tuple[list[float], Values]:
        """Return ln p of T ids, and the values after each."""
        logits, values = [self._before], []

        def visit(seen: Chunk) -> None:
            signal = MAIN[self._lm.network.architecture.cell]
            logits.append(seen.logits[:, 0])
            columns = [seen.layers[layer][signal][:, 0, unit] for layer, unit in self._units]
            values.extend(torch.stack(columns, 1).tolist() if columns else [[] for _ in ids])

        given = np.asarray(ids, np.int64)[:, None]
        with computing():
            self._state = Reader(self._lm.network, record=True).read(given, self._state, visit)
        every = torch.cat(logits)
        self._before = every[-1:]
        return log_probabilities(every[:-1]).gather(1, torch.from_numpy(given))[:, 0].tolist(), values


class Holding:
    """A text that is generated under an edit; see `Observer.holding`."""

    def __init__(
        self, lm: LanguageModel, units: Sequence[Unit], state: State, last: int, edit: Edit, batch: CompiledBatch
    ) -> None:
        self._network, self._state, self._edit, self._batch = lm.network, state, edit, batch
        self._places = tuple(np.array(units, np.int64).reshape(-1, 2).T)
        with computing():
            self._read(last)

    def generate(self, count: int) -> tuple[list[int], list[float], Values]:
        """Draw ids; return them, -ln p of each under the network that is held, and the values after each."""
        ids, nats, values = [], [], []
        with computing():
            for _ in range(count):
                drawn, cost = self._batch.draw(self._logits)
                self._read(int(drawn[0]))
                ids.append(int(drawn[0]))
                nats.append(float(cost[0]))
                seen = np.array([memory[0].numpy() for *_, memory in self._state])[self._places]
                values.append((np.tanh(seen) if self._network.architecture.cell == "lstm" else seen).tolist())
        return ids, nats, values

    def _read(self, id_: int) -> None:
        recurrence = intervening([self._edit], layers=self._network.architecture.layers)
        logits, self._state = self._network(torch.tensor([[id_]]), self._state, recurrence=recurrence)
        self._logits = logits[0].numpy()


@contextmanager
def computing() -> Iterator[None]:
    """Compute in this thread alone, so that the scheduler keeps its cores."""
    with undivided(), own_threads(), torch.no_grad():
        yield


def _is_here(text: str) -> bool:
    """Return whether a text is a file, a folder, or a named corpus that needs no download."""
    path = expand(text)
    return path.is_file() or path.is_dir() or (text in CATALOGUE and place(text) != "to be fetched")
