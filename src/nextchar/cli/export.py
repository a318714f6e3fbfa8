"""`nextchar export`: write a model in the form of other programs."""

from pathlib import Path

from nextchar.architecture import WeightKind
from nextchar.cli.console import print_json, stderr
from nextchar.cli.flags import Flag, must_be_writable
from nextchar.exporting.export import export, target_of


def command(
    model: Path, out: Path, /, *, weights: WeightKind | None = None, text: tuple[str, ...] = (), json: Flag = False
) -> int:
    """Write a model in the form of other programs.

    The ending of OUT decides the form:

        .html         one file that anyone can open: it writes, without a network
        .safetensors  a model file; with --weights half or a quarter as large
        .onnx         for ONNX Runtime
        .pt           for code of your own in PyTorch

    For example:

        nextchar export runs/book book.html
        nextchar export runs/book book.safetensors --weights int8

    Parameters
    ----------
    model
        A run folder or a model file.
    out
        The file to write.
    weights
        Precision of the weights. .safetensors: any, by default that of the model; .html: int8 (the default) or fp32; .onnx: fp32 (the default) or, for an lstm, int8; .pt: fp32.
    text
        For .html: files in which to look for neurons that follow quotes, brackets or lines; by default a text that the model writes.
    json
        Print one JSON object on standard output.
    """
    target = target_of(out)
    must_be_writable(out)
    if target.module == "html" and stderr().is_terminal:
        stderr().print("looking for neurons that follow something; this takes some seconds")
    written = export(model, out, weights=weights, text=text)
    if json:
        print_json(written.as_dict())
    stderr().print(f"{out}: {written.bytes / 1e6:,.2f} MB, {written.weights} weights; {target.use}")
    return 0
