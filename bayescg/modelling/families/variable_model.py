"""What models of the dynamics of one variable share: what of a configuration it is, and the cells it moves between."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from bayescg import nets
from bayescg.arguments import check_counts, check_flags, check_numbers, check_positive, stated
from bayescg.data import Pairs, evenly, in_parts
from bayescg.errors import ConfigError, DataError
from bayescg.features import Features, check_variable, is_angle, one_variable
from bayescg.modelling.feature_model import check_features
from bayescg.modelling.potential_model import PotentialModel

__all__ = ["VariableModel"]


class VariableModel(PotentialModel):
    """Base of models of the free energy and dynamics of one variable, from pairs of frames and on a grid.

    A subclass takes `features`, `cv`, `periodic`, `cells`, `lag`, `low`, `high`, `temperature` and `temperature_kT`
    among its arguments, hands them on to `begin_variable`, and sets `cells` in `setup` where they are None.

    Attributes
    ----------
    features : Features or None
    periodic : bool
        Whether the variable is an angle.
    cells, lag, low, high : optional
        Of the grid, and the lag; the training pairs tell.
    """

    needs_pairs = True
    pair_density = "variable"
    supplied: ClassVar[str] = "cv"

    def begin_variable(
        self,
        features: Features | None,
        cv: Any,
        periodic: bool | None,
        cells: int | None,
        lag: float | None,
        low: float | None,
        high: float | None,
        temperature: float | None,
        temperature_kT: float | None,
    ) -> None:
        """Take what is known beforehand.

        Raises
        ------
        ConfigError
            This is no variable, a number is out of range, or the range is upside down.
        """
        check_features(features)
        self.cv_of_frames = check_variable(features, cv)
        check_flags(**stated(periodic=periodic))
        check_counts(**{name: (count, 10) for name, count in stated(cells=cells).items()})
        check_positive(**stated(lag=lag))
        check_numbers(**{name: (end, "(-inf, inf)") for name, end in stated(low=low, high=high).items()})
        if low is not None and high is not None and not low < high:
            raise ConfigError(f"low={low!r} and high={high!r}: the range of the grid ends above where it begins")
        self.features, self.cv_name = features, None if cv is None else type(cv).__name__
        self.periodic = is_angle(features) if periodic is None else periodic
        self.cells, self.lag, self.low, self.high = cells, lag, low, high
        self.begin_potential(None, 1, temperature, temperature_kT)

    @property
    def grid(self) -> nets.CellGrid:
        """The cells, where the range is known."""
        assert self.low is not None
        assert self.high is not None
        return nets.CellGrid(self.low, self.high, self.periodic, self.cells or 0)

    def coordinate(self, x: Tensor) -> Tensor:
        """The variable at positions ``(n, ...)``, ``(n,)``."""
        return one_variable(x, self.features, self.cv_of_frames)

    def inputs(self, x: Tensor) -> Tensor:
        """The variable, ``(n, 1)``."""
        return self.coordinate(x).to(next(self.parameters()))[:, None]

    def cv(self, x: Tensor) -> torch.distributions.Distribution:
        """The variable, of batch shape ``(n,)`` and event shape ``(1,)``, known exactly."""
        return nets.exactly(self.coordinate(x)[:, None])

    def rows(self, frames: Any) -> Any:
        """The pairs themselves.

        Raises
        ------
        DataError
            More than three and 1 % of them lie beyond the range of the grid, or one does by half of it.
        """
        if isinstance(frames, Pairs) and self.low is not None and self.high is not None and not self.periodic:
            now, later = (torch.cat(part) for part in zip(*self._ends(frames), strict=True))
            self.grid.check_inside(now, later)
        return frames

    def counts(self, pairs: Pairs, weight: Tensor) -> Tensor:
        """Transitions between cells, ``(cells, cells)``, in which pairs count by their weights (n,)."""
        return self.grid.counts(self._ends(pairs), weight)

    def _ends(self, pairs: Pairs) -> Iterator[tuple[Tensor, Tensor]]:
        """The variable at both ends of pairs, each ``(n, 1)``, of some at a time."""
        device = next(self.parameters()).device
        for ends in in_parts(pairs):
            with torch.no_grad():
                now, later = (self.inputs(end.to(device)).cpu() for end in ends)
            yield now, later

    def span(self, data: Pairs) -> tuple[Tensor, Tensor]:
        """Take the range, where none is set; the variable of the pairs that were looked at, at both ends.

        Raises
        ------
        DataError
            The variable never changes.
        """
        now, later = (self.coordinate(torch.as_tensor(end)).double() for end in data.gather(evenly(data)))
        ends = nets.span_of(now, later, self.periodic)
        if self.low is None or self.high is None:
            self.low, self.high = ends
        return now, later

    def setup(self, frames: Pairs) -> None:
        """Take the lag and the temperature; all is in double precision.

        Raises
        ------
        DataError
            The frames have no temperature, or other atoms than the features.
        """
        trajectory, self.lag = frames.frames, frames.lag
        if self.features is not None:
            self.features.check_frames(trajectory)
        self.temperature, self.temperature_kT = trajectory.temperature, trajectory.temperature_kT
        if self.temperature is None and self.temperature_kT is None:
            raise DataError("the temperature of these frames is not known: give temperature= where they are loaded")
        self.double()

    def anew(self) -> Self:
        """A model of the same variable, not yet trained, for another lag."""
        settings = self.arguments("features", "cv", "lag", "cells", "low", "high")
        return self.remade(settings, features=self.features, cv=self.cv_of_frames)

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds the model, a `cv` apart: give `Fit.load` the model then."""
        return {**self.arguments("cv"), "cv": self.cv_name}

    def completed(self, config: dict[str, Any]) -> Self:
        """With the lag and the grid that the fit was trained on."""
        return self.remade(config, features=self.features, cv=self.cv_of_frames)
