"""The oldest versions of the dependencies that pyproject.toml allows, as constraints for pip.

python tools/oldest.py > oldest.txt
python -m pip install --constraint oldest.txt --editable ".[dev]"
python -m pytest -m "not slow"
"""

import re
import tomllib
from pathlib import Path

PROJECT = Path(__file__).parents[1] / "pyproject.toml"
DEPENDENCY = re.compile(r"([\w.-]+)(?:\[[\w,]+\])?\s*>=\s*([\w.]+)")


def oldest(project: Path = PROJECT, extras: tuple[str, ...] = ("serve", "structure")) -> list[str]:
    """Return a line such as `numpy==2.1` for each dependency of the package and of some extras."""
    about = tomllib.loads(project.read_text(encoding="utf-8"))["project"]
    named = [*about["dependencies"], *(line for extra in extras for line in about["optional-dependencies"][extra])]
    found = [DEPENDENCY.match(line) for line in named]
    return sorted({f"{match[1]}=={match[2]}" for match in found if match})


if __name__ == "__main__":
    print("\n".join(oldest()))
