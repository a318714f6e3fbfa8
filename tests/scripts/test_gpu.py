import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import gpu


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Return a way to run the script at toy size on the CPU; it returns what was printed."""

    def call(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["_", *map(str, words), "--toy", "--device", "cpu"])
        gpu.main()
        return capsys.readouterr().out

    return call


@pytest.mark.slow
def test_every_part_runs_at_toy_size(run: Callable[..., str], tmp_path: Path, text_file: Path) -> None:
    """Each part but the tests of the GPU has its rows, without an error, in the file and in the table."""
    out = tmp_path / "results.jsonl"
    parts = [part for part in gpu.PARTS if part != "tests"]
    shown = run(out, "--texts", text_file, "--only", *parts)
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert list(dict.fromkeys(row["part"] for row in rows)) == parts
    assert [row for row in rows if "error" in row] == []
    assert all(f"### {part}\n" in shown for part in parts)
    by_part = {part: [row for row in rows if row["part"] == part] for part in parts}
    assert all(row["ours"] > 0 and row["nn.LSTM"] > 0 for row in by_part["training"])
    assert by_part["kernels"][0]["fp32 by layers"] > 0
    assert [row["texts"] for row in by_part["generation"]] == [1, 3]
    assert by_part["runs"][0]["bits/char"] > 0


def test_what_was_measured_before_a_run_is_cut_off_is_shown(run: Callable[..., str], tmp_path: Path) -> None:
    """Rows are written as they come; half a line does no harm, an error stands in its row, and time that is over in one."""
    out = tmp_path / "results.jsonl"
    out.write_text('{"part": "training", "size": "2x512", "ours": 7}\n{"part": "training", "si')
    assert run(out, "--show") == "### training\n\n| size | ours |\n| --- | --- |\n| 2x512 | 7 |\n"
    out.unlink()
    assert "| the time was over: 2 not measured |" in run(out, "--only", "training", "--minutes", 0)


def test_an_error_costs_only_its_row(run: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails for lack of memory is reported, and the next is measured."""

    def part(_: gpu.Job) -> list[Callable[[], gpu.Row]]:
        def fail() -> gpu.Row:
            raise RuntimeError("CUDA out of memory\nand more")

        return [fail, lambda: {"size": "small", "ours": 3}]

    monkeypatch.setitem(gpu.PARTS, "training", part)
    shown = run(tmp_path / "results.jsonl", "--only", "training")
    assert "| CUDA out of memory |  |  |" in shown
    assert "|  | small | 3 |" in shown
