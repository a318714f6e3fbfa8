from pathlib import Path

import pytest

import two_hosts

REASON = two_hosts.possible()
SMALL = ("--hidden", "16", "--batch-size", "4", "--seq-length", "16", "--dropout", "0.1")


@pytest.mark.slow
@pytest.mark.shell
@pytest.mark.skipif(bool(REASON), reason=REASON)
def test_two_hosts_train_as_one_process(text_file: Path) -> None:
    """Over a wire of 100 megabits a second, each host with a cache of its own."""
    found = two_hosts.measure(text_file, 4, 100, 0, SMALL)
    assert found["largest_difference"] < 1e-4
    assert found["chars_per_second"] > 0
