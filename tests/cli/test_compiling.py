import pytest
from numba import njit

from nextchar.cli.compiling import _LISTENER, report_compiling


def test_compiling_is_reported_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The first compilation is reported on standard error; a second call compiles nothing."""
    report_compiling()
    _LISTENER.reported = False
    for _ in range(2):
        assert njit(lambda x: x + 1)(1) == 2
    said = capsys.readouterr()
    assert said.err == "nextchar: compiling for this processor, once (up to a minute) ...\n"
    assert said.out == ""
