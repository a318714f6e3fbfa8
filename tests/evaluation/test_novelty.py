import numpy as np
import pytest

from nextchar.errors import TextError
from nextchar.evaluation import novelty
from nextchar.evaluation.novelty import WINDOW, Training, hashes, looping
from nextchar.text.vocabulary import code_points


def naive(text: str, training: str) -> tuple[int, int]:
    """Return copied windows and the longest copied substring, from their definitions."""
    windows = sum(text[at : at + WINDOW] in training for at in range(len(text) - WINDOW + 1))
    longest = max(
        (
            end - begin
            for begin in range(len(text))
            for end in range(begin, len(text) + 1)
            if text[begin:end] in training
        ),
        default=0,
    )
    return windows, longest


@pytest.mark.parametrize("seed", range(6))
def test_copies_are_what_their_definition_says(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copied windows and the longest copy are those of a search for every substring, blocks or no blocks."""
    monkeypatch.setattr(novelty, "BLOCK", 64)
    generator = np.random.default_rng(seed)
    training = "".join(generator.choice(list("ab\né"), 500))
    begin = int(generator.integers(400))
    text = "".join(generator.choice(list("abc"), 40)) + training[begin : begin + int(generator.integers(90))] + "ca"
    windows, longest = naive(text, training)
    copies = Training(training).copies([text])
    assert copies.windows == ((windows, len(text) - WINDOW + 1),)
    assert copies.longest == longest == len(copies.text)
    assert copies.text in text
    assert copies.text in training


def test_copies_do_not_cross_texts() -> None:
    """A string that occurs only across two texts is not a copy."""
    training = "the quick brown fox jumps over the lazy dog"
    copies = Training(training).copies([training[:20], training[20:30], ""])
    assert copies.longest == 20
    assert copies.windows == ((1, 1), (0, 0), (0, 0))
    assert Training("abc").copies(["xyz"]).longest == 0


def test_equal_windows_have_equal_hashes() -> None:
    """And others have others, whatever the length."""
    text = "abcabcabd" * 30
    for length in (1, 2, 3, 7, 20, 33):
        found = hashes(code_points(text), length)
        pairs = {(text[at : at + length], int(found[at])) for at in range(len(found))}
        assert len(found) == len(text) - length + 1
        assert len({window for window, _ in pairs}) == len(pairs) == len({each for _, each in pairs})


def test_words_are_known_whole() -> None:
    """A name with an underscore is one word."""
    training = Training("int spin_lock(void)")
    assert training.known_words("spin_lock spin lock 12 int") == (2, 4)
    with pytest.raises(TextError, match="empty"):
        Training("")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 0),
        ("She went to the house and to the garden, and then to the sea.", 0),
        ("-" * 80, 0),
        ("a" * 80, 80),
        ("ab" * 10, 0),
        ("He said: " + "the king " * 10 + "!", 91),
        ("x" * 29, 0),
        (("A long sentence that is said three times over. " * 3), 141),
        (("A long sentence that is said two times over. " * 2), 0),
    ],
)
def test_loops(text: str, expected: int) -> None:
    """Three times the same is a loop, rules and short echoes are none."""
    assert looping(text) == expected
