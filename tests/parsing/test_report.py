"""Reports: sums over samples, intervals, missing parsers, the temperature sweep, and the command."""

import json
import math
import sys
from functools import partial
from pathlib import Path

import pytest

from nextchar.cli.main import main
from nextchar.cli.structure import samples_of
from nextchar.errors import ConfigError, MissingExtraError, TextError
from nextchar.evaluation.novelty import Training
from nextchar.parsing import domain as domain_module
from nextchar.parsing.compare import cut_samples
from nextchar.parsing.report import COPIED, Structure, structure
from nextchar.parsing.sweep import Point, SampleRequest, figure, sweep, sweet_spot
from nextchar.storage import ModelFile
from parsing.texts import PYTHON, TEXTS, C

GOOD, BAD = "def f():\n    return 1\n\n\nx = 1\n", "def f(:\n    return 1\n\n\nx = 1\n"


def test_samples_are_added_up() -> None:
    """Three valid functions of four are 75 %, and the interval contains the share."""
    measure = structure([GOOD, GOOD + GOOD, BAD], "python")["functions that parse"]
    assert (measure.value, measure.of, measure.unit) == (75.0, 4.0, "%")
    assert 0.0 <= measure.low < 75.0 < measure.high <= 100.0


def test_more_samples_make_the_interval_narrower() -> None:
    """Ten times the samples give about a third of the width; the same seed gives the same interval."""
    few, many = (structure([GOOD, BAD] * count, "python")["functions that parse"] for count in (10, 100))
    assert many.high - many.low < 0.5 * (few.high - few.low)
    assert structure([GOOD, BAD] * 10, "python")["functions that parse"] == few


def test_without_pieces_there_is_no_share() -> None:
    """Without a piece the share is nan, and null in JSON."""
    result = structure(["nothing here"], "python")
    assert math.isnan(result["functions that parse"].value)
    measure = json.loads(json.dumps(result.as_dict()))["measures"][0]
    assert measure["value"] is None
    assert set(measure) == {"name", "value", "low", "high", "unit", "of", "sound"}


def test_novelty_is_part_of_every_report() -> None:
    """With a training text, a report has copied windows, known words and the longest copy."""
    result = structure([C[50:200] + "entirely new"], "c", training=C)
    assert (result.longest_copy, result.copy) == (150, C[50:200])
    assert result[COPIED].value > 90
    assert result["words known from training"].value == pytest.approx(
        100 * (1 - 2 / result["words known from training"].of)
    )
    assert structure([C], "c").longest_copy is None


def test_mistakes_are_one_sentence() -> None:
    """No sample, an unknown domain, an empty training text, a negative seed: each error is one sentence."""
    with pytest.raises(TextError, match="no sample"):
        structure([""], "python")
    with pytest.raises(ConfigError, match=r"the domain is 'pyton', .* did you mean 'python'"):
        structure([GOOD], "pyton")
    with pytest.raises(TextError, match="training text is empty"):
        structure([GOOD], "python", training="")
    with pytest.raises(ConfigError, match="the seed is -1"):
        structure([GOOD], "python", seed=-1)


def test_a_str_is_one_sample() -> None:
    """One text gives the same report as a list of it, instead of a report on its characters."""
    assert structure(GOOD, "python") == structure([GOOD], "python")


def test_a_missing_parser_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without tree-sitter, the error has the command that installs it."""
    monkeypatch.setitem(sys.modules, "tree_sitter", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'nextchar\[structure\]'"):
        structure([C], "c")


def test_a_missing_program_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without gcc nothing is compiled, and the report lists what was skipped."""
    monkeypatch.setenv("PATH", "")
    result = structure([C], "c")
    assert [line.split(":")[0] for line in result.skipped] == ["gcc is not installed"]
    assert not [measure for measure in result.measures if "gcc" in measure.name]


def test_a_program_that_hangs_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that exceeds the timeout returns -1."""
    monkeypatch.setattr(domain_module, "TIMEOUT", 0.05)
    assert domain_module.run_program([sys.executable, "-c", "while True: pass"], {})[0] == -1


def test_samples_are_read_from_the_output_of_sample() -> None:
    """One text, several texts separated by rules, or JSON."""
    assert samples_of("one") == ["one"]
    assert samples_of("one\n" + "─" * 40 + "\ntwo") == ["one", "two"]
    assert samples_of('{"prompt": "a", "samples": [{"text": "b"}, {"text": "c"}]}') == ["ab", "ac"]
    with pytest.raises(TextError, match="no sample"):
        samples_of("")


def test_real_text_is_cut_evenly() -> None:
    """Samples of real text have full length, do not overlap, and are evenly spaced."""
    text = "".join(map(chr, range(1000)))
    pieces = cut_samples(text, 3, 200)
    assert [len(piece) for piece in pieces] == [200, 200, 200]
    assert [ord(piece[0]) for piece in pieces] == [0, 333, 666]
    assert len(cut_samples(text, 100, 300)) == 3


def point(temperature: float, text: str, training: Training) -> Point:
    """Return a point of three samples of this text."""
    return Point(temperature, structure([text] * 3, "python", training=training), 2.0)


def test_the_sweet_spot_is_most_like_real_text() -> None:
    """The sweet spot is neither the copied text nor the broken one, but the text most like held-out text."""
    training = Training(PYTHON)
    real = structure([GOOD.replace("1", "os") * 3], "python", training=training)
    points = [point(0.1, PYTHON, training), point(0.7, GOOD * 3, training), point(1.6, BAD * 3, training)]
    assert sweet_spot(points, real).temperature == 0.7
    picture = figure(points, real, "three points")
    assert picture.startswith("<?xml")
    assert picture == figure(points, real, "three points")


def test_a_model_is_swept(model_file: ModelFile, text: str) -> None:
    """Every temperature gives its own samples; at a lower one they have fewer bits per character."""
    low, high = sweep(model_file, "python", Training(text), SampleRequest(count=2, length=200), temperatures=(0.1, 1.5))
    assert isinstance(low.structure, Structure)
    assert (low.structure.samples, low.structure.chars) == (2, 400)
    assert low.bits_per_char < high.bits_per_char


def test_the_command_reads_samples(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Samples in a file are compared with real text and n-grams of it."""
    source, real = tmp_path / "samples.txt", tmp_path / "real.py"
    source.write_text(GOOD + BAD + GOOD, encoding="utf-8")
    real.write_text(PYTHON * 20, encoding="utf-8")
    words = ["structure", str(source), "--as", "python", "--against", str(real), "--count", "2", "-n", "200"]
    assert main([*words, "--ngram", "3", "--json"]) == 0
    texts = json.loads(capsys.readouterr().out)["texts"]
    assert list(texts) == ["samples", "real text", "3-grams"]
    assert texts["samples"]["measures"][0]["value"] == pytest.approx(66.6667)
    assert texts["real text"]["chars"] == 400
    assert main([*words, "--ngram", "0", "--keep", str(tmp_path / "kept")]) == 0
    assert "functions that parse, %" in capsys.readouterr().out
    assert (tmp_path / "kept" / "samples" / "0000.txt").read_text(encoding="utf-8") == GOOD.partition("x")[0]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--count", "0"], "the count is 0"),
        (["-n", "5"], "the length is 5"),
        (["--seed", "-1"], "the seed is -1"),
        (["-t", "-1"], "temperature is -1"),
        (["--sweep", "x.svg"], "needs a model"),
    ],
)
def test_invalid_options_are_one_sentence(
    tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """An invalid value is one sentence and exit code 1."""
    source = tmp_path / "samples.txt"
    source.write_text(GOOD, encoding="utf-8")
    assert main(["structure", str(source), "--as", "python", *words]) == 1
    assert message in capsys.readouterr().err


def test_a_model_without_its_text_needs_one(
    tmp_path: Path, model_file: ModelFile, capsys: pytest.CaptureFixture[str]
) -> None:
    """A model without its run folder is refused with the remedy; with `--against` it is reported on."""
    from nextchar.storage import write_model

    write_model(tmp_path / "model.safetensors", model_file)
    assert main(["structure", str(tmp_path / "model.safetensors"), "--as", "c"]) == 1
    assert "--against" in capsys.readouterr().err
    real = tmp_path / "real.txt"
    real.write_text(TEXTS["drama"] * 10, encoding="utf-8")
    words = ["structure", str(tmp_path / "model.safetensors"), "--as", "drama", "--against", str(real)]
    assert main([*words, "--count", "2", "-n", "300", "--ngram", "2", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["texts"]) == ["model", "real text", "2-grams"]


def test_samples_without_pieces_are_far_from_real_text() -> None:
    """Samples without a function count as 0 % valid functions."""
    training = Training(PYTHON)
    real = structure([GOOD * 3], "python", training=training)
    assert point(0.1, "x = 1\n" * 20, training).distance(real) > point(0.7, BAD * 3, training).distance(real)


def test_the_command_sweeps(
    tmp_path: Path,
    model_file: ModelFile,
    text_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The figure is written, the JSON has a row for each temperature, and the table shows the sweet spot."""
    from nextchar.storage import write_model

    write_model(tmp_path / "m.safetensors", model_file)
    monkeypatch.setattr("nextchar.parsing.compare.sweep", partial(sweep, temperatures=(0.5, 1.0)))
    words = ["structure", str(tmp_path / "m.safetensors"), "--as", "python", "--against", str(text_file)]
    words += ["--count", "2", "-n", "100", "--sweep", str(tmp_path / "new" / "s.svg")]
    assert main([*words, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [row["temperature"] for row in value["sweep"]] == [0.5, 1.0]
    assert (tmp_path / "new" / "s.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert main(words) == 0
    assert f"at {value['sweet_spot']:g}" in capsys.readouterr().out
