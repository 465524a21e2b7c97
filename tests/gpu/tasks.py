"""What runs on the device, in a process of its own where the processes are many: the real one or an emulated one."""

from collections.abc import Callable

import torch

from tests.gpu import answers, emulated, fits
from tests.gpu.lines import Line

__all__ = ["of_model", "on_device"]


def of_model(section: str, name: str, device: str, fake: bool, modes: tuple[str, ...], until: float) -> list[Line]:
    """The lines of a model in one section; what is not begun by the time `until` is left out."""
    torch.set_num_threads(1)
    if section == "fits":
        return on_device(fake, fits.fits_of, name, device, modes, until)
    return on_device(fake, answers.answers_of, name, device, until)


def on_device(fake: bool, function: Callable[..., list[Line]], *args: object) -> list[Line]:
    """What the function returns, where ``device="cuda"`` is emulated if it is fake."""
    if not fake:
        return function(*args)
    emulated.register()
    with emulated.emulated_device():
        return function(*args)
