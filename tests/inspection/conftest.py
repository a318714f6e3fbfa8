"""A browser for the tests of pages."""

from collections.abc import Iterator

import pytest

from browser import Page


@pytest.fixture
def page(chromium: Page) -> Iterator[Page]:
    """Return it with a clean record, which must stay clean: one file asked for, and nothing to complain of."""
    chromium.requests.clear()
    chromium.complaints.clear()
    yield chromium
    assert chromium.complaints == []
    (asked,) = {address for address in chromium.requests if not address.startswith("data:")}
    assert asked.startswith("file:")
