"""Which arithmetic a training computes in, and how its model is laid out for that."""

import os
from dataclasses import dataclass

import torch
from torch import nn

from maskline.advanced import AdvancedSettings

TYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Hardware:
    """What a device can do.

    Attributes:
        device: type of the device, `cuda` or `cpu`.
        bf16: whether it computes in bfloat16 itself; by emulation it is 7 to 29 times slower than in float32.
        fp16: whether it has units that make float16 faster (NVIDIA's since compute capability 7.0).
    """

    device: str
    bf16: bool
    fp16: bool

    @classmethod
    def of(cls, device: torch.device) -> "Hardware":
        """Ask a device."""
        if device.type == "cuda":
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
            return cls("cuda", bf16, torch.cuda.get_device_capability(device) >= (7, 0))
        known: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # since torch 2.10
        return cls(device.type, any(known.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16")), False)


def choose(wanted: str, hardware: Hardware) -> torch.dtype:
    """The type that convolutions and products are computed in.

    `auto` takes bfloat16 on GPUs that have it, else float16 on those that gain by it; float32 on a CPU, where
    nothing was ever seen to be gained. What the device doesn't have is replaced by float32, and that is said.
    """
    if wanted == "auto":
        on_gpu = hardware.device == "cuda"
        wanted = "bf16" if on_gpu and hardware.bf16 else "fp16" if on_gpu and hardware.fp16 else "fp32"
    if wanted != "fp32" and not getattr(hardware, wanted):
        print(f"precision={wanted}: this {hardware.device} has no units for it; training in fp32")
        wanted = "fp32"
    return TYPES[wanted]


class Precision:
    """Mixed precision: the model's pass in the chosen type, its weights in float32.

    Attributes:
        scaler: keeps small gradients from vanishing in float16; does nothing in the other types.
    """

    def __init__(self, dtype: torch.dtype, device: torch.device) -> None:
        self.dtype = dtype
        self.device = device
        self.scaler = torch.amp.GradScaler(device.type, enabled=dtype == torch.float16)

    def pass_(self) -> torch.autocast:
        """The context of a model's pass."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def place(self, model: nn.Module) -> nn.Module:
        """The model on the device; channels last where tensor cores want it, as a CPU trains slower so."""
        model.to(self.device)
        if self.device.type == "cuda" and self.dtype != torch.float32:
            model.to(memory_format=torch.channels_last)
        return model


def prepare(advanced: AdvancedSettings, device: torch.device) -> Precision:
    """The arithmetic that the settings ask for, as far as the device has it."""
    if advanced.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True, warn_only=True)
    return Precision(choose(advanced.precision, Hardware.of(device)), device)
