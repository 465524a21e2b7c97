"""A guard for training on energies: above a cut they grow like a logarithm, and how often that happened is recorded."""

import itertools
import weakref
from typing import Any

import torch
from torch import Tensor

from bayescg.arguments import check_numbers
from bayescg.units import plain

__all__ = ["Guard"]

# Above this the energy is flat: what overflowed in single precision must not overflow again in the loss.
_HIGHEST = 1e20


class Guard:
    r"""Energies U as they are up to a cut, :math:`U_c + \ln(1 + U - U_c)` above it, and counts of both.

    Parameters
    ----------
    cut : float or openmm.unit.Quantity
        :math:`U_c`.

    Raises
    ------
    ConfigError
        The cut is not a finite number.

    Examples
    --------
    >>> guard = Guard(100.0)
    >>> guard(torch.tensor([9.0, 10000.0])), guard.evaluations, guard.active
    (tensor([  9.0000, 109.2004]), 2, 1)
    """

    def __init__(self, cut: float):
        cut = plain(cut, "kJ/mol")
        check_numbers(cut=(cut, f"(-{_HIGHEST:g}, {_HIGHEST:g})"))
        self.cut = float(cut)
        self._key = next(_KEYS)
        self._counts: dict[torch.device, Tensor] = {}
        _GUARDS[self._key] = self

    def __call__(self, energy: Tensor) -> Tensor:
        """Guarded energies."""
        return _LinLog.apply(energy, self.cut, self._key)

    @property
    def evaluations(self) -> int:
        """Energies that went through the guard so far."""
        return sum(int(count[0]) for count in self._counts.values())

    @property
    def active(self) -> int:
        """How many of them were above the cut."""
        return sum(int(count[1]) for count in self._counts.values())

    def count(self, above: Tensor) -> None:
        """Record one evaluation; nothing waits for a GPU."""
        counts = self._counts.setdefault(above.device, torch.zeros(2, dtype=torch.long, device=above.device))
        counts[0] += above.numel()
        counts[1] += above.sum()


_KEYS = itertools.count()
_GUARDS: "weakref.WeakValueDictionary[int, Guard]" = weakref.WeakValueDictionary()


# An operator of its own, so that what is traced and compiled still counts.
@torch.library.custom_op("bayescg::lin_log", mutates_args=())
def _lin_log(energy: Tensor, cut: float, key: int) -> Tensor:
    _GUARDS[key].count(energy > cut)
    return torch.where(energy > cut, cut + torch.log1p((energy - cut).clamp(0.0, _HIGHEST)), energy)


@_lin_log.register_fake
def _(energy: Tensor, cut: float, key: int) -> Tensor:
    return torch.empty_like(energy)


@_lin_log.register_vmap
def _(info: Any, in_dims: tuple[int | None, ...], energy: Tensor, cut: float, key: int) -> tuple[Tensor, int | None]:
    return _lin_log(energy, cut, key), in_dims[0]


class _LinLog(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(energy: Tensor, cut: float, key: int) -> Tensor:
        return _lin_log(energy, cut, key)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float, int], output: Tensor) -> None:
        ctx.cut = inputs[1]
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (energy,) = ctx.saved_tensors
        above = (energy - ctx.cut).clamp_min(0.0)
        slope = torch.where(above < _HIGHEST, 1.0 / (1.0 + above), 0.0)
        return grads[0] * torch.where(energy.isnan(), energy, slope), None, None
