"""`export`: writes a model as a file of another form, which the ending of the file's name decides."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from nextchar.architecture import WeightKind
from nextchar.errors import ConfigError, check_choice
from nextchar.storage import TRAINING, ModelSource, model_path, to_file, write_atomically
from nextchar.text.paths import Text, expand


class Target(NamedTuple):
    """One form of file.

    Attributes:
        module: Of this room. Its function `encode(file: ModelFile, weights: WeightKind) -> bytes` returns the content;
            that of html takes a name and texts, too.
        weights: The kinds of weights that it can hold.
        default: The kind if none is asked for; None for that of the model.
        use: What to do with the file, in a few words.
    """

    module: str
    weights: tuple[WeightKind, ...]
    default: WeightKind | None
    use: str


TARGETS = {
    ".html": Target("html", ("int8", "fp32"), "int8", "open it in a browser"),
    ".safetensors": Target("weights", ("fp32", "bf16", "int8"), None, "every command reads it as a MODEL"),
    ".onnx": Target("onnx", ("fp32", "int8"), "fp32", "ONNX Runtime reads it"),
    ".pt": Target("torch", ("fp32",), "fp32", "torch.load(FILE, weights_only=True) reads it"),
}
"""All forms, by the ending of a name."""


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that was written.

    Attributes:
        path: Where it is.
        bytes: Its size.
        weights: The kind of its weights.
    """

    path: Path
    bytes: int
    weights: WeightKind

    def as_dict(self) -> dict[str, Any]:
        """Return the values by name, for JSON."""
        return {**asdict(self), "path": str(self.path)}


def export(
    model: ModelSource, path: Text, *, weights: WeightKind | None = None, text: str | Sequence[str] = ()
) -> Exported:
    """Write a model as a file of another form.

    Args:
        model: A model, its file, or the path of a file or run folder.
        path: The file to write. Its ending decides the form: .html, a page that writes; .safetensors, a model file, with
            smaller weights if asked; .onnx, for ONNX Runtime; .pt, weights for torch.
        weights: The kind of the weights: "fp32", "bf16" or "int8"; not every form can hold all of them.
        text: Files in which neurons that follow something are searched for, for .html; by default a text that the model
            generates.

    Returns:
        What was written.

    Raises:
        ConfigError: There is no such form or kind, or the file is the model itself.
        ModelFileError: The path of the model leads to no model.
        MissingExtraError: The form needs a package that is not installed.

    Example:
        >>> nextchar.export("runs/book", "book.pt")
    """
    place = expand(path)
    target = target_of(place)
    if weights is not None:
        check_choice("weights", weights, WeightKind)
        if weights not in target.weights:
            held = " or ".join(target.weights)
            raise ConfigError(f"the weights are {weights}, but a {place.suffix.lower()} file holds {held}")
    if text and target.module != "html":
        raise ConfigError(f"a text was given, but only an .html file shows neurons that follow it, not {place.name}")
    if isinstance(model, str | Path) and place.exists():
        source = model_path(model)
        if any(own.exists() and place.samefile(own) for own in (source, source.with_name(TRAINING))):
            raise ConfigError(f"{place} is the model itself, or of its run; name another file to write")
    file = to_file(model)
    kind = weights or target.default or file.weights
    texts = [text] if isinstance(text, str) else list(text)
    page: dict[str, Any] = {"name": place.stem, "text": texts} if target.module == "html" else {}
    content: bytes = import_module(f"nextchar.exporting.{target.module}").encode(file, kind, **page)
    write_atomically(place, lambda temporary: temporary.write_bytes(content))
    return Exported(place, len(content), kind)


def target_of(path: Path) -> Target:
    """Return the form of a file by the ending of its name.

    Raises:
        ConfigError: There is none.
    """
    if (ending := path.suffix.lower()) not in TARGETS:
        raise ConfigError(f"the output is '{path}', but its name must end in {' or '.join(TARGETS)}")
    return TARGETS[ending]
