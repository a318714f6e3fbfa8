import bz2
import gzip
import io
import lzma
import os
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from nextchar.errors import TextError
from nextchar.text import sources
from nextchar.text.corpus import open_corpus
from nextchar.text.paths import expand
from nextchar.text.sources import Source, find_sources, read_codes

MIXED = "aé€😀\r\n\ufeffb" * 3


def read(path: Path, encoding: str = "utf-8") -> str:
    """Return a file as `read_codes` reads it."""
    return "".join(
        "".join(map(chr, codes.tolist()))
        for codes in read_codes(Source(path, path.name), "characters", encoding, lambda _: None)
    )


def names(*texts: str | Path, **options: object) -> list[str]:
    """Return the names of the sources found."""
    with find_sources([str(text) for text in texts], **options) as (found, _):  # type: ignore[arg-type]
        return [source.name for source in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with texts at two levels, a binary file and hidden ones."""
    root = tmp_path / "texts"
    for name in ("b.txt", "a.md", "sub/c.txt", ".hidden.txt", ".git/config", "-"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name, encoding="utf-8")
    (root / "image.png").write_bytes(b"\x89PNG\0\1")
    return root


@pytest.fixture
def spools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give standard input some content, and return the folder where it is spooled."""
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"from a pipe")))
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-32", "gb18030"])
def test_characters_cut_by_a_chunk_are_put_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, encoding: str
) -> None:
    """Wherever the chunks end, the characters are those of the file."""
    monkeypatch.setattr(sources, "CHUNK", chunk)
    path = tmp_path / "mixed.txt"
    path.write_bytes(MIXED.encode(encoding))
    assert read(path, encoding) == MIXED


def test_line_ends_and_byte_order_marks_are_kept(tmp_path: Path) -> None:
    """UTF-8 with a BOM and CRLF is read character by character as it is."""
    path = tmp_path / "windows.txt"
    path.write_bytes(b"\xef\xbb\xbfa\r\nb\rc")
    assert read(path) == "\ufeffa\r\nb\rc"


def test_latin_1_is_read_as_named(tmp_path: Path) -> None:
    """Another encoding is read when it is named."""
    path = tmp_path / "latin.txt"
    path.write_bytes("façade".encode("latin-1"))
    assert read(path, "latin-1") == "façade"


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 20])
@pytest.mark.parametrize(
    ("encoding", "data", "bad", "offset"),
    [
        ("utf-8", b"plain \xff", "0xFF", 6),
        ("utf-8", b"abc\xe2\x82\xacde\xe2\x82def", "0xE2", 8),
        ("utf-8", b"\xc3\xa9\xc3\xa9 end\xf0\x9f\x98", "0xF0", 8),
        ("utf-8-sig", b"\xef\xbb\xbfab\xff", "0xFF", 5),
        ("ascii", b"na\xc3\xafve", "0xC3", 2),
        ("utf-16-le", b"a\0b\0c", "0x63", 4),
    ],
)
def test_the_offset_of_a_wrong_byte_is_exact(  # noqa: PLR0917
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, encoding: str, data: bytes, bad: str, offset: int
) -> None:
    """The error names the byte, its place in the file and both remedies, wherever the chunks end."""
    monkeypatch.setattr(sources, "CHUNK", chunk)
    path = tmp_path / "wrong.txt"
    path.write_bytes(data)
    with pytest.raises(TextError) as error:
        read(path, encoding)
    assert f"wrong.txt is not {encoding}: byte {bad} at offset {offset} (" in str(error.value)
    assert "--encoding latin-1" in str(error.value)
    assert "--units bytes" in str(error.value)


def test_a_user_who_is_not_there_has_no_file() -> None:
    """A path that begins with ~ and no user's name is looked for as it is."""
    assert expand("~nobody-of-that-name/x") == Path("~nobody-of-that-name/x")
    assert expand("~/x") == Path.home() / "x"
    with pytest.raises(TextError, match="there is no file, folder or corpus named '~nobody-of-that-name/x'"):
        names("~nobody-of-that-name/x")


def test_utf_16_without_a_mark_is_refused(tmp_path: Path) -> None:
    """A file that is not UTF-16 at all is refused with the remedies."""
    path = tmp_path / "plain.txt"
    path.write_bytes(b"plain text")
    with pytest.raises(TextError, match=r"is not utf-16: .*BOM; name its encoding"):
        read(path, "utf-16")


@pytest.mark.parametrize("encoding", ["utf-9", "rot13", "base64", ""])
def test_an_unknown_encoding_is_refused(tmp_path: Path, encoding: str) -> None:
    """Codecs that are not there, or not of text, are refused by name."""
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc")
    with pytest.raises(TextError, match=f"there is no text encoding named '{encoding}'; try utf-8"):
        read(path, encoding)


@pytest.mark.parametrize(("suffix", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress)])
class TestCompressed:
    """Files that are unpacked while they are read."""

    def test_a_compressed_file_equals_the_plain_one(self, tmp_path: Path, suffix: str, pack) -> None:  # noqa: ANN001
        """What is read is what was packed."""
        path = tmp_path / f"packed.txt{suffix}"
        path.write_bytes(pack(MIXED.encode()))
        assert read(path) == MIXED

    @pytest.mark.parametrize("length", [5, 30, -9])
    def test_a_cut_file_is_refused(self, tmp_path: Path, suffix: str, pack, length: int) -> None:  # noqa: ANN001
        """A compressed file that ends too early is refused in one sentence."""
        path = tmp_path / f"cut{suffix}"
        path.write_bytes(pack(np.random.default_rng(0).bytes(500).hex().encode())[:length])
        with pytest.raises(TextError, match=f"cut{suffix} is not a valid {suffix} file: "):
            read(path)

    def test_a_plain_file_with_that_suffix_is_refused(self, tmp_path: Path, suffix: str, pack) -> None:  # noqa: ANN001
        """A file that only goes by the name is refused in one sentence."""
        path = tmp_path / f"plain{suffix}"
        path.write_bytes(b"not packed by " + pack.__name__.encode())
        with pytest.raises(TextError, match=f"is not a valid {suffix} file"):
            read(path)


def test_an_error_of_the_machine_is_not_called_damage(tmp_path: Path) -> None:
    """A file that cannot be opened is the operating system's error."""
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "gone.gz")


def test_a_folder_is_read_in_the_order_of_its_paths(folder: Path) -> None:
    """Folders are searched to their depths, hidden and binary files left out and the latter counted."""
    with find_sources([str(folder)]) as (found, skipped):
        assert [source.name for source in found] == ["-", "a.md", "b.txt", "sub/c.txt"]
        assert skipped == 1


def test_suffixes_choose_files_of_a_folder(folder: Path) -> None:
    """With suffixes, only files that end so are read, binary or not."""
    assert names(folder, suffixes=(".txt",)) == ["b.txt", "sub/c.txt"]
    assert names(folder, suffixes=(".png", ".md")) == ["a.md", "image.png"]


def test_bytes_leave_no_file_out(folder: Path) -> None:
    """Read as bytes, no file is too binary."""
    assert "image.png" in names(folder, units="bytes")


@pytest.mark.parametrize(
    ("suffixes", "message"), [((), "holds no text$"), ((".c", ".h"), "text that ends with .c or .h")]
)
def test_a_folder_without_text_is_refused(tmp_path: Path, suffixes: tuple[str, ...], message: str) -> None:
    """A folder with nothing to read is refused."""
    (tmp_path / "zero.bin").write_bytes(b"\0")
    with pytest.raises(TextError, match=message):
        names(tmp_path, suffixes=suffixes)


def test_globs_are_sorted_and_recursive(folder: Path) -> None:
    """A glob finds its files in order, below folders too."""
    assert names(folder / "*.*") == ["a.md", "b.txt", "image.png"]
    assert names(folder / "**" / "*.txt") == ["b.txt", "c.txt"]


def test_texts_keep_the_order_they_were_given_in(folder: Path) -> None:
    """Several texts are read in the order of the arguments."""
    assert names(folder / "sub" / "c.txt", folder / "a.md", folder / "b.txt") == ["c.txt", "a.md", "b.txt"]


@pytest.mark.parametrize(
    ("texts", "message"), [(["gone.txt"], "named 'gone.txt'"), (["no*.txt"], "named"), ([], "no text was given")]
)
def test_a_missing_text_is_refused(texts: list[str], message: str) -> None:
    """A text that is not there is refused by name."""
    with pytest.raises(TextError, match=message):
        names(*texts)


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_standard_input_is_spooled_and_removed(spools: Path, name: str) -> None:
    """A pipe is kept in a temporary file until it is no longer needed."""
    with find_sources([name]) as (found, _):
        assert (found[0].name, read(found[0].path), found[0].size) == ("-", "from a pipe", 11)
    assert list(spools.iterdir()) == []


def test_a_missing_text_after_standard_input_leaves_nothing(spools: Path) -> None:
    """When a later text is not there, what was spooled is removed."""
    with pytest.raises(TextError):
        names("-", "gone.txt")
    assert list(spools.iterdir()) == []


def test_a_pipe_that_breaks_leaves_nothing(spools: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When standard input cannot be read, what was spooled is removed."""

    def fail(_count: int) -> bytes:
        raise OSError(5, "input/output error")

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=SimpleNamespace(read=fail)))
    with pytest.raises(OSError, match="input/output"):
        names("-")
    assert list(spools.iterdir()) == []


def test_a_file_named_like_standard_input_is_never_removed(folder: Path) -> None:
    """A user's file called - , in a folder or by its path, is not taken for a spooled one."""
    assert names(folder, folder / "-")[-1] == "-"
    assert (folder / "-").read_text(encoding="utf-8") == "-"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_is_read_once_and_kept(tmp_path: Path) -> None:
    """What can be read only once, such as `<(command)`, is copied before it is read."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"from a pipe",))
    writer.start()
    corpus = open_corpus([str(pipe)])
    writer.join()
    assert corpus.vocabulary.decode(corpus.ids) == "from a pipe"
