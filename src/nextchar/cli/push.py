"""`nextchar push`: send a model to the Hugging Face Hub, with a card written from its provenance."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from nextchar.cli.console import print_json, stderr
from nextchar.cli.flags import Flag
from nextchar.errors import ConfigError

if TYPE_CHECKING:
    from nextchar.exporting.hub import Upload


def command(
    model: Path,
    repository: str,
    /,
    *,
    licence: Annotated[str | None, Parameter(name=["--licence", "--license"])] = None,
    private: Flag = False,
    against: tuple[str, ...] = (),
    dry_run: Flag = False,
    json: Flag = False,
) -> int:
    """Send a model to the Hugging Face Hub, with a card.

    The card says what the model was trained on, how well it predicts, and how
    much of what it writes is copied. Prints the address of what was sent, which
    every command takes for a MODEL. Log in with `hf auth login`, or set HF_TOKEN.

        nextchar push runs/book user/book --licence mit --dry-run
        nextchar push runs/book user/book --licence cc-by-4.0
        nextchar sample hf://user/book -n 500

    Parameters
    ----------
    model
        A run folder or a model file.
    repository
        USER/NAME on the Hub; it is made if it does not exist.
    licence
        Licence of the model, as the Hub writes it: mit, apache-2.0, cc-by-4.0, cc0-1.0, other ... Default: asked for.
    private
        Make a repository that only you can read.
    against
        Training text, to measure how much is copied. Default: the text of the run, if it is at hand.
    dry_run
        Print what would be sent, and send nothing.
    json
        Print one JSON object on standard output.
    """
    from nextchar.cli.compiling import report_compiling  # noqa: PLC0415  numba takes long to import
    from nextchar.exporting.hub import check_push, push  # noqa: PLC0415  torch takes long to import
    from nextchar.text.corpus import open_corpus  # noqa: PLC0415  numpy takes long to import

    check_push(repository, licence or "other", dry_run=dry_run)
    licence = licence or _ask(model)
    report_compiling()
    text = ""
    if against:
        corpus = open_corpus(against)
        text = corpus.vocabulary.decode(corpus.take(0, len(corpus)))
    upload = push(model, repository, licence=licence, private=private, against=text, dry_run=dry_run)
    if not upload.measured:
        stderr().print(
            "the training text is not at hand, so the card does not say how much is copied; name it: --against TEXT"
        )
    if json:
        print_json(upload.as_dict())
    elif dry_run:
        print(_shown(upload))  # noqa: T201  data on standard output
    else:
        stderr().print(f"sent {', '.join(upload.files)} to {upload.url}")
        print(upload.address)  # noqa: T201  as above
    return 0


def _ask(model: Path) -> str:
    """Return the licence of a model, which must be there, as it is typed in a terminal."""
    from nextchar.storage import read_model  # noqa: PLC0415  numpy takes long to import

    if not sys.stdin or not sys.stdin.isatty():
        raise ConfigError("no licence was given; name one, such as --licence mit, or --licence other")
    read_model(model)
    stderr().print("Licence of the model, such as mit, apache-2.0, cc-by-4.0, cc0-1.0 or other: ", end="")
    return sys.stdin.readline().strip()


def _shown(upload: "Upload") -> str:
    """Return what would be sent, with the card as it is."""
    who = "private" if upload.private else "public"
    rows = [f"  {name:<18}{len(content):>12,} bytes" for name, content in upload.files.items()]
    card = upload.files["README.md"].decode()
    return "\n".join([f"would be sent to {upload.url} ({who}), and was not:", *rows, "", "README.md:", "", card])
