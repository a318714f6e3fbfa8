"""The processor's features that compiled code may use: the one place that asks for them.

numba's own settings are honoured, so that code for a smaller processor can be compiled and tested on a larger one:
`NUMBA_CPU_NAME` and `NUMBA_CPU_FEATURES` (a list such as `+avx2,+fma,-avx512f`), and `NUMBA_ENABLE_AVX`.
"""

import ctypes
import platform
from typing import Any

from llvmlite import binding
from numba.core import codegen, config

X86 = platform.machine().lower() in {"x86_64", "amd64", "i386", "i686", "x86"}
_CONFIG: Any = config
NAME: str = _CONFIG.CPU_NAME or binding.get_host_cpu_name()


def _features() -> frozenset[str]:
    """Return LLVM's names of the features that numba passes to the compiler, masked as numba's settings say."""
    # A processor that is named with its features replaces this one; otherwise they are changes to this one's.
    replaced = _CONFIG.CPU_NAME and _CONFIG.CPU_FEATURES is not None
    flags = ("" if replaced else codegen.get_host_cpu_features()) + "," + (_CONFIG.CPU_FEATURES or "")  # type: ignore[no-untyped-call]
    last = {flag[1:]: flag[0] for flag in flags.split(",") if flag}
    return frozenset(name for name, sign in last.items() if sign == "+")


FEATURES = _features()


def _may_use_amx() -> bool:
    """Ask the operating system for permission to use AMX tiles: Linux requires it of every process."""
    if platform.system() != "Linux":
        return False
    arch_prctl, request_permission, tile_data = 158, 0x1023, 18
    return ctypes.CDLL(None).syscall(arch_prctl, request_permission, tile_data) == 0


HAS_FMA = not X86 or "fma" in FEATURES
"""Whether a multiplication and an addition are one instruction; without it torch's kernels train faster than ours."""
HAS_AVX2 = HAS_FMA and "avx2" in FEATURES
HAS_AVX512 = HAS_AVX2 and {"avx512f", "avx512bw"} <= FEATURES
HAS_BF16 = HAS_AVX512 and "avx512bf16" in FEATURES
"""Whether pairs of bfloat16 are multiplied and added in one instruction."""
HAS_AMX = HAS_BF16 and {"amx-tile", "amx-bf16"} <= FEATURES and _may_use_amx()
