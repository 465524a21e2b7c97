"""What an energy needs whose forces are learned: smooth activations, and a smooth end."""

from torch import Tensor

from bayescg.arguments import did_you_mean
from bayescg.errors import ConfigError

__all__ = ["check_smooth", "smooth_cutoff"]

SMOOTH = ("tanh", "silu", "softplus")


def check_smooth(activation: str) -> None:
    """Refuse activations without a second derivative.

    Raises
    ------
    ConfigError

    Examples
    --------
    >>> check_smooth("relu")
    Traceback (most recent call last):
    ...
    bayescg.errors.ConfigError: activation='relu': forces of its energy are piecewise constant, ...
    """
    if activation in ("relu", "leaky_relu", "hardtanh"):
        raise ConfigError(
            f"activation={activation!r}: forces of its energy are piecewise constant, and what they are to learn from "
            f"has no gradient; use one of {', '.join(SMOOTH)}"
        )
    if activation not in SMOOTH:
        raise ConfigError(
            f"activation={activation!r} is not known: {did_you_mean(activation, SMOOTH)}use one of {', '.join(SMOOTH)}"
        )


def smooth_cutoff(r: Tensor, cutoff: Tensor | float) -> Tensor:
    r"""From 1 at r = 0 to 0 at the cutoff, :math:`1 - 10 t^3 + 15 t^4 - 6 t^5` of :math:`t = r / r_c`, and 0 beyond.

    Its first two derivatives vanish at both ends: a jump in the second one would heat molecular dynamics.

    Examples
    --------
    >>> import torch
    >>> smooth_cutoff(torch.tensor([0.0, 0.5, 1.0, 2.0]), 1.0)
    tensor([1.0000, 0.5000, 0.0000, 0.0000])
    """
    t = (r / cutoff).clamp(0.0, 1.0)
    return 1.0 - t**3 * (10.0 - 15.0 * t + 6.0 * t**2)
