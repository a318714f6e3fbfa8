"""Where to compute and how precisely: probed, never assumed, and with the reason in words."""

import torch

from nextchar.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """Return a device by name; "auto" takes cuda, then mps, then cpu.

    Raises:
        ConfigError: The device is not on this machine.
    """
    has = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = next(kind for kind in ("cuda", "mps", "cpu") if has[kind])
    if not has.get(name, False):
        there = ", ".join(kind for kind, present in has.items() if present)
        raise ConfigError(
            f"the device is '{name}', but this machine and this torch have {there}; give --device auto"
        )
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> tuple[str, str]:
    """Return the precision of the matrix products, and why it was picked.

    Raises:
        ConfigError: bf16 is asked for and cannot run here.
    """
    if name == "fp32":
        return "fp32", "as asked"
    fast, reason = _bf16_is_fast(device)
    if name == "bf16":
        problem = _bf16_problem(device)
        if problem:
            raise ConfigError(
                f"the precision is bf16, but it does not run on this {device.type}: {problem}; give --precision auto"
            )
        return "bf16", "as asked" if fast else f"as asked, though {reason}"
    if fast and (problem := _bf16_problem(device)):
        fast, reason = False, problem
    return ("bf16" if fast else "fp32"), reason


def _bf16_is_fast(device: torch.device) -> tuple[bool, str]:
    """Tell whether the hardware multiplies bf16 faster than fp32."""
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device)[0] >= 8
        return fast, "tensor cores have bf16" if fast else "this GPU is older than bf16"
    if device.type == "cpu":
        # Both are private names of torch, so their absence is an answer too.
        for probe, word in (("_is_avx512_bf16_supported", "AVX512-BF16"), ("_is_amx_tile_supported", "AMX")):
            if getattr(torch.cpu, probe, lambda: False)():
                return True, f"the CPU has {word}"
        return False, "the CPU has neither AVX512-BF16 nor AMX"
    return False, f"bf16 is not measured on {device.type}"


def _bf16_problem(device: torch.device) -> str:
    """Run a small layer forward and backward in bf16; return what went wrong, or nothing."""
    layer = torch.nn.LSTM(64, 64).to(device)
    try:
        with torch.autocast(device.type, torch.bfloat16):
            outputs, _ = layer(torch.ones(2, 16, 64, device=device))
        outputs.float().sum().backward()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finite = all(p.grad is not None and bool(p.grad.isfinite().all()) for p in layer.parameters())
    return "" if finite else "its gradients are not finite"
