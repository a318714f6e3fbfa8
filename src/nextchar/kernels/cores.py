"""How many cores this process should compute on: what it may use, and which of them are fast."""

import ctypes
import math
import os
import platform
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any


def count_cores(root: Path, asked: str = "") -> int:
    """Return how many threads should compute at the same time.

    The cores that the process may run on, at most as many as its control groups pay for (the limit of a container), and
    only the performance cores of a processor that has slower ones beside them.

    Args:
        root: The folder that holds `proc` and `sys`.
        asked: The value of `OMP_NUM_THREADS`: as many as it says, slower cores included.
    """
    usable = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    limit = math.ceil(min(len(usable), cgroup_limit(root)))
    first = asked.partition(",")[0].strip()
    wanted = int(first) if first.isdecimal() else performance_cores(root, usable)
    return max(1, min(limit, wanted))


def cgroup_limit(root: Path) -> float:
    """Return how many cores' time the control groups of this process allow, by their quotas (cgroup v1 and v2)."""
    quotas = []
    with suppress(OSError):
        for line in (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines():
            _, controllers, name = line.split(":", 2)
            # Version 1 has a folder for each set of controllers, and often links for each; version 2 has one for all.
            named = [controllers, "cpu"] if "cpu" in controllers.split(",") else []
            for mount in named if controllers else [""]:
                # Seen from a container the name may be that outside of it, so the groups above it are read, too.
                group = root / "sys/fs/cgroup" / mount / name.lstrip("/")
                depth = len(PurePosixPath(name).parts)
                quotas += [_quota(part) for part in (group, *list(group.parents)[:depth])]
    return min((quota for quota in quotas if quota > 0), default=math.inf)


def _quota(group: Path) -> float:
    """Return the quota of one control group in cores; 0 where there is none."""
    for files in (["cpu.max"], ["cpu.cfs_quota_us", "cpu.cfs_period_us"]):
        with suppress(OSError, ValueError):  # no such file; "max"
            quota, period = " ".join((group / file).read_text(encoding="utf-8") for file in files).split()
            return int(quota) / int(period)
    return 0


def performance_cores(root: Path, usable: set[int]) -> int:
    """Return on how many of the usable cores work that is split into equal shares is done first."""
    system: Any = ctypes
    if platform.system() == "Darwin":
        return macos_cores(system.CDLL(None)) or len(usable)
    if platform.system() == "Windows":
        return windows_cores(system.windll.kernel32) or len(usable)
    speeds = sorted(_speeds(root, usable), reverse=True)
    return max(range(1, len(speeds) + 1), key=lambda count: (count * speeds[count - 1], count))


def _speeds(root: Path, usable: set[int]) -> Iterable[int]:
    """Yield each core's speed by Linux's scale, on which the fastest is 1024; without one, all are alike."""
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
