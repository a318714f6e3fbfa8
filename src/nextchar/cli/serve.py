"""`nextchar serve`: serve models over HTTP to the clients of OpenAI's and llama.cpp's interfaces."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import nextchar
from nextchar.architecture import WeightKind
from nextchar.cli.console import handle_signals, stderr
from nextchar.errors import ConfigError, MissingExtraError, as_integer

PORT = 8080


def command(
    models: tuple[Path, ...] = (),
    /,
    *,
    host: str = "127.0.0.1",
    port: int = PORT,
    api_key: Annotated[str | None, Parameter(env_var="NEXTCHAR_API_KEY")] = None,
    weights: WeightKind = "fp32",
    streams: int = 64,
    queue: int = 256,
) -> int:
    """Serve models over HTTP to the clients of OpenAI's and llama.cpp's interfaces.

    A model is named after its run folder, or its file. Ctrl-C or SIGTERM ends the
    server; running texts end within 5 seconds.

        nextchar serve runs/demo
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
    weights
        Precision of the weights. bf16 and int8 take half and a quarter of the memory, and are faster.
    streams
        The most texts that are generated at the same time.
    queue
        The most texts that wait; more are refused.
    """
    if not models:
        raise ConfigError("no model was given; name a run folder, such as `nextchar serve runs/demo`")
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
    report_compiling()
    with listen(host, port) as listener:
        version = nextchar.__version__
        served = [
            Model(name, path, weights, streams=streams, queue=queue, version=version) for name, path in named.items()
        ]
        out, shown = stderr(), f"[{host}]" if ":" in host else host
        if not (is_loopback(host) or api_key):
            out.print(f"nextchar: anybody who reaches {shown} may use this server; --api-key asks for a key")
        out.print(f"nextchar: serving {', '.join(named)} at http://{shown}:{listener.getsockname()[1]}/v1")
        # The signal that ended the server is raised again; SIGTERM has done its work by then.
        with handle_signals(lambda *_: None, "SIGTERM"):
            run(served, listener, host=host, api_key=api_key)
    return 0


def _named(paths: Sequence[Path]) -> dict[str, Path]:
    """Return models by name: that of the run folder, or of the file without its ending."""
    named: dict[str, Path] = {}
    for path in paths:
        name = path.resolve().name if path.is_dir() else path.stem
        if name in named:
            raise ConfigError(f"two models are named {name}, {named[name]} and {path}; rename one")
        named[name] = path
    return named
