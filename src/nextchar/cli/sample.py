"""`nextchar sample`: generate text with a model, and print it while it is generated."""

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from nextchar.cli.console import encode_output, print_json, stderr
from nextchar.cli.flags import Flag
from nextchar.errors import ConfigError, TextError, as_integer
from nextchar.text.paths import STDIN

if TYPE_CHECKING:
    from nextchar.sampling.generation import Generator

RULE = "\n" + "─" * 40 + "\n"


def command(
    model: Path,
    /,
    *,
    prompt: Annotated[str | None, Parameter(name=["--prompt", "-p"])] = None,
    prompt_file: Path | None = None,
    length: Annotated[int, Parameter(name=["--length", "-n"])] = 500,
    temperature: Annotated[float, Parameter(name=["--temperature", "-t"])] = 1.0,
    top_k: Annotated[int, Parameter(validator=[])] = 0,  # a number of any size is taken
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
    r"""Generate text with a model.

    The text goes to standard output while it is generated, after the prompt. With
    --json, one object with what was generated after the prompt.

        nextchar sample runs/shakespeare -p "ROMEO:" -n 1000 -t 0.8
        nextchar sample runs/names --count 20 --stop "\n" --json
        nextchar sample runs/one --with runs/another -p "ROMEO:"

    Parameters
    ----------
    model
        A run folder or a model file.
    prompt
        The beginning of the text. Default: none.
    prompt_file
        Read the prompt from a file, or from standard input with -.
    length
        The most characters to generate (bytes, for a byte model).
    temperature
        1 is the model's own distribution; lower is safer and repetitive, higher is more varied and makes more errors; 0 always takes the most likely character.
    top_k
        Draw among the K most likely characters; 0 for all.
    top_p
        Draw among the most likely characters that together reach this probability; 1 for all.
    min_p
        Draw among the characters at least this many times as likely as the most likely one; 0 for all.
    seed
        The same seed gives the same text. Default: a new one each time.
    count
        The number of texts.
    stop
        End before this text; \n is a line end. One or more.
    unknown
        What to do with characters of the prompt that the model does not know.
    weights
        Precision of the weights. bf16 and int8 take half and a quarter of the memory, and are faster.
    others
        Generate with an ensemble: the mean probability of MODEL and of this model, which needs the same vocabulary. One or more.
    device
        Where to generate. A GPU is faster for many texts, not for one.
    json
        Print one JSON object on standard output.
    """
    # Compiled code and all that imports it takes long to import.
    from nextchar.cli.compiling import report_compiling  # noqa: PLC0415
    from nextchar.sampling.generation import Generator  # noqa: PLC0415
    from nextchar.sampling.options import SampleOptions, SamplingParams  # noqa: PLC0415

    as_integer("the count", count, "1 or more", 1)
    options = SampleOptions(
        length=length,
        params=SamplingParams(temperature, top_k, top_p, min_p),
        stop=tuple(text.replace("\\n", "\n").replace("\\t", "\t") for text in stop),
        seed=time.time_ns() % 2**31 if seed is None else seed,
        unknown=unknown,
        weights=weights,
        device=device,
    )
    text = _prompt(prompt, prompt_file)
    report_compiling()
    generator = Generator([model, *others], options)
    if json:
        print_json(_as_json(generator, text, count))
        return 0
    _print_text(generator, text, count)
    if seed is None and sys.stderr.isatty():
        stderr().print(f"seed {options.seed}", style="dim")
    return 0


def _as_json(generator: "Generator", prompt: str, count: int) -> dict[str, Any]:
    begun = time.perf_counter()
    samples = [each.sample() for each in generator.generations(prompt, count)]
    seconds = time.perf_counter() - begun
    return {
        "prompt": prompt,
        "seed": generator.options.seed,
        "samples": [sample.as_dict() for sample in samples],
        "chars_per_second": round(sum(sample.chars for sample in samples) / max(seconds, 1e-9), 1),
    }


def _print_text(generator: "Generator", prompt: str, count: int) -> None:
    """Print one text while it is generated, or several one after the other with a rule between them."""
    out = sys.stdout.buffer
    last = b""
    for piece in _output(generator, prompt, count):
        out.write(piece)
        out.flush()
        last = piece or last
    if sys.stdout.isatty() and not last.endswith(b"\n"):
        out.write(b"\n")
    out.flush()


def _output(generator: "Generator", prompt: str, count: int) -> Iterator[bytes]:
    # The bytes of a byte model are printed as they are.
    raw = generator.encoding != "utf-8"
    if count == 1:
        pieces = generator.pieces(prompt, 0)
        yield encode_output(prompt)
        yield from (piece if raw else encode_output(piece.decode()) for piece in pieces)
        return
    for generation in generator.generations(prompt, count):
        text = generation.encoded()
        yield encode_output(RULE * (generation.index > 0) + prompt)
        yield text if raw else encode_output(text.decode())


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
