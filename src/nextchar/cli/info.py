"""`nextchar info`: what is in a model file."""

from pathlib import Path

from nextchar.cli.console import print_json, visible
from nextchar.cli.flags import Flag
from nextchar.storage import VERSION, model_path, read_model


def command(model: Path, /, *, json: Flag = False) -> int:
    """Tell what is in a model file: its shape, its vocabulary and where it comes from.

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
    shape, vocabulary = file.architecture, file.vocabulary
    characters = (
        vocabulary.decode(range(len(vocabulary)))
        if vocabulary.units == "characters"
        else list(vocabulary.codes)
    )
    if json:
        print_json(
            {
                "format": VERSION,
                "parameters": shape.parameters(len(vocabulary)),
                **shape.as_dict(),
                "vocabulary": characters,
                "units": vocabulary.units,
                "provenance": file.provenance,
                "config": file.config,
            }
        )
        return 0
    texts = file.provenance.get("texts", [])
    valid = file.provenance.get("valid")
    shown = (
        visible(characters) if isinstance(characters, str) else " ".join(f"{code:02x}" for code in characters)
    )
    shown = shown.replace("\n", "\\n").replace("\t", "\\t")
    rows = {
        "file": f"{model_path(model)} (format {VERSION})",
        "network": f"{shape.cell}, {shape.layers} layers of {shape.hidden} units, embedding {shape.embedding or 'one-hot'}",
        "parameters": f"{shape.parameters(len(vocabulary)):,}",
        "vocabulary": f"{len(vocabulary)} {vocabulary.units}: {shown[:200]}{'…' if len(shown) > 200 else ''}",
        "texts": ", ".join(text["name"] for text in texts[:5])
        + (f" and {len(texts) - 5:,} more" if len(texts) > 5 else ""),
        "trained": f"{file.provenance.get('step', 0):,} steps, {file.provenance.get('epochs', 0):.2f} epochs, {file.provenance.get('precision', '')}",
    }
    if valid:
        rows["validation"] = (
            f"{valid['bits_per_char']:.4f} bits/char ({valid['nats_per_char']:.4f} nats), {valid['protocol']}"
        )
    for name, value in rows.items():
        print(f"{name:<12}{value}")  # noqa: T201  data on standard output
    return 0
