"""`nextchar import`: make a model file of weights that were trained in PyTorch."""

from pathlib import Path
from typing import Annotated

from nextchar.cli.console import print_json, shell_command, stderr
from nextchar.cli.flags import OUTPUT, Flag, must_be_writable
from nextchar.errors import ConfigError
from nextchar.storage import save


def command(
    weights: Path,
    /,
    *,
    output: Annotated[Path, OUTPUT],
    vocabulary: Path | None = None,
    start: str | None = None,
    sum_outputs: Flag = False,
    json: Flag = False,
) -> int:
    """Make a model file of weights that were trained in PyTorch.

    WEIGHTS is the state dict of a model with an Embedding or one-hot input, LSTM,
    GRU or RNN layers, and a Linear layer. No code in it is run.

        nextchar import weights.pt --vocabulary characters.json -o model.safetensors
        nextchar import book.pt -o book.safetensors

    Parameters
    ----------
    weights
        A file of torch.save(model.state_dict(), FILE), or .safetensors.
    output
        The model file to write.
    vocabulary
        The characters in the order of their ids: a text file, or a .json file with a list of them, or with their ids. Whole numbers are bytes. A .pt file of nextchar export has them inside.
    start
        The character that stands for the beginning of a text, if the embedding has no row for START. Default: a line break.
    sum_outputs
        The output layer reads the sum of all recurrent layers instead of the last one.
    json
        Print one JSON object on standard output.
    """
    must_be_writable(output)
    if any(path and output.exists() and path.exists() and output.samefile(path) for path in (weights, vocabulary)):
        raise ConfigError(f"{output} is what is read; name another file to write")
    from nextchar.exporting.importing import import_weights  # noqa: PLC0415  torch takes long to import

    lm = import_weights(weights, vocabulary, start=start, sum_outputs=sum_outputs)
    save(lm, output)
    shape, known = lm.network.architecture, lm.vocabulary
    if json:
        print_json({"model": str(output), **shape.as_dict(), "vocabulary": len(known), "units": known.units})
    stderr().print(f"{output}: {shape}, embedding {shape.embedding or 'one-hot'}, {len(known)} {known.units}")
    stderr().print(f"try it: {shell_command('nextchar', 'sample', output)}")
    return 0
