"""Help texts: the options that matter most on one screen, and all of them with --help-all."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts.help import HelpPanel
    from rich.console import Console, ConsoleOptions

COLUMNS = 80
LABELS: dict[str | None, dict[str, str]] = {"TEXTS": {"positional_label": "TEXT..."}}
SCREEN = ("Arguments", "Parameters", "Commands")
# Options that --help leaves out, beside those of other panels.
RARE = {"--unknown", "--encoding", "--device", "--weights", "--min-p", "--window", "--errors", "--keep", "--sweep"}
RARE |= {"--repetition-penalty", "--presence-penalty", "--frequency-penalty"}
RARE |= {"--config", "--init-from", "--tensorboard", "--keep-checkpoints", "--shifts", "--rotations", "--steered"}
RARE |= {"--json", "--with", "--members", "--prompt-file", "--signal", "--claims", "--predictions"}


def console() -> "Console":
    """Return a console for help, which is not wider than a line of text should be."""
    from rich.console import Console  # noqa: PLC0415  only help needs it

    return Console(width=min(COLUMNS, Console().width))


def show_panel(everything: bool, console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
    """Print a panel of a help text: of each option the first name, and of a command with many the options that matter.

    Args:
        everything: Whether to print all options.
        console: As the parser gives it, as what follows.
        options: Of the console.
        panel: What to print.
    """
    from cyclopts.help.formatters import DefaultFormatter  # noqa: PLC0415  only help needs it

    if everything or panel.title in SCREEN:
        rows = [row for row in panel.entries if everything or not RARE & {*row.positive_names[:1]}]
        rows = [row.copy(positive_names=row.positive_names[:1], **LABELS.get(row.positional_label, {})) for row in rows]
        DefaultFormatter()(console, options, panel.copy(entries=rows))
