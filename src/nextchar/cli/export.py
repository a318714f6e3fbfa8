"""`nextchar export`: write a model in the form of other programs."""

from pathlib import Path

from nextchar.architecture import WeightKind
from nextchar.cli.console import print_json, stderr
from nextchar.cli.flags import Flag, must_be_writable
from nextchar.exporting.export import export, target_of


def command(model: Path, out: Path, /, *, weights: WeightKind | None = None, json: Flag = False) -> int:
    """Write a model in the form of other programs.

    The ending of OUT decides the form:
    .pt weights for torch.

        nextchar export runs/book book.pt

    Parameters
    ----------
    model
        A run folder or a model file.
    out
        The file to write.
    weights
        Precision of the weights.
    json
        Print one JSON object on standard output.
    """
    target = target_of(out)
    must_be_writable(out)
    written = export(model, out, weights=weights)
    if json:
        print_json(written.as_dict())
    stderr().print(f"{out}: {written.bytes / 1e6:,.2f} MB, {written.weights} weights; {target.use}")
    return 0
