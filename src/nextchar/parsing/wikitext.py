"""Wikipedia dumps: closed markup by mwparserfromhell, well-formed XML by expat, plausible dates, ids and addresses."""

import html
import re
from datetime import UTC, datetime
from xml.parsers import expat

from nextchar.parsing.brackets import balanced
from nextchar.parsing.domain import Domain, Pieces, Ratio, Tally, import_parser, share

FRAME = re.compile(r"(?:</text>.*?)?<page>.*?<text\b[^>]*>|</text>.*", re.DOTALL)
HEAD = re.compile(r"<page>(?:(?!<page>|<text\b).)*<text\b[^>]*>", re.DOTALL)
PAGE = re.compile(r"<page>((?:(?!<page>).)*?)(</page>|(?=<page>))", re.DOTALL)
TIMESTAMP = re.compile(r"<timestamp>([^<\n]*)</timestamp>")
ID = re.compile(r"<(?:id|parentid)>([^<\n]*)</(?:id|parentid)>")
VALID_ID = re.compile(r"[1-9]\d{0,9}")
ADDRESS = re.compile(r"\b(?:https?|ftp)://[^\s\]|<>\"{}&]+")
VALID_ADDRESS = re.compile(r"(?:https?|ftp)://(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?::\d+)?(?:[/?#].*)?")
LEFTOVER = re.compile(r"\{\{|\}\}|\[\[|\]\]|</?(?:ref|nowiki|div|span|small|sub|sup|math|table|gallery)\b|<!--|-->")
HEADING = re.compile(r"(={1,6})[^=\n](?:.*[^=\n])?\1\s*")
FIRST_WIKI, LAST_YEAR = 2001, 2030


def fragments(text: str) -> Pieces:
    """Find paragraphs, lists and boxes: the blocks between empty lines, without the XML around an article.

    The first and the last may be cut, and are left out.
    """
    blocks = [block for block in re.split(r"\n\s*\n", FRAME.sub("\n\n", text)) if block.strip()]
    return Pieces(blocks[1:-1], min(len(blocks), 2))


def well_formed(xml: str) -> bool:
    """Return whether expat reads a text as one element."""
    parser = expat.ParserCreate()
    try:
        parser.Parse(xml.encode("utf-8", "replace"), True)
    except expat.ExpatError:
        return False
    return True


def entities(fragment: str) -> bool:
    """Return whether a fragment may stand in XML: no bare angle bracket or ampersand."""
    return well_formed(f"<text>{fragment}</text>")


def markup(fragment: str) -> bool:
    """Return whether templates, links, tags and comments close, so that the parser leaves none of them as text.

    Single brackets must match, too, because external links use them.
    """
    source = html.unescape(fragment)
    text = "".join(map(str, import_parser("mwparserfromhell").parse(source).filter_text()))
    brackets = re.sub(r"[^\[\]{}]", "", re.sub(r"<(nowiki|math)\b.*?</\1>", "", source, flags=re.DOTALL))
    return not LEFTOVER.search(text) and balanced(brackets)


def valid(fragment: str) -> bool:
    """Return whether a fragment may stand in XML and its markup closes."""
    return entities(fragment) and markup(fragment)


def head(xml: str) -> bool:
    """Return whether the head of a page, from `<page>` to `<text>`, is well-formed once its elements are closed."""
    close = "" if xml.endswith("/>") else "</text>"
    return well_formed(f"{xml}{close}</revision></page>")


def timestamp(text: str) -> bool:
    """Return whether a text is a time at which Wikipedia existed.

    Example:
        >>> timestamp("2014-10-26T04:50:23Z"), timestamp("2014-13-26T04:50:23Z")
        (True, False)
    """
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return len(text) == 20 and FIRST_WIKI <= moment.year <= LAST_YEAR


def _matching(texts: list[str], pattern: re.Pattern[str]) -> Ratio:
    """Return the share of texts that match a pattern as a whole."""
    return share(texts, lambda text: bool(pattern.fullmatch(text)))


def check(sample: str, _learned: None) -> Tally:
    """Count the valid fragments, pages and values of a sample."""
    pieces = fragments(sample).whole
    pages = [f"<page>{inside}{end}" for inside, end in PAGE.findall(sample)]
    return {
        "fragments well-formed": share(pieces, valid),
        "fragments whose markup closes": share(pieces, markup),
        "fragments that may stand in XML": share(pieces, entities),
        "headings closed": _matching(re.findall(r"^=.*$", sample, re.MULTILINE), HEADING),
        "heads of pages well-formed": share(HEAD.findall(sample), head),
        "pages well-formed": share(pages, well_formed),
        "timestamps plausible": share(TIMESTAMP.findall(sample), timestamp),
        "ids plausible": _matching(ID.findall(sample), VALID_ID),
        "addresses plausible": _matching(ADDRESS.findall(html.unescape(sample)), VALID_ADDRESS),
    }


DOMAIN = Domain("fragments", fragments, check, length=5000)
