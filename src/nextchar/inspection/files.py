"""What `nextchar inspect` computes from files: a page, strips, a picture, arrays, or a table of gates."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nextchar.device import pick_device
from nextchar.errors import ConfigError
from nextchar.inspection.gates import gates
from nextchar.inspection.report import UNITS, parse_neurons, report
from nextchar.inspection.strip import PICTURES, Strip, strip
from nextchar.inspection.summary import most_varied, summarize
from nextchar.inspection.trace import SHOWN, pieces, trace
from nextchar.inspection.unit import Unit
from nextchar.storage import read_model, to_language_model, write_text
from nextchar.text.corpus import read_ids
from nextchar.text.vocabulary import Unknown

IN_STRIP = 400  # characters
ARRAYS = (".npz", ".safetensors")


@dataclass(kw_only=True)
class Inspection:
    """A model and a text, read from files, and what is shown of them.

    Attributes:
        model: A run folder or a model file.
        texts: Files, folders, globs, "-" or names of corpora.
        on_message: Called with a sentence about what was skipped or written.
        neurons: LAYER:UNIT,...; by default the units that vary most: 64, or 1 in a strip.
        signal: What colours a strip; tanh_c, or h, by default.
        length: Characters shown, from the beginning; by default 20,000, or 400 in a strip.
        unknown: "error", or "skip" to leave out characters that are not in the vocabulary.
        encoding: Of the texts.
        device: "auto", "cpu", "cuda" or "mps".
        lm: The model, on that device.
        ids: The text, `(T,)`.

    Raises:
        ConfigError: The length is below 1.
    """

    model: Path
    texts: Sequence[str]
    on_message: Callable[[str], object]
    neurons: str | None = None
    signal: str | None = None
    length: int | None = None
    unknown: Unknown = "error"
    encoding: str = "utf-8"
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Read the files."""
        if self.length is not None and self.length < 1:
            raise ConfigError(f"the length is {self.length}, but must be 1 or more")
        file = read_model(self.model)
        self.ids, skipped = read_ids(self.texts, file.vocabulary, encoding=self.encoding, unknown=self.unknown)
        if skipped:
            self.on_message(f"skipped {skipped:,} characters that are not in the vocabulary")
        self.lm = to_language_model(file, pick_device(self.device))

    def gates(self) -> dict[str, Any]:
        """Return a row for each gate of each layer, for JSON."""
        return {"chars": len(self.ids), "gates": [row.as_dict() for row in gates(self.lm, self.ids)]}

    def strips(self) -> list[Strip]:
        """Return the strip of each unit."""
        text = self.ids[: self.length or IN_STRIP]
        return [strip(self.lm, text, *unit, signal=self.signal) for unit in self._units(1)]

    def write(self, path: Path) -> dict[str, Any]:
        """Write the file that the ending of a name asks for; return what it holds, for JSON."""
        ending = path.suffix.lower()
        if ending in PICTURES:
            return self._write_picture(path)
        return self._write_arrays(path) if ending in ARRAYS else self._write_page(path)

    def _write_page(self, path: Path) -> dict[str, Any]:
        chosen = parse_neurons(self.neurons) if self.neurons else ()
        shown = self.length or SHOWN
        title = f"{self.model.name}: {', '.join(Path(text).name for text in self.texts)}"
        page = report(self.lm, self.ids, units=chosen, shown=shown, title=title)
        write_text(path, page)
        self.on_message(f"{path}: {len(self.ids):,} characters; open it in a browser")
        size = {"shown": min(shown, len(self.ids)), "bytes": len(page.encode())}
        return {"page": str(path), "chars": len(self.ids), **size}

    def _write_picture(self, path: Path) -> dict[str, Any]:
        strips = self.strips()
        if len(strips) > 1:
            raise ConfigError(f"{len(strips)} units were given, and a picture shows one; give --neurons one LAYER:UNIT")
        strips[0].save(path)
        self.on_message(f"{path}: {strips[0].legend}")
        shown = {"shown": len(strips[0].seen), "legend": strips[0].legend}
        return {"picture": str(path), "chars": len(self.ids), **shown}

    def _write_arrays(self, path: Path) -> dict[str, Any]:
        by_layer: dict[int, list[int]] = {}
        for layer, unit in self._units(UNITS):
            by_layer.setdefault(layer, []).append(unit)
        seen = trace(self.lm, self.ids[: self.length or SHOWN], units=by_layer)
        seen.save(path)
        self.on_message(f"{path}: {len(seen):,} characters, {sum(map(len, by_layer.values()))} units")
        shown = {"shown": len(seen), "arrays": sorted(seen.arrays())}
        return {"trace": str(path), "chars": len(self.ids), **shown}

    def _units(self, count: int) -> list[Unit]:
        """Return the units that are asked for, or those that vary most."""
        if self.neurons:
            return parse_neurons(self.neurons)
        return most_varied(summarize(pieces(self.lm, self.ids)), count)
