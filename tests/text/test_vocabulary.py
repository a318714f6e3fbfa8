import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nextchar.errors import ModelFileError, TextError, UnknownCharacterError
from nextchar.text import vocabulary as room
from nextchar.text.vocabulary import Units, Vocabulary, describe, smallest_dtype

characters = st.text(st.characters(exclude_categories=["Cs"]))


def of(text: str | bytes) -> Vocabulary:
    """Return the vocabulary of a text."""
    codes = text if isinstance(text, bytes) else map(ord, text)
    return Vocabulary("bytes" if isinstance(text, bytes) else "characters", tuple(sorted(set(codes))))


@given(characters)
def test_characters_decode_to_what_was_encoded(text: str) -> None:
    """decode(encode(x)) is x for characters."""
    vocabulary = of(text)
    ids = vocabulary.encode(text)
    assert len(ids) == len(text)
    assert vocabulary.decode(ids) == text
    assert vocabulary.to_bytes(ids) == text.encode()


@given(st.binary())
def test_bytes_decode_to_what_was_encoded(data: bytes) -> None:
    """to_bytes(encode(x)) is x for bytes."""
    vocabulary = of(data)
    assert vocabulary.to_bytes(vocabulary.encode(data)) == data


@given(characters)
def test_every_byte_vocabulary_reads_characters_as_utf_8(text: str) -> None:
    """The 256 bytes encode and decode any text."""
    vocabulary = Vocabulary("bytes", tuple(range(256)))
    ids = vocabulary.encode(text)
    assert ids.tolist() == list(text.encode())
    assert vocabulary.decode(ids) == text


def test_bytes_that_are_not_utf_8_show_as_replacement() -> None:
    """A byte vocabulary decodes broken UTF-8 to U+FFFD."""
    assert of(b"a\xff").decode([0, 1]) == "a\ufffd"


def test_a_character_vocabulary_reads_bytes_as_utf_8() -> None:
    """Bytes given to a character vocabulary are decoded first."""
    assert of("é!").encode("é!".encode()).tolist() == [1, 0]


def test_ids_follow_the_order_of_the_codes() -> None:
    """The id of a character is its position, and START is one past the last."""
    vocabulary = of("cab")
    assert vocabulary.encode("abc").tolist() == [0, 1, 2]
    assert vocabulary.start == len(vocabulary) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("aé", "1 character (in 1 place) that this model has never seen: 'é' (U+00E9); --unknown skip"),
        ("é\na\n", "2 characters (in 3 places) that this model has never seen: U+000A x2, 'é' (U+00E9); "),
        ("vwxyzuuz", "6 characters (in 8 places) that this model has never seen: 'z' (U+007A) x2, "),
        ("vwxyzuuz", " and 1 more; --unknown skip leaves them out"),
    ],
)
def test_unknown_characters_are_counted_and_named(text: str, message: str) -> None:
    """The error says how many characters are unknown, which, and what to do."""
    with pytest.raises(UnknownCharacterError) as error:
        of("ab").encode(text, where="the start")
    assert message in str(error.value)
    assert str(error.value).startswith("the start holds ")


def test_unknown_bytes_are_named_by_value() -> None:
    """A byte that is unknown is shown as a number."""
    with pytest.raises(UnknownCharacterError, match=r"1 byte \(in 2 places\) .*: 0xFF x2; --unknown skip"):
        of(b"ab").encode(b"a\xff\xff")


@given(characters, characters)
def test_skip_drops_unknown_characters_alone(known: str, text: str) -> None:
    """Skipping leaves exactly the known characters, in their order."""
    vocabulary = of(known)
    left = vocabulary.decode(vocabulary.encode(text, unknown="skip"))
    assert left == "".join(character for character in text if character in known)


@pytest.mark.parametrize("largest", [ord("b"), 255, 0x20AC, 0x10FFFF])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint32])
def test_find_takes_codes_of_any_type(largest: int, dtype: type[np.unsignedinteger]) -> None:
    """Codes in a narrow type are found in a wide vocabulary, and larger codes are unknown."""
    vocabulary = Vocabulary("characters", (ord("a"), largest))
    assert vocabulary.find(np.array([97, 200, 99], dtype)).tolist() == [0, 0xFFFFFFFF, 0xFFFFFFFF]


@given(characters, characters)
def test_a_union_knows_both(one: str, other: str) -> None:
    """The union encodes everything that either vocabulary does."""
    union = of(one).union(of(other))
    assert union.decode(union.encode(one + other)) == one + other
    assert set(union.codes) == set(map(ord, one + other))


def test_characters_and_bytes_have_no_union() -> None:
    """A union of characters and bytes is refused with the flag to give."""
    with pytest.raises(UnknownCharacterError, match="give --units characters"):
        of("a").union(of(b"a"))


@pytest.mark.parametrize(
    ("size", "dtype"), [(1, "uint8"), (256, "uint8"), (257, "uint16"), (65536, "uint16"), (65537, "uint32")]
)
def test_the_smallest_type_is_used(size: int, dtype: str) -> None:
    """Ids take one byte up to 256 characters, two up to 65,536, four above."""
    assert smallest_dtype(size).name == dtype
    vocabulary = Vocabulary("characters", tuple(range(0xE000, 0xE000 + size)))
    ids = vocabulary.encode(chr(vocabulary.codes[-1]))
    assert (ids.dtype.name, ids.tolist()) == (dtype, [size - 1])


@pytest.mark.parametrize(
    ("code", "units", "shown"),
    [
        (0x41, "characters", "'A' (U+0041)"),
        (0x1F600, "characters", "'\U0001f600' (U+1F600)"),
        (0x09, "characters", "U+0009"),
        (0x20, "characters", "U+0020"),
        (0xA0, "characters", "U+00A0"),
        (0x7F, "characters", "U+007F"),
        (0x301, "characters", "U+0301"),
        (0x200D, "characters", "U+200D"),
        (0xFEFF, "characters", "U+FEFF"),
        (0xD800, "characters", "U+D800"),
        (0x0A, "bytes", "0x0A"),
    ],
)
def test_describe_shows_a_glyph_only_where_there_is_one(code: int, units: Units, shown: str) -> None:
    """Control, combining and blank characters are shown by code point alone."""
    assert describe(code, units) == shown


def test_byte_lengths_are_those_of_utf_8() -> None:
    """The length of a character is that of its UTF-8 encoding; a byte has length one."""
    assert of("aé€😀").byte_lengths().tolist() == [1, 2, 3, 4]
    assert of(b"\x00\xff").byte_lengths().tolist() == [1, 1]


def test_bytes_of_a_command_line_come_back() -> None:
    """What is not UTF-8 comes as surrogates: bytes again for a model of bytes, a character never seen for the others."""
    typed = b"caf\xe9".decode(errors="surrogateescape")
    assert Vocabulary("bytes", tuple(range(256))).encode(typed).tolist() == list(b"caf\xe9")
    with pytest.raises(UnknownCharacterError, match=r"U\+DCE9"):
        of("caf").encode(typed)
    known = of(typed)
    assert known.byte_lengths().tolist() == [1, 1, 1, 3]
    assert known.to_bytes(known.encode(typed)) == b"caf\xed\xb3\xa9"


@pytest.mark.parametrize(("kind", "text"), [("a", b"\xff"), (b"a", "\ud800")])
def test_what_is_no_utf_8_is_refused(kind: str | bytes, text: str | bytes) -> None:
    """Bytes given to characters, and half a pair given to bytes, are one sentence with a remedy."""
    with pytest.raises(TextError, match=r"the text is not UTF-8 \(.*\); decode it with its own encoding"):
        of(kind).encode(text)


@pytest.mark.parametrize("block", [1, 2, 100])
def test_a_text_is_as_large_as_its_characters(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bytes of a text are counted block by block, and none of it twice."""
    monkeypatch.setattr(room, "BLOCK", block)
    for text in ("aé€😀a", ""):
        assert of(text).size_in_bytes(of(text).encode(text)) == len(text.encode())


@given(st.one_of(characters, st.binary()))
def test_from_dict_undoes_as_dict(text: str | bytes) -> None:
    """A vocabulary comes back from what JSON keeps of it."""
    assert Vocabulary.from_dict(of(text).as_dict()) == of(text)


@pytest.mark.parametrize(
    ("units", "codes"),
    [
        ("characters", (2, 1)),
        ("characters", (1, 1)),
        ("characters", (-1, 1)),
        ("characters", (0x110000,)),
        ("bytes", (256,)),
        ("words", (1, 2)),
    ],
)
def test_bad_codes_are_refused(units: Units, codes: tuple[int, ...]) -> None:
    """Codes out of order, doubled, out of range or of an unknown unit make no vocabulary."""
    with pytest.raises(ModelFileError, match="a vocabulary"):
        Vocabulary(units, codes)
