"""What an energy needs whose forces are learned: smooth activations, a smooth end, and particles apart."""

from collections.abc import Sequence

import torch
from torch import Tensor

from bayescg.arguments import did_you_mean
from bayescg.errors import ConfigError, DataError

__all__ = ["check_apart", "check_smooth", "smooth_cutoff"]

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


def check_apart(x: Tensor, numbers: Sequence[int]) -> None:
    """Refuse particles in one place: there is no direction between them, and no force.

    Parameters
    ----------
    x : Tensor
        Positions ``(n, atoms, 3)``.
    numbers : sequence of int
        Of these frames.

    Raises
    ------
    DataError

    Examples
    --------
    >>> check_apart(torch.zeros(1, 2, 3), [7])
    Traceback (most recent call last):
    ...
    bayescg.errors.DataError: frame 7: particles 0 and 1 are in one place, ...
    """
    i, j = torch.triu_indices(x.shape[1], x.shape[1], 1, device=x.device)
    together = ((x[:, i] - x[:, j]).square().sum(-1) == 0).nonzero()
    if len(together):
        frame, pair = together[0].tolist()
        raise DataError(
            f"frame {numbers[frame]}: particles {int(i[pair])} and {int(j[pair])} are in one place, where there is no "
            "force between them; leave the frame out, or one of the particles"
        )
