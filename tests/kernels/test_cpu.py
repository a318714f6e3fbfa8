"""The kernels as compiled for smaller x86 processors than this one, each in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from llvmlite import binding

from nextchar.kernels import cpu

AVX2 = "avx,avx2,fma,f16c,bmi,bmi2,popcnt,sse4.2"
AVX512 = f"{AVX2},avx512f,avx512bw,avx512cd,avx512dq,avx512vl"
FLAGS = ("HAS_FMA", "HAS_AVX2", "HAS_AVX512", "HAS_BF16", "HAS_AMX")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not cpu.X86, reason="smaller processors of other kinds are not simulated"),
]


def _run(name: str, features: str, code: str, *arguments: str) -> str:
    """Run Python code that compiles for a processor; return what it prints."""
    enabled = ",".join("+" + feature for feature in features.split(",") if feature)
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env=os.environ | {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": enabled},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "features", "flags"),
    [
        ("x86-64", "", ""),
        ("sandybridge", "avx,popcnt,sse4.2", ""),
        ("haswell", AVX2, "HAS_FMA HAS_AVX2"),
        ("skylake-avx512", AVX512, "HAS_FMA HAS_AVX2 HAS_AVX512"),
    ],
    ids=["baseline", "AVX without FMA", "AVX2", "AVX-512 without bfloat16"],
)
def test_the_kernels_are_right_on_a_smaller_processor(name: str, features: str, flags: str) -> None:
    """The features are the processor's, and the products and functions compiled for it are right."""
    there = binding.get_host_cpu_features()
    if not all(there.get(feature) for feature in features.split(",") if feature):
        pytest.skip("this processor is smaller")
    code = (
        "import sys, pytest; from nextchar.kernels import cpu;"
        f"print(*(flag for flag in {FLAGS} if getattr(cpu, flag)));"
        "sys.exit(pytest.main(sys.argv[1:]))"
    )
    tests = str(Path(__file__).with_name("test_gemm.py"))
    printed = _run(name, features, code, "--noconftest", "-p", "no:cacheprovider", "-x", "-k", "not mask", tests)
    assert printed.split("\n")[0] == flags


def test_amx_is_compiled_where_it_is_there() -> None:
    """Code for a processor with AMX uses its tiles; it is compiled here and not run."""
    code = (
        "from numba import njit, types; from nextchar.kernels import cpu; cpu.HAS_AMX = True;"
        "from nextchar.kernels.gemm import add_block; fresh = njit(add_block.py_func);"
        "array = lambda kind, dimensions: types.Array(kind, dimensions, 'C');"
        "bf16 = array(types.uint16, 2);"
        "fresh.compile((bf16, bf16, array(types.float32, 2), array(types.float32, 1)));"
        "print(*fresh.inspect_asm().values())"
    )
    printed = _run("sapphirerapids", f"{AVX512},avx512bf16,amx-tile,amx-bf16", code)
    # One tile of vectors or two, for the two halves of a block.
    assert printed.count("tdpbf16ps") == 2 * (2 + 4)
    assert printed.count("tilestored") == 2 * (2 + 4)


def test_numba_s_settings_are_honoured() -> None:
    """Features are added and removed one by one, and removing those of AVX-512 removes what needs them."""
    code = "from nextchar.kernels import cpu; print('sse2' in cpu.FEATURES, cpu.HAS_AVX512, cpu.HAS_BF16)"
    environment = os.environ | {"NUMBA_CPU_FEATURES": "-avx512f"}
    environment.pop("NUMBA_CPU_NAME", None)  # without a name, the features are changes of this processor's own
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False", "False"]
