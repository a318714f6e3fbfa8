"""The models that are served: their names, vocabularies and schedulers, and what a client may ask of them."""

import secrets
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from nextchar.architecture import WeightKind
from nextchar.errors import ConfigError, UnknownCharacterError, did_you_mean
from nextchar.kernels.compile_cache import digest
from nextchar.sampling.compiled import CompiledBackend
from nextchar.sampling.engine import Engine
from nextchar.sampling.options import SampleOptions
from nextchar.sampling.protocol import PromptState
from nextchar.serving.scheduler import Scheduler
from nextchar.serving.schemas import Drawing
from nextchar.serving.texts import Ids, Request
from nextchar.storage import ModelSource, members, model_path, to_file
from nextchar.text.vocabulary import UNKNOWN

START_NAME = "<START>"
REPLACED_SECONDS = 60.0  # in which the texts of a model that is served no longer may end
UNKNOWN_HINT = "; tokenization gives this id to characters that the model does not know"


class UnknownModelError(ConfigError):
    """No model of that name is served."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request may ask for, and one client at a time.

    Attributes:
        body: Bytes of a request.
        body_seconds: Until a request has to be complete.
        prompt: Characters of a prompt.
        length: Characters of a text.
        texts: Texts of a request.
        alternatives: Probabilities of alternatives in a reply.
        text: Bytes of a text to train on.
        client: Texts of a client that is not on this machine, at the same time.
    """

    body: int = 4 << 20
    body_seconds: float = 30.0
    prompt: int = 200_000
    length: int = 100_000
    texts: int = 128
    alternatives: int = 2_000_000
    text: int = 200_000_000
    client: int = 128


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt as it is read.

    Attributes:
        ids: Without START.
        starts: Whether the client gave START before them.
    """

    ids: Ids
    starts: bool = False


class Model:
    """One model that is served.

    Args:
        name: By which clients ask for it.
        model: The model.
        weights: The kind of its packed weights; None for that of its file.
        streams: The most texts that are drawn at the same time.
        queue: The most texts that wait.
        version: Of the program.

    Attributes:
        file: The model, with its weights in full precision; of an ensemble, its first member.
        folder: Where its file is, if it was read from one.
        networks: The packed network, or those of an ensemble.
        start_state: Of a text without a prompt.
        fingerprint: Equal fingerprints give equal texts for equal requests with a seed.
        about: Its shape and vocabulary, for clients.
    """

    def __init__(
        self,
        name: str,
        model: ModelSource,
        weights: WeightKind | None = None,
        *,
        streams: int = 64,
        queue: int = 256,
        version: str = "",
    ) -> None:
        several = members(model)
        files = [to_file(each) for each in several]
        file, engine = files[0], Engine(files, weights)
        assert isinstance(engine.backend, CompiledBackend)
        self.file, self.networks = file, engine.backend.networks
        self.folder = model_path(several[0]).parent if isinstance(several[0], (str, Path)) else None
        self.start_state: PromptState = tuple(network.start for network in self.networks)
        self.name, self.created, self.vocabulary = name, int(time.time()), engine.vocabulary
        self.scheduler = Scheduler(engine, streams=streams, queue=queue)
        self.about = {
            "units": self.vocabulary.units,
            "characters": len(self.vocabulary),
            "alphabet": "".join(map(chr, self.vocabulary.codes)) if self.vocabulary.units == "characters" else None,
            "layers": file.architecture.layers,
            "hidden": file.architecture.hidden,
            "cell": file.architecture.cell,
        }
        self.fingerprint = f"nextchar-{version}-{engine.weights}-{digest()[:8]}"
        self._thread = threading.Thread(target=self.scheduler.run, name=f"nextchar {name}", daemon=True)
        # Code is compiled, or loaded, before the first client comes.
        self.scheduler.submit(Request(ids=np.zeros(2, np.int64), options=SampleOptions(length=2)), lambda _: None)
        while self.scheduler.step():
            pass
        self.scheduler.counts.clear()

    def start(self) -> None:
        """Begin to serve, in a thread."""
        self._thread.start()

    def close(self) -> None:
        """End all texts, and the thread."""
        self.scheduler.shut_down(0)
        if self._thread.is_alive():
            self._thread.join()

    def encode(self, prompt: str | list[int], limits: Limits) -> Prompt:
        """Check a prompt.

        Raises:
            UnknownCharacterError: It has characters, or ids, that the model does not know.
            ConfigError: It is too long.
        """
        if len(prompt) > limits.prompt:
            raise ConfigError(f"the prompt has {len(prompt)} characters, and the limit is {limits.prompt}")
        if isinstance(prompt, str):
            try:
                return Prompt(self.vocabulary.encode(prompt, where="the prompt").astype(np.int64))
            except UnknownCharacterError as error:  # the command's remedy is none here
                raise UnknownCharacterError(str(error).partition("; --")[0]) from None
        starts = prompt[:1] == [self.vocabulary.start]
        for id_ in prompt[starts:]:
            if not 0 <= id_ < len(self.vocabulary):
                raise UnknownCharacterError(
                    f"the prompt has the id {id_}, but the ids of this model are 0 to {len(self.vocabulary) - 1}, "
                    f"and {self.vocabulary.start} ({START_NAME}) in the first place"
                    f"{UNKNOWN_HINT if id_ == self.vocabulary.start + 1 else ''}"
                )
        return Prompt(np.array(prompt[starts:], np.int64), starts)

    def tokenize(self, text: str) -> list[int]:
        """Return the ids of a text, or the id of START for its name.

        An unknown character gets an id that no prompt may have: some clients test with a text of their own whether there
        is tokenization at all.
        """
        if text == START_NAME:
            return [self.vocabulary.start]
        found = self.vocabulary.find(self.vocabulary.codes_of(text))
        return np.where(found == UNKNOWN, self.vocabulary.start + 1, found).tolist()

    def token(self, id_: int) -> str:
        """Return the name of an id: its character; of a byte that is no character by itself, its value."""
        if id_ == self.vocabulary.start:
            return START_NAME
        code = self.vocabulary.codes[id_]
        return f"bytes:\\x{code:02x}" if self.vocabulary.units == "bytes" and code > 127 else chr(code)

    def token_bytes(self, id_: int) -> list[int]:
        """Return the bytes of an id."""
        return list(self.vocabulary.to_bytes([id_]))


@dataclass(frozen=True, slots=True)
class Models:
    """The models by their names, with what a client may ask of them."""

    by_name: dict[str, Model]
    limits: Limits = field(default_factory=Limits)

    def find(self, name: str | None) -> Model:
        """Return a model by its name; without a name, the first.

        Raises:
            UnknownModelError: There is none of that name.
        """
        if not self.by_name:
            raise UnknownModelError("there is no model yet; train one on the page, or start the server with one")
        if not name:
            return next(iter(self.by_name.values()))
        if name not in self.by_name:
            known = ", ".join(self.by_name)
            raise UnknownModelError(f"there is no model '{name}'{did_you_mean(name, self.by_name)}; there is {known}")
        return self.by_name[name]

    def put(self, model: Model) -> None:
        """Serve a model from now on, in the place of one of its name."""
        former = self.by_name.get(model.name)
        model.start()
        self.by_name[model.name] = model
        if former:
            former.scheduler.shut_down(REPLACED_SECONDS)

    def remove(self, name: str) -> None:
        """Serve a model no longer."""
        if former := self.by_name.pop(name, None):
            former.scheduler.shut_down(REPLACED_SECONDS)

    def options(self, model: Model, body: Drawing, length: int | None, default: int, name: str) -> SampleOptions:
        """Return the options of a request.

        Args:
            model: Its model.
            body: The request.
            length: What it asks for.
            default: What it gets if it asks for nothing.
            name: What the client calls the length.

        Raises:
            ConfigError: One is out of its range.
        """
        length = default if length is None else length
        if not 0 <= length <= self.limits.length:
            raise ConfigError(f"{name} is {length}, but must be from 0 to {self.limits.length}")
        # Clients send -1 for a seed of any kind, and others any integer of 64 bits.
        seed = secrets.randbits(31) if body.seed is None or body.seed == -1 else abs(body.seed)
        options = SampleOptions(length=length, params=body.params(), stop=body.stops(), seed=seed)
        for id_, _ in options.params.logit_bias:
            if id_ >= len(model.vocabulary):
                raise ConfigError(f"logit_bias has id {id_}, but this model's are 0 to {len(model.vocabulary) - 1}")
        return options

    def texts(self, number: int | None, name: str) -> int:
        """Return how many texts a request asks for.

        Raises:
            ConfigError: None, or too many.
        """
        if not 1 <= (1 if number is None else number) <= self.limits.texts:
            raise ConfigError(f"{name} is {number}, but must be from 1 to {self.limits.texts}")
        return number or 1
