"""A server on a loopback port, with small models that have random weights."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from conftest import make_model
from nextchar.text.vocabulary import Vocabulary

uvicorn = pytest.importorskip("uvicorn")
pytest.importorskip("starlette")
pytest.importorskip("prometheus_client")

CHARACTERS = make_model(Vocabulary("characters", tuple(map(ord, "\n abcdeé☃"))))
BYTES = make_model(Vocabulary("bytes", tuple(sorted((10, 32, 97, 98, *"é☃".encode())))), 1)


@contextmanager
def serving(models: dict[str, Any] | None = None, **options: Any) -> Iterator[str]:
    """Serve models by name, or "letters" and "bytes", on a port of this machine; yield the address."""
    from nextchar.serving.app import build
    from nextchar.serving.models import Model
    from nextchar.serving.run import listen

    sizes = {name: options.pop(name) for name in ("streams", "queue", "weights") if name in options}
    models = {"letters": CHARACTERS, "bytes": BYTES} if models is None else models
    served = [Model(name, model, **sizes) for name, model in models.items()]
    listener = listen("127.0.0.1", options.pop("port", 0))
    config = uvicorn.Config(build(served, **options), log_level="critical", lifespan="on", timeout_graceful_shutdown=5)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
