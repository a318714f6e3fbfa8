"""How many cores this process should compute on: affinity, the limit of a container, and performance cores."""

import ctypes
import math
import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any


def count_cores(root: Path, asked: str = "", processes: int = 1) -> int:
    """Return how many threads should compute at the same time.

    These are the cores that the process may run on, at most as many as its control groups allow (the limit of a
    container), and only the performance cores of a processor that also has slower ones.

    Args:
        root: The folder that holds `proc` and `sys`.
        asked: The value of `OMP_NUM_THREADS`: use as many as it says, and slower cores, too.
        processes: How many processes compute on this machine together, as torchrun starts them: each gets its share.
            torchrun sets `OMP_NUM_THREADS` to 1 where nobody has set it, so a 1 says nothing then.
    """
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    limit = math.ceil(min(len(usable), cgroup_limit(root)))
    first = asked.partition(",")[0].strip()
    if first.isdecimal() and (processes == 1 or first != "1"):
        return max(1, min(limit, int(first)))
    return max(1, min(limit, performance_cores(root, usable)) // processes)


def cgroup_limit(root: Path) -> float:
    """Return the smallest CPU quota of this process's control groups, v1 or v2, in cores; infinity without one."""
    return min((quota for quota in map(_quota, _groups(root, "cpu")) if quota > 0), default=math.inf)


def memory_limit(root: Path) -> float:
    """Return the smallest memory limit of this process's control groups, v1 or v2, in bytes; infinity without one."""
    limits = []
    for group in _groups(root, "memory"):
        for file in ("memory.max", "memory.limit_in_bytes"):
            with suppress(OSError, ValueError):  # no such file; "max"
                limits.append(int((group / file).read_text(encoding="utf-8")))
    return min(limits, default=math.inf)


def _groups(root: Path, controller: str) -> list[Path]:
    """Return the folders of the control groups of this process that may limit what a controller controls."""
    groups: list[Path] = []
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, name = line.split(":", 2)
            # v1 mounts each set of controllers, often with a link for each of them; v2 has one hierarchy.
            named = [controllers, controller] if controller in controllers.split(",") else []
            for mount in named if controllers else [""]:
                # A parent's limit holds for its children; and in a container the name may be the one outside of it.
                group = root / "sys/fs/cgroup" / mount / name.lstrip("/")
                depth = len(PurePosixPath(name).parts)
                groups += [group, *list(group.parents)[:depth]]
    return groups


def _quota(group: Path) -> float:
    """Return the quota of one control group in cores; 0 where there is none."""
    for files in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
        with suppress(OSError, ValueError):  # no such file; "max"
            quota, period = " ".join((group / file).read_text(encoding="utf-8") for file in files).split()
            return int(quota) / int(period)
    return 0


def performance_cores(root: Path, usable: set[int]) -> int:
    """Return the number of cores, fastest first, on which work in equal shares takes the least time."""
    system: Any = ctypes
    if platform.system() == "Darwin":
        return macos_cores(system.CDLL(None)) or len(usable)
    if platform.system() == "Windows":
        return windows_cores(system.windll.kernel32) or len(usable)
    speeds = sorted(_speeds(root, usable), reverse=True)
    return max(range(1, len(speeds) + 1), key=lambda count: (count * speeds[count - 1], count))


def _speeds(root: Path, usable: set[int]) -> Iterable[int]:
    """Yield the capacity of each core, on Linux's scale where 1024 is the fastest; 1024 for all if it is unknown."""
    devices = root / "sys/devices"
    fast = usable
    with suppress(OSError, ValueError):  # Intel's hybrid processors
        ranges = (devices / "cpu_core/cpus").read_text(encoding="utf-8").strip().split(",")
        ends = [part.split("-") for part in ranges]
        fast = {core for end in ends for core in range(int(end[0]), int(end[-1]) + 1)}
    for core in usable:
        try:
            yield int((devices / f"system/cpu/cpu{core}/cpu_capacity").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            yield 1024 if core in fast else 1


def macos_cores(library: Any) -> int:
    """Return the number of performance cores by `sysctl`; 0 if macOS does not say."""
    count, size = ctypes.c_int32(), ctypes.c_size_t(4)
    failed = library.sysctlbyname(
        b"hw.perflevel0.logicalcpu", ctypes.byref(count), ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    return 0 if failed else count.value


def windows_cores(library: Any) -> int:
    """Return the number of processors in the fastest efficiency class; 0 if Windows does not say."""
    size = ctypes.c_uint32()
    library.GetSystemCpuSetInformation(None, 0, ctypes.byref(size), None, 0)
    buffer = ctypes.create_string_buffer(size.value)
    if not library.GetSystemCpuSetInformation(buffer, size, ctypes.byref(size), None, 0):
        return 0
    # SYSTEM_CPU_SET_INFORMATION: begins with its own size, and has the efficiency class at byte 18.
    classes, at = [], 0
    while at < size.value:
        classes.append(buffer.raw[at + 18])
        at += int.from_bytes(buffer.raw[at : at + 4], "little") or size.value
    return classes.count(max(classes, default=0))
