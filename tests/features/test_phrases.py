"""What features are called in words."""

import pytest

from nextchar.features.feature import Feature
from nextchar.features.phrases import _phrases, phrase
from nextchar.features.profiles import PROFILES

TEXT = (
    "He said \"so\" and 'no' and “yes” (a (b) [c [d]] {e {f}}) at http://a.b/ now.\n\n\tCHAPTER 12\n"
    "/* a */ int f(int a) { if (a) return g(1, \"x\", 'c'); } // b\nstruct a { int b; };\n#define A 1\n"
    '# b\nclass A:\n    """D."""\n    @x\n    def f(a):\n        x = \'b\'\n        if a: pass\nimport a\n'
    "\\begin{proof} $x$ \\ref{a} \\end{proof} % c\n\n$$y$$\n"
    "<text>[[en:a|b]] [http://c d] {{e}} '''f''' ''g'' &quot;h&quot; <b> &lt;i&gt;\n== j ==\n* k\n{|\n|}\n</text>\n"
)


def _features(profile: str) -> list[Feature]:
    return [feature for part in PROFILES[profile] for feature in part(TEXT * 40)]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_feature_has_words(profile: str) -> None:
    """No feature that the profiles make is called by its identifier alone."""
    names = [feature.name for feature in _features(profile)]
    assert len(names) > 40
    assert [name for name in names if phrase(name).startswith("follows")] == []


def test_words_that_nothing_uses_are_noticed() -> None:
    """Each entry without a span belongs to a feature."""
    names = {feature.name for profile in PROFILES for feature in _features(profile)}
    assert set(_phrases()[0]) - names == set()


def test_the_parts_of_a_span_and_names_of_users() -> None:
    """A part of a span is told from the span; an unknown name, even that of the table, is given as it is."""
    assert phrase("braces.depth") == "knows how deep it is inside { }"
    assert phrase("quotes.next_close") == "knows the end of quotes comes next"
    assert phrase("quotes.nonsense") == "follows quotes.nonsense"
    assert phrase("inside") == "follows inside"
