import pytest
from numba import njit

from nextchar.cli.compiling import _LISTENER, tell_of_compiling


def test_compiling_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    """What is not found on disk is announced on standard error, the first time only; a second call compiles nothing."""
    tell_of_compiling()
    _LISTENER.said = False
    for _ in range(2):
        assert njit(lambda x: x + 1)(1) == 2
    said = capsys.readouterr()
    assert said.err == "nextchar: compiling for this processor, once ...\n"
    assert said.out == ""
