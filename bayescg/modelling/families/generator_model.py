"""What generators share that learn a system from its energies, from hot to cold: settings, and a flow over it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from bayescg import nets
from bayescg.arguments import check_counts, check_numbers, stated, widths
from bayescg.errors import ConfigError
from bayescg.features import UnboundedCoordinates
from bayescg.modelling.schedules.range_annealing import levels_of
from bayescg.modelling.system_model import SystemModel
from bayescg.systems import System
from bayescg.units import plain

__all__ = ["GeneratorModel"]


class GeneratorModel(SystemModel):
    """Base of generators that are trained on energies, at temperatures which fall to the system's own.

    A subclass takes `system`, `coordinates`, `guard`, `hidden`, `layers`, `bins`, `beta_start`, `cess`, `buffer`,
    `rounds` and `fresh` among its arguments and hands them on to `begin_generator`, those that are None as
    `suited_to` completes them.

    Attributes
    ----------
    form : str
        Which of its `suited` settings and `courses` are meant.
    suited : dict
        Of each form, what arguments are that are None.
    courses : dict
        Of each form, steps, batch size and learning rate.
    beta : Tensor
        Present inverse temperature, in units of the system's own.
    low : float or None
        The least of those that it is trained at, where these are a range.
    """

    suited: ClassVar[dict[str, dict[str, Any]]]
    courses: ClassVar[dict[str, dict[str, Any]]]
    form: str
    beta: Tensor
    low: float | None = None

    @property
    def training_defaults(self) -> dict[str, Any]:  # type: ignore[override]
        """Those of its form."""
        return self.courses[self.form]

    @property
    def levels(self) -> list[float]:
        """Inverse temperatures at which draws are made for answers."""
        return [1.0] if self.low is None else levels_of(self.low)

    def suited_to(self, form: str, **settings: Any) -> dict[str, Any]:
        """Take the form; settings, where they are None what suits it."""
        self.form = form
        return self.suited[form] | stated(**settings)

    def begin_generator(
        self,
        system: System,
        coordinates: UnboundedCoordinates | None,
        *,
        guard: float,
        hidden: Sequence[int],
        layers: int,
        bins: int,
        beta_start: float,
        cess: float,
        buffer: int,
        rounds: int,
        fresh: int | None,
    ) -> None:
        """Take the system and the settings of flow and annealing.

        Raises
        ------
        ConfigError
            One of them is out of range, or `begin` refuses an argument.
        """
        check_counts(layers=(layers, 1), bins=(bins, 2), buffer=(buffer, 100), rounds=(rounds, 1))
        check_counts(**{name: (count, 100) for name, count in stated(fresh=fresh).items()})
        check_numbers(beta_start=(beta_start, "(0, 1]"), cess=(cess, "(0, 1)"))
        self.begin(system, coordinates, guard)
        self.hidden, self.layers, self.bins = widths(hidden), layers, int(bins)
        self.beta_start, self.cess = float(beta_start), float(cess)
        self.buffer, self.rounds, self.fresh = buffer, rounds, fresh
        self.register_buffer("beta", torch.ones(()))

    def range_of(self, temperatures: Sequence[float] | None) -> float | None:
        """Inverse temperature of the hot end of a range that begins at the system's own, in units of the latter.

        Raises
        ------
        ConfigError
            The range does not begin there, or its end is hotter than where training begins, or not hotter at all.
        """
        if temperatures is None:
            return None
        system = self.system.cartesian
        coldest = system.kT if system.temperature is None else system.temperature
        values = [float(t) for t in plain(temperatures, "K")]
        if len(values) != 2 or abs(values[0] / coldest - 1) > 1e-6 or not values[0] < values[1] < float("inf"):
            raise ConfigError(
                f"temperatures={temperatures!r} must be two: the system's own, {coldest:g}, and a higher one"
            )
        low = coldest / values[1]
        if low < self.beta_start:
            raise ConfigError(
                f"temperatures={temperatures!r} end above {coldest / self.beta_start:g}, where training "
                f"begins: give a beta_start of {low:.2g} or less"
            )
        return low

    def flow_over(self, context: int = 0) -> nets.SplineFlow:
        """Make a flow over the system's coordinates, given so many numbers."""
        circular = [i in self.system.circular.tolist() for i in range(self.system.dim)]
        return nets.SplineFlow(circular, self.layers, self.bins, self.hidden, context)
