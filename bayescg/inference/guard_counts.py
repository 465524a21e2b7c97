"""How often the guard of a model's system was needed in a training."""

from __future__ import annotations

from typing import Any

from bayescg.modelling.model import Model
from bayescg.modelling.system_model import SystemModel
from bayescg.systems.core import GuardedSystem
from bayescg.systems.guard import Guard

__all__ = ["GuardCounts"]

_NEGLIGIBLE = 1e-3
"""Of the last energies, above the cut of their guard, that are not worth a warning."""


class GuardCounts:
    """Energies that went through a guard and those above its cut, in all and in the last tenth of a training.

    Parameters
    ----------
    guard : Guard
    """

    def __init__(self, guard: Guard):
        self.guard = guard
        self._early = self._now

    @classmethod
    def of(cls, model: Model) -> GuardCounts | None:
        """Those of a model; None where its system has no guard."""
        system = model.system.cartesian if isinstance(model, SystemModel) and model.system is not None else None
        return cls(system.guard) if isinstance(system, GuardedSystem) else None

    @property
    def _now(self) -> tuple[int, int]:
        return self.guard.evaluations, self.guard.active

    def observe(self, progress: float) -> None:
        """Take note of the counts where this fraction of the steps is done."""
        if progress <= 0.9:
            self._early = self._now

    def diagnostics(self) -> dict[str, Any]:
        """What `Fit.diagnostics` says of them."""
        return {
            "cut": self.guard.cut, "active": self.guard.active, "energies": self.guard.evaluations,
            "active_late": self._late[1],
        }  # fmt: skip

    def warnings(self) -> list[str]:
        """What a careful reader should know of them."""
        energies, active = self._late
        if active <= _NEGLIGIBLE * energies:
            return []
        return [
            f"in the last tenth of the training {active / energies:.1%} of the energies were above the cut of "
            "their guard: they were not those of the system"
        ]

    @property
    def _late(self) -> tuple[int, int]:
        energies, active = (now - early for now, early in zip(self._now, self._early, strict=True))
        return energies, active
