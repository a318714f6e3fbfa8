"""Help texts: the options that matter most on one screen, and all of them with --help-all."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

COLUMNS = 80
SCREEN = ("Arguments", "Parameters", "Commands")
# Options that --help leaves out, beside those of other panels.
RARE = {"--unknown", "--encoding", "--device", "--weights", "--min-p", "--window", "--errors", "--keep", "--sweep"}
RARE |= {"--config", "--init-from", "--tensorboard", "--keep-checkpoints", "--shifts", "--rotations", "--steered"}
RARE |= {"--json", "--with", "--prompt-file"}


def console() -> "Console":
    """Return a console for help, which is not wider than a line of text should be."""
    from rich.console import Console  # noqa: PLC0415  only help needs it

    return Console(width=min(COLUMNS, Console().width))


@dataclass(frozen=True, slots=True)
class Formatter:
    """Prints a panel of a help text, each option with its first name.

    Attributes:
        everything: Whether to print all options.
    """

    everything: bool

    def __call__(self, console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
        """Print one panel."""
        from cyclopts.help.formatters import DefaultFormatter  # noqa: PLC0415  only help needs it

        if self.everything or panel.title in SCREEN:
            rows = [row for row in panel.entries if self.everything or not RARE & {*row.positive_names[:1]}]
            entries = [
                row.copy(
                    positive_names=row.positive_names[:1],
                    positional_label="TEXT..." if row.positional_label == "TEXTS" else row.positional_label,
                )
                for row in rows
            ]
            DefaultFormatter()(console, options, panel.copy(entries=entries))
