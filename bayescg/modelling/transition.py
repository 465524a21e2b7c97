"""What draws trajectories step by step: the density of what follows a configuration, and where all settle."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

__all__ = ["HasTransition"]


@runtime_checkable
class HasTransition(Protocol):
    """Models that say what follows a configuration, and where all settle: what ``Fit.sample_path`` draws from.

    Attributes
    ----------
    lag : float or None
        Time of a step.
    """

    lag: float | None

    def configuration(self, x: Tensor) -> Tensor:
        """Coordinates ``(n, size)`` of positions ``(n, atoms, 3)`` or ``(n, dim)``; `positions` leads back."""
        ...

    def transition(self, u: Tensor) -> torch.distributions.Distribution:
        """Of coordinates one step after others ``(n, size)``: batch shape ``(n,)``, event shape ``(size,)``."""
        ...

    def log_equilibrium(self, u: Tensor) -> Tensor:
        """Log density, ``(n,)``, that transitions keep, per volume of conformations, rigid motions apart."""
        ...
