"""Wikipedia dumps: markup that mwparserfromhell leaves nothing of, pages that expat reads, dates, ids and addresses."""

import html
import re
from datetime import UTC, datetime
from xml.parsers import expat

from nextchar.parsing.brackets import balanced
from nextchar.parsing.domain import Domain, Pieces, Ratio, Tally, extra, share

FRAME = re.compile(r"(?:</text>.*?)?<page>.*?<text\b[^>]*>|</text>.*", re.DOTALL)
HEAD = re.compile(r"<page>(?:(?!<page>|<text\b).)*<text\b[^>]*>", re.DOTALL)
PAGE = re.compile(r"<page>((?:(?!<page>).)*?)(</page>|(?=<page>))", re.DOTALL)
TIMESTAMP = re.compile(r"<timestamp>([^<\n]*)</timestamp>")
ID = re.compile(r"<(?:id|parentid)>([^<\n]*)</(?:id|parentid)>")
ADDRESS = re.compile(r"\b(?:https?|ftp)://[^\s\]|<>\"{}&]+")
SOUND_ADDRESS = re.compile(r"(?:https?|ftp)://(?:[A-Za-z0-9-]+\.)+[A-Za-z]{2,}(?::\d+)?(?:[/?#].*)?")
LEFTOVER = re.compile(
    r"\{\{|\}\}|\[\[|\]\]|</?(?:ref|nowiki|div|span|small|sub|sup|math|table|gallery)\b|<!--|-->"
)
HEADING = re.compile(r"(={1,6})[^=\n](?:.*[^=\n])?\1\s*")
FIRST_WIKI, LAST_YEAR = 2001, 2030


def fragments(text: str) -> Pieces:
    """Find the paragraphs, lists and boxes of articles: what stands between empty lines, the frames of pages left out."""
    blocks = [block for block in re.split(r"\n\s*\n", FRAME.sub("\n\n", text)) if block.strip()]
    return Pieces(blocks[1:-1], min(len(blocks), 2))


def well_formed(xml: str) -> bool:
    """Tell whether expat reads a text as one element."""
    parser = expat.ParserCreate()
    try:
        parser.Parse(xml.encode("utf-8", "replace"), True)
    except expat.ExpatError:
        return False
    return True


def entities(fragment: str) -> bool:
    """Tell whether a fragment may stand in XML: no bare angle bracket or ampersand."""
    return well_formed(f"<text>{fragment}</text>")


def markup(fragment: str) -> bool:
    """Tell whether templates, links, tags and comments all close: what the parser made of them leaves none as text.

    Single brackets must be balanced too, as those of links to other sites are.
    """
    source = html.unescape(fragment)
    text = "".join(str(node) for node in extra("mwparserfromhell").parse(source).filter_text())
    brackets = re.sub(r"[^\[\]{}]", "", re.sub(r"<(nowiki|math)\b.*?</\1>", "", source, flags=re.DOTALL))
    return not LEFTOVER.search(text) and balanced(brackets)


def sound(fragment: str) -> bool:
    """Tell whether a fragment may stand in XML, and its markup closes."""
    return entities(fragment) and markup(fragment)


def headings(text: str) -> Ratio:
    """Count the lines that begin with `=` and end with as many."""
    lines = re.findall(r"^=.*$", text, re.MULTILINE)
    return share(lines, lambda line: bool(HEADING.fullmatch(line)))


def head(xml: str) -> bool:
    """Tell whether the head of a page, `<page>` to `<text>`, nests as it must."""
    close = "" if xml.endswith("/>") else "</text>"
    return well_formed(f"{xml}{close}</revision></page>")


def timestamp(text: str) -> bool:
    """Tell whether it is a moment at which there was a Wikipedia.

    Example:
        >>> timestamp("2014-10-26T04:50:23Z"), timestamp("2014-13-26T04:50:23Z")
        (True, False)
    """
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError:
        return False
    return len(text) == 20 and FIRST_WIKI <= moment.year <= LAST_YEAR


def check(sample: str, _learnt: None) -> Tally:
    """Count the sound fragments, pages and values of a sample."""
    pieces = fragments(sample)
    pages = [f"<page>{inside}{end}" for inside, end in PAGE.findall(sample)]
    return {
        "fragments well-formed": share(pieces.whole, sound),
        "fragments whose markup closes": share(pieces.whole, markup),
        "fragments that may stand in XML": share(pieces.whole, entities),
        "headings closed": headings(sample),
        "heads of pages well-formed": share(HEAD.findall(sample), head),
        "pages well-formed": share(pages, well_formed),
        "timestamps plausible": share(TIMESTAMP.findall(sample), timestamp),
        "ids plausible": share(ID.findall(sample), lambda text: bool(re.fullmatch(r"[1-9]\d{0,9}", text))),
        "addresses plausible": share(
            ADDRESS.findall(html.unescape(sample)), lambda text: bool(SOUND_ADDRESS.fullmatch(text))
        ),
    }


DOMAIN = Domain("wikitext", "fragments", "fragments well-formed", fragments, check, length=5000)
