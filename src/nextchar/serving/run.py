"""Runs the application on a socket until a signal ends it."""

import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import Any

import uvicorn

from nextchar.errors import ConfigError
from nextchar.serving.app import build
from nextchar.serving.models import Model
from nextchar.serving.trainings import Trainings

GRACE = 4.0  # seconds in which running texts may end; a second later, connections are closed
SWITCH_SECONDS = 0.0005  # so that a scheduler does not wait long for the thread that speaks HTTP
CONNECTIONS = 1 << 16


class _Server(uvicorn.Server):
    """A server whose models take no new requests, and whose training saves, once it has a signal to end."""

    def __init__(self, config: uvicorn.Config, models: Sequence[Model], trainings: Trainings | None) -> None:
        super().__init__(config)
        self._models, self._trainings = models, trainings

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to shut down."""
        for model in [*self._models, *(self._trainings.models.by_name.values() if self._trainings else ())]:
            model.scheduler.shut_down(GRACE)
        if self._trainings:
            self._trainings.shut_down()
        super().handle_exit(sig, frame)


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens.

    Raises:
        ConfigError: The address cannot be used.
    """
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise ConfigError(f"cannot listen on {host} port {port}: {error}; choose another --port or --host") from None
    # asyncio sends at once, without waiting 40 ms for an acknowledgement, only where the protocol is named.
    return socket.socket(listener.family, listener.type, socket.IPPROTO_TCP, listener.detach())


def run(
    models: Sequence[Model], listener: socket.socket, *, trainings: Trainings | None = None, **options: Any
) -> None:
    """Serve models, and train, until SIGINT or SIGTERM, which are raised again at the end; see `app.build`."""
    _allow_connections()
    sys.setswitchinterval(SWITCH_SECONDS)
    app = build(models, trainings=trainings, **options)
    quiet = {"log_level": "warning", "access_log": False, "server_header": False}
    config = uvicorn.Config(app, lifespan="on", timeout_graceful_shutdown=int(GRACE) + 1, **quiet)  # type: ignore[arg-type]
    _Server(config, models, trainings).run([listener])


def _allow_connections() -> None:
    """Raise the limit of open files, of which each connection is one, to what the system allows."""
    with suppress(ImportError, ValueError, OSError):
        import resource  # noqa: PLC0415  Windows has no such limit

        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        least = CONNECTIONS if most == resource.RLIM_INFINITY else min(most, CONNECTIONS)
        resource.setrlimit(resource.RLIMIT_NOFILE, (least, most))
