"""Choice of the device on which torch computes, and of a fast precision."""

from __future__ import annotations

import torch

from kdviz.core.errors import SettingError


def choose_device(name: str = "auto") -> torch.device:
    """Choose a device: for ``auto`` CUDA, else Apple's MPS, else the CPU; any other name as torch understands it.

    Raises:
        SettingError: torch does not know such a device, or it is not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise SettingError("There is no device '{name}' here; use cpu, or auto.", name=name) from error


def fast_bf16(device: torch.device) -> bool:
    """Whether bfloat16 autocast makes this device faster: CUDA from Ampere on, CPUs with AMX or AVX-512 BF16."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and any(_cpu_has(feature) for feature in ("amx_tile", "avx512_bf16"))


def _cpu_has(feature: str) -> bool:
    """Whether torch reports a CPU feature. The function is private to torch, and a later version may lack it."""
    check = getattr(torch.cpu, f"_is_{feature}_supported", None)
    return check is not None and check()
