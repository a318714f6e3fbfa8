"""A browser for the tests of pages that are one file."""

from collections.abc import Iterator

import pytest

from browser import Page


@pytest.fixture
def page(page: Page) -> Iterator[Page]:
    """Return it; a page asks for no other file than itself."""
    yield page
    assert len({address for address in page.requests if not address.startswith("data:")}) == 1
