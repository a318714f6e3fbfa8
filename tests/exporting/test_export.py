"""`export` as a command and a function: forms by ending, kinds of weights, what is refused, what is printed."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

import nextchar
from nextchar.errors import ConfigError, ModelFileError
from nextchar.exporting.export import TARGETS
from nextchar.language_model import LanguageModel
from nextchar.storage import MODEL


@pytest.fixture
def run(lm: LanguageModel, tmp_path: Path) -> Path:
    """Return a folder with a model."""
    nextchar.save(lm, tmp_path / "run" / MODEL)
    return tmp_path / "run"


def test_what_was_written_is_said(run: Path, tmp_path: Path, shell: Callable[..., SimpleNamespace]) -> None:
    """Standard output stays empty; standard error has the file, its size, its weights and what to do with it."""
    said = shell("export", run, tmp_path / "one.pt")
    size = (tmp_path / "one.pt").stat().st_size
    assert (said.code, said.out) == (0, "")
    assert said.err == f"{tmp_path / 'one.pt'}: {size / 1e6:.2f} MB, fp32 weights; {TARGETS['.pt'].use}\n"


def test_json_is_one_object(run: Path, tmp_path: Path, shell: Callable[..., SimpleNamespace]) -> None:
    """`--json` prints what the function returns."""
    said = shell("export", run, tmp_path / "one.PT", "--json")
    written = nextchar.export(run, tmp_path / "two.pt")
    assert json.loads(said.out) == {**written.as_dict(), "path": str(tmp_path / "one.PT")}
    assert (tmp_path / "one.PT").read_bytes() == (tmp_path / "two.pt").read_bytes()


@pytest.mark.parametrize(
    ("out", "words", "message"),
    [
        ("one.gguf", (), f"but its name must end in {' or '.join(TARGETS)}"),
        ("one", (), "but its name must end in"),
        (".pt", (), "but its name must end in"),
        ("one.pt", ("--weights", "int8"), "the weights are int8, but a .pt file holds fp32"),
        ("folder.pt", (), "is not a file to write to; name another"),
    ],
)
def test_what_cannot_be_written_is_refused(
    run: Path, tmp_path: Path, shell: Callable[..., SimpleNamespace], out: str, words: tuple[str, ...], message: str
) -> None:
    """A wrong ending, a kind of weights that the form lacks, and a folder are each one sentence; nothing is written."""
    (tmp_path / "folder.pt").mkdir()
    before = sorted(tmp_path.rglob("*"))
    said = shell("export", run, tmp_path / out, *words)
    assert said.code == 1
    assert message in said.err
    assert said.err.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before


def test_python_checks_what_the_command_line_checks(lm: LanguageModel, run: Path, tmp_path: Path) -> None:
    """The function refuses the same in the same words."""
    with pytest.raises(ConfigError, match="must end in"):
        nextchar.export(lm, tmp_path / "one.gguf")
    with pytest.raises(ConfigError, match=r"a \.pt file holds fp32"):
        nextchar.export(lm, tmp_path / "one.pt", weights="bf16")
    with pytest.raises(ConfigError, match="weights is 'int4', but must be one of"):
        nextchar.export(lm, tmp_path / "one.pt", weights="int4")  # type: ignore[arg-type]
    with pytest.raises(ModelFileError, match="there is no model file"):
        nextchar.export(tmp_path / "gone", tmp_path / "one.pt")
    with pytest.raises(ModelFileError, match="a model is a LanguageModel"):
        nextchar.export(5, tmp_path / "one.pt")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == [run]


@pytest.mark.parametrize("ending", [".html", ".onnx", ".pt"])
def test_what_other_programs_read_is_not_taken_for_a_model(
    run: Path, tmp_path: Path, shell: Callable[..., SimpleNamespace], ending: str
) -> None:
    """A command that is given an export says where the model is, or how it becomes one."""
    nextchar.export(run, tmp_path / f"one{ending}")
    said = shell("info", tmp_path / f"one{ending}")
    assert said.code == 1
    assert ("nextchar import" if ending == ".pt" else "name the run folder or model file") in said.err
    assert said.err.count("\n") == 1


def test_a_model_exports_itself(lm: LanguageModel, tmp_path: Path) -> None:
    """The method is the function."""
    lm.export(tmp_path / "one.pt")
    nextchar.export(lm, tmp_path / "two.pt")
    assert (tmp_path / "one.pt").read_bytes() == (tmp_path / "two.pt").read_bytes()


def test_every_target_has_its_function() -> None:
    """The module of each form has `encode`."""
    from importlib import import_module

    for target in TARGETS.values():
        assert callable(import_module(f"nextchar.exporting.{target.module}").encode)
