"""The parts of a study's page: wrapped prose, tables and ranges."""

from tables import WIDTH, best_bold, markdown, span, wrapped


def test_prose_is_wrapped_and_the_rest_stays() -> None:
    """Paragraphs and list items have short lines; code, tables, headings and pictures are unchanged."""
    kept = [
        "# A title " * 20,
        "![a picture](x.svg) " * 20,
        markdown(["a"], [["cell " * 60]]),
        "```text\n" + "x y " * 60 + "\n\nz\n```",
    ]
    prose = ["word " * 100 + "end.", "- item " * 1 + "word " * 60 + "\n- other item\n  goes here"]
    page = wrapped("\n\n".join([kept[0], prose[0], *kept[1:], prose[1]]) + "\n")
    assert all(each in page for each in kept)
    rest = page
    for each in kept:
        rest = rest.replace(each, "")
    assert max(map(len, rest.splitlines())) <= WIDTH
    assert rest.endswith("\n- other item goes here\n")
    assert wrapped(page) == page


def test_ranges_and_best_values() -> None:
    """An open range says so, and the lowest value is bold."""
    assert [span(3, 3), span(3, 5), span(3, 1 << 31)] == ["3", "3-5", "3 or more"]
    assert best_bold([2.0, 1.5]) == ["2.000", "**1.500**"]
