"""`nextchar sample`: a model in, text out, as it is written."""

import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from nextchar.cli.flags import Flag
from nextchar.errors import ConfigError, TextError
from nextchar.storage import read_model
from nextchar.text.paths import STDIN

if TYPE_CHECKING:
    from nextchar.sampling.sample import Text

RULE = "\n" + "─" * 40 + "\n"


def command(
    model: Path,
    /,
    *,
    prompt: Annotated[str | None, Parameter(name=["--prompt", "-p"])] = None,
    prompt_file: Path | None = None,
    length: Annotated[int, Parameter(name=["--length", "-n"])] = 500,
    temperature: Annotated[float, Parameter(name=["--temperature", "-t"])] = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    seed: int | None = None,
    count: int = 1,
    stop: tuple[str, ...] = (),
    unknown: Literal["error", "skip"] = "error",
    weights: Literal["fp32", "bf16", "int8"] = "fp32",
    others: Annotated[tuple[Path, ...], Parameter(name="--with")] = (),
    device: Literal["auto", "cpu", "cuda", "mps"] = "cpu",
    json: Flag = False,
) -> int:
    r"""Write text with a model.

    The text goes to standard output as it is written, after the prompt. With
    --json, one object with what was written after the prompt.

        nextchar sample runs/shakespeare -p "ROMEO:" -n 1000 -t 0.8
        nextchar sample runs/names --count 20 --stop "\n" --json
        nextchar sample runs/one --with runs/another -p "ROMEO:"

    Parameters
    ----------
    model
        A run folder or a model file.
    prompt
        What the text begins with. Default: nothing.
    prompt_file
        Read the prompt from a file, or - for standard input.
    length
        Characters to write (bytes, for a model of bytes).
    temperature
        1 as learnt; lower is surer and repeats, higher is wilder and errs; 0 always takes the likeliest.
    top_k
        Choose among the K likeliest only; 0 for all.
    top_p
        Choose among the likeliest that together reach this probability only; 1 for all.
    min_p
        Choose among those at least this many times as likely as the likeliest only; 0 for all.
    seed
        The same seed writes the same text. Default: another one every time.
    count
        How many texts.
    stop
        End before this text, which may be \n for a line end. One or more.
    unknown
        What to do with a character of the prompt that the model has never seen.
    weights
        How to keep the weights: as they are, or rounded to half or a quarter of the memory, which is faster.
    others
        Write with the mean of MODEL's probabilities and of this model's, of the same vocabulary. One or more.
    device
        Where to write. A GPU pays for many texts at once, not for one.
    json
        Print one JSON object on standard output.
    """
    from nextchar.cli.compiling import tell_of_compiling  # noqa: PLC0415  numba takes long to import
    from nextchar.sampling.engine import Filters  # noqa: PLC0415  as above
    from nextchar.sampling.sample import SampleOptions, Writer  # noqa: PLC0415  as above

    if count < 1:
        raise ConfigError(f"the count is {count}, but must be 1 or more")
    chosen = time.time_ns() % 2**31 if seed is None else seed
    options = SampleOptions(
        length=length,
        filters=Filters(temperature, top_k, top_p, min_p),
        stop=tuple(text.replace("\\n", "\n").replace("\\t", "\t") for text in stop),
        seed=chosen,
        unknown=unknown,
        weights=weights,
        device=device,
    )
    text = _prompt(prompt, prompt_file)
    tell_of_compiling()
    writer = Writer([read_model(path) for path in (model, *others)], options)
    begun = time.perf_counter()
    if json:
        from nextchar.cli.console import print_json  # noqa: PLC0415  rich takes a while too, and text needs none

        samples = [each.sample() for each in writer.texts(text, count)]
        seconds = time.perf_counter() - begun
        print_json(
            {
                "prompt": text,
                "seed": chosen,
                "samples": [asdict(sample) for sample in samples],
                "chars_per_second": round(sum(sample.chars for sample in samples) / max(seconds, 1e-9), 1),
            }
        )
        return 0
    out = sys.stdout.buffer
    last = b""
    # One text is shown as it is written; several are written together, and shown one after the other.
    pieces = writer.pieces(text, 0) if count == 1 else _ruled(writer.texts(text, count), text)
    # What is not UTF-8 on a command line comes as surrogates.
    out.write(text.encode(errors="surrogateescape"))
    for piece in pieces:
        out.write(piece)
        out.flush()
        last = piece or last
    if sys.stdout.isatty() and not last.endswith(b"\n"):
        out.write(b"\n")
    out.flush()
    if seed is None and sys.stderr.isatty():
        from nextchar.cli.console import stderr  # noqa: PLC0415  as above

        stderr().print(f"seed {chosen}", style="dim")
    return 0


def _ruled(texts: Iterator["Text"], prompt: str) -> Iterator[bytes]:
    """Yield texts with a rule and the prompt between two of them."""
    for text in texts:
        yield (RULE + prompt).encode(errors="surrogateescape") * (text.index > 0) + text.encoded()


def _prompt(text: str | None, file: Path | None) -> str:
    if file is None:
        return text or ""
    if text is not None:
        raise ConfigError("both --prompt and --prompt-file were given; give one of them")
    try:
        if str(file) in STDIN:
            return sys.stdin.buffer.read().decode()
        return file.read_bytes().decode()
    except UnicodeDecodeError as error:
        raise TextError(
            f"the prompt in {file} is not UTF-8: byte 0x{error.object[error.start]:02X} at offset {error.start}"
        ) from None
