"""An ensemble beside one network that is trained for as long as all of its members together.

    python studies/members.py TEXT --minutes 12 --members 4 -o runs/members

Both score the test part of the text under *stream*. What is there already in the folder is used again, and a study that was
interrupted goes on.
"""

from pathlib import Path
from typing import Any

from nextchar.cli.main import main as nextchar
from nextchar.evaluation.options import EvaluationOptions
from nextchar.evaluation.report import evaluate_files
from nextchar.storage import MEMBER, holds_run, members, read_model
from tables import argument_parser, markdown, measured_on


def train(text: str, folder: Path, *words: object) -> None:
    """Train a run, or go on with it."""
    begun = holds_run(folder) or (folder / f"{MEMBER}1").exists()
    given = ["--resume", folder] if begun else [text, "-o", folder, *words]
    if code := nextchar(["train", *map(str, given)]):
        raise SystemExit(code)


def row(name: str, path: Path, minutes: float) -> dict[str, Any]:
    """Score a model or an ensemble."""
    models = [read_model(Path(str(each))) for each in members(path)]
    score = evaluate_files([path], (), EvaluationOptions(split="test"))
    weights = sum(model.architecture.parameters(len(model.vocabulary)) for model in models)
    shape = models[0].architecture
    return {
        "model": name,
        "size": f"{len(models)} of {shape.layers}x{shape.hidden}"
        if len(models) > 1
        else f"{shape.layers}x{shape.hidden}",
        "parameters": f"{weights:,}",
        "minutes": f"{minutes:g}",
        "bits/char": f"{score['bits_per_char']:.4f}",
    }


def main() -> None:
    """Train both, and print a table."""
    parser = argument_parser(__doc__)
    parser.add_argument("text")
    parser.add_argument("--minutes", type=float, default=12.0, help="of each of the two")
    parser.add_argument("--members", type=int, default=4)
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder of the runs")
    arguments = parser.parse_args()
    minutes, count, folder = arguments.minutes, arguments.members, arguments.output
    train(arguments.text, folder / "one", "--minutes", minutes)
    train(arguments.text, folder / "several", "--minutes", minutes, "--members", count)
    rows = [
        row("one network", folder / "one", minutes),
        row("one member", folder / "several" / f"{MEMBER}1", minutes / count),
        row(f"ensemble of {count}", folder / "several", minutes),
    ]
    print(f"{measured_on()}\n\n{markdown(list(rows[0]), (list(each.values()) for each in rows), left=2)}")


if __name__ == "__main__":
    main()
