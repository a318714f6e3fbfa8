"""Reports on standard error that code is being compiled: it takes seconds, once on each machine."""

from typing import Any

from numba.core import event
from rich.console import Console

from nextchar.cli.console import stderr


class _Listener(event.Listener):
    def __init__(self) -> None:
        self.reported = False
        self.console: Console | None = None

    def on_start(self, event: Any) -> None:  # noqa: ARG002  every compilation is reported alike
        """Report the first compilation."""
        if not self.reported:
            self.reported = True
            console = self.console or stderr()
            console.print("nextchar: compiling for this processor, once (up to a minute) ...")

    def on_end(self, event: Any) -> None:
        """Print nothing."""


_LISTENER = _Listener()


def report_compiling(console: Console | None = None) -> None:
    """Report from now on when code is compiled that was not in the cache of compiled code; on standard error by default."""
    _LISTENER.console = console
    event.register("numba:compile", _LISTENER)  # type: ignore[no-untyped-call]
