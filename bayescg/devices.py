"""Which device the numbers are on."""

import torch

from bayescg.arguments import check_choice
from bayescg.errors import DeviceError

__all__ = ["device_of"]


def device_of(name: str) -> torch.device:
    """The device of a name: ``"auto"`` is CUDA where there is a device, and the processor elsewhere.

    Raises
    ------
    ConfigError, DeviceError
        The name is unknown, or the device is not there.

    Examples
    --------
    >>> device_of("cpu")
    device(type='cpu')
    """
    check_choice(device=(name, ("auto", "cpu", "cuda")))
    if name == "cuda" and not torch.cuda.is_available():
        raise DeviceError(
            "device='cuda' was asked for, but torch sees no CUDA device; use device='auto' or 'cpu' (--device auto)"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")
