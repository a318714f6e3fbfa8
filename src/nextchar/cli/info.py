"""`nextchar info`: what a model file contains."""

from pathlib import Path
from typing import Any

from nextchar.cli.console import print_json
from nextchar.cli.flags import Flag
from nextchar.storage import ModelFile, model_path, read_model
from nextchar.text.display import visible

SHOWN = 200  # characters of the vocabulary
TEXTS = 5


def command(model: Path, /, *, json: Flag = False) -> int:
    """Show what a model file contains.

    Prints the shape of the network, its vocabulary, the texts it was trained
    on and its score.

        nextchar info runs/shakespeare
        nextchar info model.safetensors --json

    Parameters
    ----------
    model
        A run folder or a model file.
    json
        Print one JSON object on standard output.
    """
    file = read_model(model)
    if json:
        print_json(_as_json(model_path(model), file))
        return 0
    for name, value in _rows(model_path(model), file).items():
        print(f"{name:<12}{visible(value)}")  # noqa: T201  data on standard output
    return 0


def _as_json(path: Path, file: ModelFile) -> dict[str, Any]:
    vocabulary = file.vocabulary
    everything = range(len(vocabulary))
    return {
        "format": file.format,
        "bytes": path.stat().st_size,
        "weights": file.weights,
        "parameters": file.architecture.parameters(len(vocabulary)),
        **file.architecture.as_dict(),
        "vocabulary": list(vocabulary.codes) if vocabulary.units == "bytes" else vocabulary.decode(everything),
        "units": vocabulary.units,
        "provenance": file.provenance,
        "config": file.config,
    }


def _rows(path: Path, file: ModelFile) -> dict[str, str]:
    """Return the lines of the table, by name."""
    shape, vocabulary, origin = file.architecture, file.vocabulary, file.provenance
    known = (
        " ".join(f"{code:02x}" for code in vocabulary.codes)
        if vocabulary.units == "bytes"
        else vocabulary.decode(range(len(vocabulary))).replace("\n", "\\n").replace("\t", "\\t")
    )
    names = [text["name"] for text in origin.get("texts", [])]
    rows = {
        "file": f"{path} (format {file.format}, {path.stat().st_size / 1e6:,.1f} MB, {file.weights} weights)",
        "network": f"{shape.cell}, {shape.layers} layers of {shape.hidden} units, embedding {shape.embedding or 'one-hot'}",
        "parameters": f"{shape.parameters(len(vocabulary)):,}",
        "vocabulary": f"{len(vocabulary)} {vocabulary.units}: {known[:SHOWN]}{'…' if len(known) > SHOWN else ''}",
        "texts": ", ".join(names[:TEXTS]) + (f" and {len(names) - TEXTS:,} more" if len(names) > TEXTS else ""),
        "trained": f"{origin.get('step', 0):,} steps, {origin.get('epochs', 0):.2f} epochs, {origin.get('precision', '')}",
    }
    if source := origin.get("hub") or origin.get("init_from"):
        rows["origin"] = f"from {source}" if "hub" in origin else f"started from {source}"
    if "imported" in origin:
        rows["trained"] = f"elsewhere; imported from {origin['imported']}"
    if valid := origin.get("valid"):
        bits, nats = valid["bits_per_char"], valid["nats_per_char"]
        rows["validation"] = f"{bits:.4f} bits/char ({nats:.4f} nats), {valid['protocol']}"
    return rows
