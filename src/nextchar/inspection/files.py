"""What `nextchar inspect` computes from files: a page, strips, a picture, arrays, or a table of gates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nextchar.device import pick_device
from nextchar.errors import ConfigError
from nextchar.inspection.gates import gates
from nextchar.inspection.naming import read_names
from nextchar.inspection.report import UNITS, neuron_page, parse_neurons, read, typical_place
from nextchar.inspection.strip import PICTURES, Strip, strip
from nextchar.inspection.trace import MAIN, SHOWN, OnProgress, ignore, trace
from nextchar.inspection.unit import Unit
from nextchar.storage import read_model, to_language_model, write_text
from nextchar.text.corpus import read_ids
from nextchar.text.vocabulary import Unknown

IN_STRIP = 400  # characters
STRIPS = 3  # neurons shown in a terminal
ARRAYS = (".npz", ".safetensors")


@dataclass(kw_only=True)
class FileInspection:
    """A model and a text, read from files, and what is shown of them.

    Attributes:
        model: A run folder or a model file.
        texts: Files, folders, globs, "-" or names of corpora.
        on_message: Called with a sentence about what was skipped or written.
        neurons: LAYER:UNIT,...; by default those with a name and then those that matter most: 40, 3 strips or 1 picture.
        claims: The folder of `nextchar discover`, or its claims.json, whose findings name the neurons; None searches for names.
        signal: What colours a strip; tanh_c, or h, by default.
        chars: Characters read, from the beginning: 30,000 by default, of which strips show 400.
        everything: Whether to read the whole text instead.
        predictions: Whether strips show the likeliest next characters below each line.
        unknown: "error", or "skip" to leave out characters that are not in the vocabulary.
        encoding: Of the texts.
        device: "auto", "cpu", "cuda" or "mps".
        on_progress: Called with what is being done, how much of it is done, and how much there is.
        lm: The model, on that device.
        ids: The text that is read, `(T,)`.

    Raises:
        ConfigError: The number of characters is below 1.
    """

    model: Path
    texts: Sequence[str]
    on_message: Callable[[str], object]
    neurons: str | None = None
    claims: Path | None = None
    signal: str | None = None
    chars: int | None = None
    everything: bool = False
    predictions: bool = False
    unknown: Unknown = "error"
    encoding: str = "utf-8"
    device: str = "cpu"
    on_progress: OnProgress = ignore

    def __post_init__(self) -> None:
        """Read the files."""
        if self.chars is not None and self.chars < 1:
            raise ConfigError(f"the characters to read are {self.chars}, but must be 1 or more")
        if self.everything and self.chars is not None:
            raise ConfigError("--all and --chars were given; give one of them")
        file = read_model(self.model)
        ids, skipped = read_ids(self.texts, file.vocabulary, encoding=self.encoding, unknown=self.unknown)
        if skipped:
            self.on_message(f"skipped {skipped:,} characters that are not in the vocabulary")
        self.ids, self._all = ids if self.everything else ids[: self.chars or SHOWN], ids
        if len(self.ids) < len(ids):
            self.on_message(f"reading the first {len(self.ids):,} of {len(ids):,} characters; --all reads everything")
        self.lm = to_language_model(file, pick_device(self.device))
        self._named = read_names(self.claims, self.lm) if self.claims else None

    def gates(self) -> dict[str, Any]:
        """Return a row for each gate of each layer, for JSON."""
        return {"chars": len(self.ids), "gates": [row.as_dict() for row in gates(self.lm, self.ids)]}

    def strips(self, count: int = STRIPS) -> list[Strip]:
        """Return the strip of each neuron that was asked for, or of the first ones, where they change most."""
        length = self.chars or IN_STRIP
        if self.neurons:
            units = parse_neurons(self.neurons)
            shown = [strip(self.lm, self.ids[:length], *unit, signal=self.signal) for unit in units]
            return [replace(each, predictions=self.predictions) for each in shown]
        beginning = self._all[: max(SHOWN, length)]
        seen = read(self.lm, beginning, self._named, on_progress=self.on_progress)
        signal = self.signal or MAIN[self.lm.network.architecture.cell]
        units = seen.chosen[:count]
        starts = [typical_place(seen.of(*unit), seen.text.ids, self.lm.vocabulary, length) for unit in units]
        values = trace(self.lm, beginning[: max(starts) + length], units=_by_layer(units), signals=[signal])
        return [
            Strip(values.part(start, start + length), *unit, signal, seen.sentence(unit), self.predictions)
            for unit, start in zip(units, starts, strict=True)
        ]

    def write(self, path: Path) -> dict[str, Any]:
        """Write the file that the ending of a name asks for; return what it holds, for JSON."""
        ending = path.suffix.lower()
        if ending in PICTURES:
            return self._write_picture(path)
        return self._write_arrays(path) if ending in ARRAYS else self._write_page(path)

    def _write_page(self, path: Path) -> dict[str, Any]:
        title = f"{', '.join(Path(text).name for text in self.texts)} read by {self.model.name}"
        page = neuron_page(
            self.lm, self.ids, neurons=self.neurons or (), named=self._named, title=title, on_progress=self.on_progress
        )
        write_text(path, page)
        self.on_message(f"{path}: open it in a browser")
        size = {"shown": min(SHOWN, len(self.ids)), "bytes": len(page.encode())}
        return {"page": str(path), "chars": len(self.ids), **size}

    def _write_picture(self, path: Path) -> dict[str, Any]:
        strips = self.strips(1)
        if len(strips) > 1:
            raise ConfigError(f"{len(strips)} units were given, and a picture shows one; give --neurons one LAYER:UNIT")
        strips[0].save(path)
        self.on_message(f"{path}: {strips[0].legend}")
        shown = {"shown": len(strips[0].seen), "legend": strips[0].legend}
        return {"picture": str(path), "chars": len(self.ids), **shown}

    def _write_arrays(self, path: Path) -> dict[str, Any]:
        units = (
            parse_neurons(self.neurons)
            if self.neurons
            else read(self.lm, self.ids, self._named, on_progress=self.on_progress).chosen[:UNITS]
        )
        seen = trace(self.lm, self.ids, units=_by_layer(units))
        seen.save(path)
        self.on_message(f"{path}: {len(seen):,} characters, {len(units)} units")
        shown = {"shown": len(seen), "arrays": sorted(seen.arrays())}
        return {"trace": str(path), "chars": len(self.ids), **shown}


def _by_layer(units: Sequence[Unit]) -> dict[int, list[int]]:
    """Return the units of each layer."""
    found: dict[int, list[int]] = {}
    for layer, unit in units:
        found.setdefault(layer, []).append(unit)
    return found
