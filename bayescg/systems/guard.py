"""A guard for training on energies: above a cut they grow like a logarithm, and how often that happened is recorded."""

import itertools
import weakref
from typing import Any

import torch
from torch import Tensor

from bayescg.arguments import check_numbers
from bayescg.systems.core import System
from bayescg.units import plain

__all__ = ["GuardedSystem"]

# Above this the energy is flat: what overflowed in single precision must not overflow again in the loss.
_HIGHEST = 1e20


class GuardedSystem(System):
    r"""A system whose energy is :math:`U_c + \ln(1 + U - U_c)` where :math:`U > U_c`. Made by `System.guarded`.

    A generator that is not yet trained proposes atoms on top of each other, whose energies of 1e9 kJ/mol and more drown
    all others in a loss. Below the cut nothing changes. What is not a number stays so.

    Parameters
    ----------
    system : System
        What to guard.
    cut : float or openmm.unit.Quantity
        :math:`U_c`, in the unit of the system's energy.

    Attributes
    ----------
    system, cut
        As given; every other attribute of the system is this one's too.

    Raises
    ------
    ConfigError
        The cut is not a finite number.

    Source
    ------
    Midgley et al., "Flow Annealed Importance Sampling Bootstrap", ICLR 2023: the energy of alanine
    dipeptide.

    Examples
    --------
    >>> steep = System(lambda x: (x**2).sum(-1), dim=1, temperature_kT=1.0).guarded(100.0)
    >>> steep.energy(torch.tensor([[3.0], [100.0]]))
    tensor([  9.0000, 109.2004])
    >>> steep.evaluations, steep.active
    (2, 1)
    """

    def __init__(self, system: System, cut: float):
        cut = plain(cut, "kJ/mol")
        check_numbers(cut=(cut, f"(-{_HIGHEST:g}, {_HIGHEST:g})"))
        self.system = system
        self.cut = float(cut)
        self._key = next(_KEYS)
        self._counts: dict[torch.device, Tensor] = {}
        _GUARDS[self._key] = self
        super().__init__(
            lambda x: lin_log(system.energy(x), self.cut, self._key),
            system.dim,
            temperature=system.temperature,
            temperature_kT=None if system.temperature is not None else system.kT,
            topology=system.topology,
        )

    @property
    def unguarded(self) -> System:
        """The system that is guarded."""
        return self.system

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

    def __deepcopy__(self, memo: dict) -> "GuardedSystem":
        return self  # one record for all copies

    def __getattr__(self, name: str) -> Any:
        if name == "system":  # not there yet: this object is being made
            raise AttributeError(name)
        return getattr(self.system, name)

    def __repr__(self) -> str:
        return f"{self.system!r}.guarded({self.cut:g})"


_KEYS = itertools.count()
_GUARDS: "weakref.WeakValueDictionary[int, GuardedSystem]" = weakref.WeakValueDictionary()


def lin_log(energy: Tensor, cut: float, key: int) -> Tensor:
    """Energies above the cut made logarithmic, counted by the guard of that key."""
    return _LinLog.apply(energy, cut, key)


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
