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
from nextchar.language_model import LanguageModel
from nextchar.model.reading import Ids
from nextchar.storage import read_model, to_language_model, write_text
from nextchar.text.corpus import read_ids
from nextchar.text.vocabulary import Unknown

IN_STRIP = 400  # characters
ARRAYS = (".npz", ".safetensors")


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectOptions:
    """What to show of a text.

    Attributes:
        neurons: LAYER:UNIT,...; by default the units that vary most: 64, or 1 in a strip.
        signal: What colours a strip; tanh_c, or h, by default.
        length: Characters shown, from the beginning; by default 20,000, or 400 in a strip.
        unknown: "error", or "skip" to leave out characters that are not in the vocabulary.
        encoding: Of the texts.
        device: "auto", "cpu", "cuda" or "mps".
    """

    neurons: str | None = None
    signal: str | None = None
    length: int | None = None
    unknown: Unknown = "error"
    encoding: str = "utf-8"
    device: str = "cpu"

    def __post_init__(self) -> None:
        """Refuse a length below 1."""
        if self.length is not None and self.length < 1:
            raise ConfigError(f"the length is {self.length}, but must be 1 or more")


class Inspection:
    """A model and a text, read from files, with the options for what is shown of them.

    Args:
        model: A run folder or a model file.
        texts: Files, folders, globs, "-" or names of corpora.
        options: What to show.
        on_message: Called with a sentence about what was skipped or written.
    """

    def __init__(
        self,
        model: Path,
        texts: Sequence[str],
        options: InspectOptions,
        on_message: Callable[[str], object],
    ) -> None:
        file = read_model(model)
        ids, skipped = read_ids(texts, file.vocabulary, encoding=options.encoding, unknown=options.unknown)
        if skipped:
            on_message(f"skipped {skipped:,} characters that are not in the vocabulary")
        self.lm: LanguageModel = to_language_model(file, pick_device(options.device))
        self.ids: Ids = ids
        self._options, self._say = options, on_message
        self._title = f"{model.name}: {', '.join(Path(text).name for text in texts)}"

    def gates(self) -> dict[str, Any]:
        """Return a row for each gate of each layer, for JSON."""
        return {"chars": len(self.ids), "gates": [row.as_dict() for row in gates(self.lm, self.ids)]}

    def strips(self) -> list[Strip]:
        """Return the strip of each unit."""
        text = self.ids[: self._options.length or IN_STRIP]
        return [strip(self.lm, text, *unit, signal=self._options.signal) for unit in self._units(1)]

    def write(self, path: Path) -> dict[str, Any]:
        """Write the file that the ending of a name asks for; return what it holds, for JSON."""
        ending = path.suffix.lower()
        if ending in PICTURES:
            return self._write_picture(path)
        return self._write_arrays(path) if ending in ARRAYS else self._write_page(path)

    def _write_page(self, path: Path) -> dict[str, Any]:
        chosen = parse_neurons(self._options.neurons) if self._options.neurons else ()
        shown = self._options.length or SHOWN
        page = report(self.lm, self.ids, units=chosen, shown=shown, title=self._title)
        write_text(path, page)
        self._say(f"{path}: {len(self.ids):,} characters; open it in a browser")
        size = {"shown": min(shown, len(self.ids)), "bytes": len(page.encode())}
        return {"page": str(path), "chars": len(self.ids), **size}

    def _write_picture(self, path: Path) -> dict[str, Any]:
        strips = self.strips()
        if len(strips) > 1:
            raise ConfigError(
                f"{len(strips)} units were given, and a picture shows one; give --neurons one LAYER:UNIT"
            )
        strips[0].save(path)
        self._say(f"{path}: {strips[0].legend}")
        shown = {"shown": len(strips[0].seen), "legend": strips[0].legend}
        return {"picture": str(path), "chars": len(self.ids), **shown}

    def _write_arrays(self, path: Path) -> dict[str, Any]:
        by_layer: dict[int, list[int]] = {}
        for layer, unit in self._units(UNITS):
            by_layer.setdefault(layer, []).append(unit)
        seen = trace(self.lm, self.ids[: self._options.length or SHOWN], units=by_layer)
        seen.save(path)
        self._say(f"{path}: {len(seen):,} characters, {sum(map(len, by_layer.values()))} units")
        shown = {"shown": len(seen), "arrays": sorted(seen.arrays())}
        return {"trace": str(path), "chars": len(self.ids), **shown}

    def _units(self, count: int) -> list[Unit]:
        """Return the units that are asked for, or those that vary most."""
        if self._options.neurons:
            return parse_neurons(self._options.neurons)
        return most_varied(summarize(pieces(self.lm, self.ids)), count)
