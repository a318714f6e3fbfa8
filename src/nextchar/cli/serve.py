"""`nextchar serve`: serve models over HTTP, with a page on which models are also trained."""

import threading
import webbrowser
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

import nextchar
from nextchar.architecture import WeightKind
from nextchar.cli.console import handle_signals, stderr
from nextchar.cli.flags import Flag
from nextchar.errors import ConfigError, MissingExtraError, as_integer

if TYPE_CHECKING:
    from nextchar.serving.models import Model
    from nextchar.serving.trainings import Trainings

PORT = 8080


def command(
    models: tuple[Path, ...] = (),
    /,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    api_key: Annotated[str | None, Parameter(env_var="NEXTCHAR_API_KEY")] = None,
    train: bool | None = None,
    runs: Annotated[Path, Parameter(env_var="NEXTCHAR_RUNS")] = Path("runs"),
    open_: Annotated[Flag, Parameter(name="--open")] = False,
    weights: WeightKind | None = None,
    streams: int = 64,
    queue: int = 256,
) -> int:
    """Serve models over HTTP, and a page that generates, inspects and trains.

    A model is named after its run folder, or its file. Without a model, the page
    opens where one is trained. Ctrl-C or SIGTERM ends the server: running texts
    end within 5 seconds, and a training saves and goes on at the next start.

        nextchar serve --open
        nextchar serve runs/demo runs/book --port 9000 --weights int8

    Parameters
    ----------
    models
        Run folders or model files. The first one answers requests that name no model.
    host
        Address to listen on; 0.0.0.0 for all of this machine.
    port
        Port to listen on; 0 for any that is free.
    api_key
        What clients must send as their key. Default: none is needed.
    train
        Let clients train on texts of theirs. Default: if only this machine can reach the server.
    runs
        Folder of trainings; those that are kept become runs in it, and are served.
    open_
        Open the page in a browser.
    weights
        Precision of the weights, by default that of the model file. bf16 and int8 take half and a quarter of the memory, and are faster.
    streams
        The most texts that are generated at the same time.
    queue
        The most texts that wait; more are refused.
    """
    as_integer("--streams", streams, "1 or more", 1)
    as_integer("--queue", queue)
    if not 0 <= port < 1 << 16:
        raise ConfigError(f"--port is {port}, but must be from 0 to 65535")
    named = _named(models)
    # What follows takes long to import.
    from nextchar.cli.compiling import report_compiling  # noqa: PLC0415

    try:
        from nextchar.serving.guard import is_loopback  # noqa: PLC0415
        from nextchar.serving.models import Model  # noqa: PLC0415
        from nextchar.serving.run import listen, run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise MissingExtraError(f"{error.name} is not installed; pip install 'nextchar[serve]'") from None
    shown, local = f"[{host}]" if ":" in host else host, is_loopback(host)
    if train and not (local or api_key):
        raise ConfigError(
            f"--train lets anybody who reaches {shown} fill its disk and use its processor; give --api-key, too"
        )
    report_compiling()
    make = partial(Model, weights=weights, streams=streams, queue=queue, version=nextchar.__version__)
    with listen(host, port) as listener, ExitStack() as stack:
        trainings, off = _trainings(runs, make, train=train, default=local)
        if trainings:
            stack.callback(trainings.close)
        if not (named or trainings):
            raise ConfigError(f"no model was given, and {off}; name a run folder, such as `nextchar serve runs/demo`")
        served = [make(name, path) for name, path in named.items()]
        out, address = stderr(), f"http://{shown}:{listener.getsockname()[1]}"
        if not (local or api_key):
            out.print(f"nextchar: anybody who reaches {shown} may use this server; --api-key asks for a key")
        if off and train is None and local:
            out.print(f"nextchar: {off}")
        names = dict.fromkeys([*named, *(trainings.kept() if trainings else ())])
        if names:
            out.print(f"nextchar: serving {', '.join(names)} at {address}/v1")
        out.print(f"nextchar: {'the page is at' if names else 'no model yet; train one at'} {address}/")
        if open_:
            # A browser of the terminal would not return.
            threading.Thread(target=webbrowser.open, args=(f"{address}/",), daemon=True).start()
        # The signal that ended the server is raised again; SIGTERM has done its work by then.
        with handle_signals(lambda *_: None, "SIGTERM"):
            run(served, listener, trainings=trainings, untrained=off, host=host, api_key=api_key)
    return 0


def _trainings(
    runs: Path, make: "partial[Model]", *, train: bool | None, default: bool
) -> "tuple[Trainings | None, str]":
    """Return the trainings of a folder, or None and why there are none."""
    from nextchar.serving.trainings import Trainings  # noqa: PLC0415  takes long to import

    if train is None and not default:
        return None, "training is off, because this server listens beyond its machine; --train allows it"
    if train is False:
        return None, "training is off (--no-train)"
    try:
        return Trainings(runs, make, warm=True), ""
    except ConfigError as error:
        if train:
            raise
        return None, f"training is off: {error}"
    except OSError as error:
        off = f"{runs} cannot be written ({error.strerror}); name another folder with --runs"
        if train:
            raise ConfigError(off) from None
        return None, f"training is off: {off}"


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Return models by name: that of the run folder, or of the file without its ending."""
    named: dict[str, Path] = {}
    for path in paths:
        name = path.resolve().name if path.is_dir() else path.stem
        if name in named:
            raise ConfigError(f"two models are named {name}, {named[name]} and {path}; rename one")
        named[name] = path
    return named
