"""What commands share: kinds of flags, and the exit code of an interrupted one."""

from typing import Annotated

from cyclopts import Parameter

INTERRUPTED = 130

Flag = Annotated[bool, Parameter(negative="", show_default=False)]
"""A switch that is off unless it is given."""
