import ctypes
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from nextchar.kernels import cores
from nextchar.kernels.cores import cgroup_limit, count_cores, macos_cores, performance_cores, windows_cores

CAPACITY = "sys/devices/system/cpu/cpu{}/cpu_capacity"


def _system(root: Path, files: dict[str, str]) -> Path:
    """Write files below a folder that stands for "/"."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")
    return root


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        # The tightest of the groups that contain each other counts.
        (
            {
                "proc/self/cgroup": "0::/a/b\n",
                "sys/fs/cgroup/a/cpu.max": "200000 100000\n",
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000\n",
            },
            2,
        ),
        # Version 1, in a container that sees its name outside.
        (
            {
                "proc/self/cgroup": "5:memory:/docker/1\n4:cpu,cpuacct:/docker/1\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
                "sys/fs/cgroup/memory/cpu.max": "1 100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "4:cpuset,cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "50000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            0.5,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
    ],
)
def test_the_quota_of_a_container_is_found(tmp_path: Path, files: dict[str, str], limit: float | None) -> None:
    """Quotas of both versions of control groups are read; no quota is no limit."""
    assert cgroup_limit(_system(tmp_path, files)) == (float("inf") if limit is None else limit)


@pytest.mark.parametrize(
    ("capacities", "count"),
    [
        ([], 8),
        ([1024] * 8, 8),
        ([1024] * 4 + [400] * 4, 4),
        ([1024, 900, 900, 900, 300, 300, 300, 300], 4),
        # Slow cores that are almost as fast, or many, are worth their share.
        ([1024] * 4 + [800] * 4, 8),
    ],
)
def test_the_cores_that_finish_equal_shares_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capacities: list[int], count: int
) -> None:
    """Cores are used as long as their count makes up for the slowest of them."""
    monkeypatch.setattr(cores.platform, "system", lambda: "Linux")
    _system(tmp_path, {CAPACITY.format(core): f"{speed}\n" for core, speed in enumerate(capacities)})
    assert performance_cores(tmp_path, set(range(8))) == count


@pytest.mark.parametrize(("usable", "count"), [(set(range(12)), 5), ({0, 8, 9}, 1), ({8, 9, 10}, 3)])
def test_the_fast_cores_of_a_hybrid_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, usable: set[int], count: int
) -> None:
    """Of Intel's two kinds the fast one is used, unless the process may only use the other."""
    monkeypatch.setattr(cores.platform, "system", lambda: "Linux")
    _system(tmp_path, {"sys/devices/cpu_core/cpus": "0-3,6\n", "sys/devices/cpu_atom/cpus": "4-5,7-11\n"})
    assert performance_cores(tmp_path, usable) == count


@pytest.mark.parametrize(
    ("asked", "count"), [("", 2), ("1", 1), ("0", 1), ("4", 3), ("64", 3), (" 3,2", 3), ("all", 2)]
)
def test_cores_are_those_asked_for_within_the_limits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, count: int
) -> None:
    """`OMP_NUM_THREADS` may add slow cores, but exceeds neither the quota nor the affinity."""
    monkeypatch.setattr(cores.platform, "system", lambda: "Linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4)), raising=False)
    _system(tmp_path, {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"})
    _system(tmp_path, {CAPACITY.format(core): "1024" if core < 2 else "300" for core in range(4)})
    assert count_cores(tmp_path, asked) == count


@pytest.mark.parametrize(
    ("asked", "processes", "count"), [("", 2, 2), ("1", 2, 2), ("2", 2, 2), ("3", 2, 3), ("1", 3, 1), ("", 8, 1)]
)
def test_processes_of_one_machine_share_its_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: str, processes: int, count: int
) -> None:
    """Each gets its share; the 1 that torchrun sets for all of them is no wish of anybody's, another number is."""
    monkeypatch.setattr(cores.platform, "system", lambda: "Linux")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(5)), raising=False)
    assert count_cores(tmp_path, asked, processes) == count


def test_a_system_without_affinity_counts_its_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no affinity all cores are usable; where even their number is unknown, one is."""
    monkeypatch.setattr(cores.platform, "system", lambda: "Linux")
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    for there, count in ((6, 6), (None, 1)):
        monkeypatch.setattr(os, "cpu_count", lambda there=there: there)
        assert count_cores(tmp_path) == count


@pytest.mark.parametrize(("failed", "count"), [(0, 6), (-1, 0)])
def test_macos_is_asked_for_performance_cores(failed: int, count: int) -> None:
    """The number is what `sysctl` fills in, and 0 where it does not know the name."""

    def sysctlbyname(name: bytes, value: object, size: object, *_: object) -> int:
        assert name == b"hw.perflevel0.logicalcpu"
        assert size._obj.value == ctypes.sizeof(value._obj)  # type: ignore[attr-defined]
        value._obj.value = 6  # type: ignore[attr-defined]
        return failed

    assert macos_cores(SimpleNamespace(sysctlbyname=sysctlbyname)) == count


@pytest.mark.parametrize(("classes", "count"), [([1, 1, 1, 1, 0, 0], 4), ([0, 0, 0], 3), ([], 0)])
def test_windows_is_asked_for_efficiency_classes(classes: list[int], count: int) -> None:
    """Processors of the highest class are counted, however long an entry is; nothing is known of none."""
    entries = b"".join(
        (32).to_bytes(4, "little") + bytes(14) + bytes([efficiency]) + bytes(13) for efficiency in classes
    )

    def information(buffer: object, _length: object, size: object, *_: object) -> int:
        size._obj.value = len(entries)  # type: ignore[attr-defined]
        if buffer is not None and entries:
            buffer.raw = entries  # type: ignore[attr-defined]
            return 1
        return 0

    assert windows_cores(SimpleNamespace(GetSystemCpuSetInformation=information)) == count


@pytest.mark.parametrize(("name", "asked", "count"), [("Darwin", "macos_cores", 5), ("Windows", "windows_cores", 3)])
def test_each_system_is_asked_in_its_own_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, asked: str, count: int
) -> None:
    """Both macOS and Windows count their own fast cores; what they do not know is no limit."""
    monkeypatch.setattr(cores.platform, "system", lambda: name)
    library = SimpleNamespace(kernel32="a library")
    monkeypatch.setattr(ctypes, "windll", library, raising=False)
    for answer, expected in ((count, count), (0, 8)):
        monkeypatch.setattr(cores, asked, lambda _, answer=answer: answer)
        assert performance_cores(tmp_path, set(range(8))) == expected
