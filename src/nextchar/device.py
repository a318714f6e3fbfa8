"""Where to compute and in which precision: tested on this machine, with the reason in words."""

import torch

from nextchar.errors import ConfigError


def pick_device(name: str) -> torch.device:
    """Return a device by name; "auto" is cuda if there is one, else cpu.

    "mps" is used only if it is named: our compiled kernels for the CPU do not run there, and it is not measured.

    Raises:
        ConfigError: The device is not on this machine.
    """
    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if name == "auto":
        name = "cuda" if available["cuda"] else "cpu"
    if not available.get(name, False):
        names = ", ".join(kind for kind, present in available.items() if present)
        raise ConfigError(f"the device is '{name}', but this machine and this torch have {names}; give --device auto")
    return torch.device(name)


def pick_precision(name: str, device: torch.device) -> tuple[str, str]:
    """Return the precision of matrix products, "fp32" or "bf16", and the reason for it.

    Raises:
        ConfigError: bf16 is asked for and does not run here.
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
    """Return whether the hardware multiplies bf16 faster than fp32, and the reason."""
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device)[0] >= 8
        return fast, "tensor cores have bf16" if fast else "this GPU is older than bf16"
    if device.type == "cpu":
        # Both names are private to torch, so a torch without them is possible.
        for probe, word in (("_is_avx512_bf16_supported", "AVX512-BF16"), ("_is_amx_tile_supported", "AMX")):
            if getattr(torch.cpu, probe, lambda: False)():
                return True, f"the CPU has {word}"
        return False, "the CPU has neither AVX512-BF16 nor AMX"
    return False, f"bf16 is not measured on {device.type}"


def _bf16_problem(device: torch.device) -> str:
    """Run a small layer forward and backward in bf16; return the error in one line, or an empty string."""
    layer = torch.nn.LSTM(64, 64).to(device)
    try:
        with torch.autocast(device.type, torch.bfloat16):
            outputs, _ = layer(torch.ones(2, 16, 64, device=device))
        outputs.float().sum().backward()
    except RuntimeError as error:
        return str(error).splitlines()[0]
    finite = all(p.grad is not None and bool(p.grad.isfinite().all()) for p in layer.parameters())
    return "" if finite else "its gradients are not finite"
