"""The page of `nextchar serve`: its files."""

import re
from collections.abc import Iterator

import httpx
import pytest

from serving.service import serving

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


@pytest.fixture(scope="module")
def http() -> Iterator[httpx.Client]:
    """Return a client of a server with two models."""
    with serving() as at, httpx.Client(base_url=at, timeout=30) as client:
        yield client


def test_browsers_get_the_page_and_others_its_index(http: httpx.Client) -> None:
    """The reply to `/` depends on what the client accepts."""
    page, index = http.get("/", headers=HTML), http.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert index.headers["content-type"] == "text/plain; charset=utf-8"
    assert "letters, bytes" in index.text
    assert page.headers["vary"] == index.headers["vary"] == "accept"


@pytest.mark.parametrize("path", ["/", "/page.js", "/page.css"])
def test_a_file_of_the_page_is_sent_again_only_if_it_has_changed(http: httpx.Client, path: str) -> None:
    """Browsers ask each time, and have the file already unless its digest is another one."""
    first = http.get(path, headers=HTML)
    assert first.headers["cache-control"] == "no-cache"
    again = http.get(path, headers={**HTML, "if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert http.get(path, headers={**HTML, "if-none-match": '"other"'}).content == first.content


def test_no_reply_lets_a_browser_run_what_is_not_the_page(http: httpx.Client) -> None:
    """Scripts and styles come from the server's own files, and no page may hold this one in a frame."""
    for path in ("/", "/page.js", "/v1/models", "/nowhere"):
        headers = http.get(path, headers=HTML).headers
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'")
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert (headers["x-content-type-options"], headers["referrer-policy"]) == ("nosniff", "no-referrer")
    html = http.get("/", headers=HTML).text
    assert html.count("<script") == html.count('<script type="module" src="/page.js"') + html.count("application/json")
    assert "style=" not in html
    assert re.search(r"\son\w+=", html) is None


def test_the_page_is_seen_before_the_key_is_given() -> None:
    """Its files need no key, so that it can ask for one."""
    with serving(api_key="secret") as at:
        assert [httpx.get(at + path, headers=HTML).status_code for path in ("/", "/page.js", "/page.css")] == [200] * 3
        assert httpx.get(at + "/v1/models").status_code == 401


def test_models_are_described(http: httpx.Client) -> None:
    """Each model has its shape and its vocabulary; a vocabulary of bytes is no list of characters."""
    letters, bytes_ = http.get("/v1/models").json()["data"]
    assert (letters["units"], letters["characters"], letters["alphabet"]) == ("characters", 9, "\n abcdeé☃")
    assert (bytes_["units"], bytes_["characters"], bytes_["alphabet"]) == ("bytes", 9, None)
    assert {name: letters[name] for name in ("layers", "hidden", "cell")} == {"layers": 2, "hidden": 8, "cell": "lstm"}
