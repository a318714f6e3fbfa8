"""`nextchar sample`: generate text with a model, and print it while it is generated."""

import sys
import time
from codecs import getincrementaldecoder
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import IncrementalNewlineDecoder
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from nextchar.cli.console import encode_output, print_json, stderr
from nextchar.cli.flags import PROMPT, Flag, flags_of
from nextchar.errors import ConfigError, TextError, as_integer
from nextchar.sampling.options import SampleOptions as Declared
from nextchar.text.display import visible
from nextchar.text.paths import STDIN

if TYPE_CHECKING:
    from nextchar.sampling.generation import Generator

SampleOptions: Any = flags_of(Declared, seed=None)
DEFAULT = SampleOptions()
RULE = "\n" + "─" * 40 + "\n"


def command(
    model: Path,
    /,
    *,
    prompt: Annotated[str | None, PROMPT] = None,
    prompt_file: Path | None = None,
    options: Annotated[SampleOptions, Parameter(name="*", negative="")] = DEFAULT,
    count: Annotated[int, Parameter(alias=["--num-samples", "--num-return-sequences"])] = 1,
    others: Annotated[tuple[Path, ...], Parameter(name="--with")] = (),
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
    count
        The number of texts.
    others
        Generate with an ensemble: the mean probability of MODEL and of this model, which needs the same vocabulary. One or more.
    json
        Print one JSON object on standard output.
    """
    # Compiled code and all that imports it takes long to import.
    from nextchar.cli.compiling import report_compiling  # noqa: PLC0415
    from nextchar.sampling.generation import Generator  # noqa: PLC0415

    as_integer("the count", count, "1 or more", 1)
    # \n and \t are typed more easily than a line end and a tab.
    options = replace(options, stop=tuple(text.replace("\\n", "\n").replace("\\t", "\t") for text in options.stop))
    text = _prompt(prompt, prompt_file)
    report_compiling()
    generator = Generator([model, *others], options)
    if json:
        print_json(_as_json(generator, text, count))
        return 0
    _print_text(generator, text, count)
    if options.seed is None and sys.stderr.isatty():
        stderr().print(f"seed {generator.seed}", style="dim")
    return 0


def _as_json(generator: "Generator", prompt: str, count: int) -> dict[str, Any]:
    begun = time.perf_counter()
    samples = [each.sample() for each in generator.generations(prompt, count)]
    seconds = time.perf_counter() - begun
    return {
        "prompt": prompt,
        "seed": generator.seed,
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
    shown = _shown(generator.encoding)
    if count == 1:
        pieces = generator.pieces(prompt, 0)  # checks the prompt before it is printed
        yield shown(prompt)
        yield from map(shown, pieces)
        return
    for generation in generator.generations(prompt, count):
        yield shown(RULE * (generation.index > 0) + prompt)
        yield shown(generation.encoded())


def _shown(encoding: str) -> Callable[[str | bytes], bytes]:
    """Return what puts prompts and pieces of a text in the form that is printed.

    A terminal gets no control characters: they are escaped, and every kind of line end is one of the terminal's.
    Elsewhere the bytes of a byte model are printed as they are.
    """
    decode = getincrementaldecoder("utf-8")("replace").decode
    lines = IncrementalNewlineDecoder(None, translate=True)

    def shown(piece: str | bytes) -> bytes:
        if sys.stdout.isatty():
            return encode_output(visible(lines.decode(decode(piece) if isinstance(piece, bytes) else piece)))
        if isinstance(piece, bytes) and encoding != "utf-8":
            return piece
        return encode_output(piece.decode() if isinstance(piece, bytes) else piece)

    return shown


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
