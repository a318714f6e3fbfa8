"""Says on standard error that code is being compiled, because that takes seconds, and happens once on a machine."""

from typing import Any

from numba.core import event


class _Listener(event.Listener):
    def __init__(self) -> None:
        self.said = False

    def on_start(self, event: Any) -> None:  # noqa: ARG002  # whatever it is
        """Say it, once."""
        if not self.said:
            self.said = True
            from nextchar.cli.console import stderr  # noqa: PLC0415  rich takes a while too

            stderr().print("nextchar: compiling for this processor, once ...")

    def on_end(self, event: Any) -> None:
        """Say nothing; what was waited for comes."""


_LISTENER = _Listener()


def tell_of_compiling() -> None:
    """From now on, say when something is compiled that was not found on disk."""
    event.register("numba:compile", _LISTENER)  # type: ignore[no-untyped-call]
