"""Dependencies: each has an oldest version, with which the weekly tests run."""

import tomllib
from pathlib import Path

from oldest import PROJECT, oldest


def test_every_dependency_has_an_oldest_version(tmp_path: Path) -> None:
    """The constraints name every dependency of the package, at the version that pyproject.toml allows."""
    found = oldest(PROJECT, ())
    assert len(found) == len(tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]["dependencies"])
    assert any(line.startswith("torch==2") for line in found)
    other = tmp_path / "pyproject.toml"
    other.write_text(
        '[project]\ndependencies = ["a>=1.2,<3", "b[x]>=2"]\noptional-dependencies.e = ["c>=0.1"]\n', encoding="utf-8"
    )
    assert oldest(other, ("e",)) == ["a==1.2", "b==2", "c==0.1"]
