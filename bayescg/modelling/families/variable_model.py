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
from bayescg.modelling.batch import Batch
from bayescg.modelling.feature_model import check_features
from bayescg.modelling.potential_model import PotentialModel

__all__ = ["VariableModel"]


class VariableModel(PotentialModel):
    """Base of models of the free energy and dynamics of one variable, from pairs of frames and on a grid.

    A subclass takes `features`, `cv`, `periodic`, `cells`, `windows`, `window_cells`, `lag`, `low`, `high`,
    `temperature` and `temperature_kT` among its arguments, hands them on to `begin_variable`, and in `setup` sets
    `cells` where they are None, and calls `take_windows`.

    Attributes
    ----------
    features : Features or None
    periodic : bool
        Whether the variable is an angle.
    cells, lag, low, high : optional
        Of the grid, and the lag; the training pairs tell.
    windows, window_cells : int
        Of umbrella sampling, of which the training pairs are, and the cells that these reach in one; 0 and None where
        they feel no bias.
    bias : Tensor, (windows or 1, window_cells or cells)
        In kT.
    begin : Tensor, (windows or 1,)
        First cell of a window.
    """

    needs_pairs = True
    pair_density = "variable"
    supplied: ClassVar[str] = "cv"
    undoes_bias: ClassVar[bool] = True
    bias: Tensor
    begin: Tensor

    def begin_variable(
        self,
        features: Features | None,
        cv: Any,
        periodic: bool | None,
        cells: int | None,
        windows: int,
        window_cells: int | None,
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
        check_counts(windows=(windows, 0))
        check_positive(**stated(lag=lag))
        check_numbers(**{name: (end, "(-inf, inf)") for name, end in stated(low=low, high=high).items()})
        if low is not None and high is not None and not low < high:
            raise ConfigError(f"low={low!r} and high={high!r}: the range of the grid ends above where it begins")
        self.features, self.cv_name = features, None if cv is None else type(cv).__name__
        self.periodic = is_angle(features) if periodic is None else periodic
        self.cells, self.windows, self.lag, self.low, self.high = cells, windows, lag, low, high
        self.window_cells = window_cells
        self._set_windows(torch.zeros(max(1, windows), window_cells or cells or 0), torch.zeros(max(1, windows)))
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
            More than three and 1 % of them lie beyond the range of the grid, or one does by half of it; or they are of
            other windows than those trained on.
        """
        if isinstance(frames, Pairs) and self.windows:
            windows = 0 if frames.frames.bias is None else frames.frames.bias.windows
            if windows != self.windows:
                raise DataError(f"the fit is of {self.windows} windows of umbrella sampling, these pairs of {windows}")
        if isinstance(frames, Pairs) and self.low is not None and self.high is not None and not self.periodic:
            now, later = (torch.cat(part) for part in zip(*self._ends(frames), strict=True))
            self.grid.check_inside(now, later)
        return frames

    def in_windows(self, window: Tensor | None, *values: Any) -> tuple[Tensor, ...]:
        """Of values ``(n, 1)`` of pairs in windows ``(n,)``, where there are any: their cells ``(n,)`` in these.

        Raises
        ------
        DataError
            There are windows, and the model was trained on pairs that feel no bias.
        """
        if window is not None and not self.windows:
            raise DataError("these pairs are of umbrella sampling, and the fit is of pairs that feel no bias")
        begin = self.begin[0] if window is None else self.begin[window]
        return tuple((self.grid.cell(z) - begin).clamp(0, self.bias.shape[1] - 1) for z in values)

    def starts(self, batch: Batch) -> Tensor:
        """Weights of pairs that begin in the cells of each window, ``(windows or 1, n)``."""
        (place,) = self.in_windows(batch.window, batch.x)
        place = place if batch.window is None else place + batch.window * self.bias.shape[1]
        weight = torch.ones(len(batch)).to(self.bias) if batch.weight is None else batch.weight.to(self.bias)
        return torch.zeros_like(self.bias).flatten().index_add(0, place, weight).reshape(self.bias.shape)

    def counts(self, pairs: Pairs, weight: Tensor) -> Tensor:
        """Transitions between cells of a window, ``(windows or 1, n, n)``; pairs count by their weights."""
        windows, n = self.bias.shape
        bias, total, start = pairs.frames.bias, torch.zeros(windows * n * n, dtype=torch.float64), 0
        for now, later in self._ends(pairs):
            part = slice(start, start := start + len(now))
            window = None if bias is None else torch.as_tensor(bias.window[pairs.i[part]]).long()
            x, y = self.in_windows(window, now, later)
            place = x * n + y if window is None else (window * n + x) * n + y
            total.index_add_(0, place, weight[part].double().cpu())
        return total.reshape(windows, n, n)

    def histogram(self, counts: Tensor, pairs: Pairs, weight: Tensor) -> Tensor:
        """Where pairs of these `counts` begin, ``(cells,)``, without the bias."""
        of, start = pairs.frames.weights, 0
        if not self.windows or of is None:
            return counts.sum((0, 2))
        total = torch.zeros(self.grid.cells, dtype=torch.float64)
        for now, _ in self._ends(pairs):
            part = slice(start, start := start + len(now))
            total.index_add_(0, self.grid.cell(now), (weight[part] * torch.as_tensor(of[pairs.i[part]])).double().cpu())
        return total

    def take_windows(self, data: Pairs, margin: float) -> None:
        """Take the bias of each window as a function of the variable, in the cells that its pairs reach or nearly so.

        Raises
        ------
        DataError
            It depends on something else, or windows change between the ends of pairs.
        """
        bias, cells = data.frames.bias, self.grid.cells
        if bias is None:
            self._set_windows(torch.zeros(1, cells), torch.zeros(1))
            return
        if changed := int((bias.window[data.i] != bias.window[data.j]).sum()):
            raise DataError(
                f"between the frames of {changed} of {len(data)} pairs a replica changed its window: take pairs of "
                "frames.segments(), which end at exchanges"
            )
        z, window = torch.cat([now for now, _ in self._ends(data)]), torch.as_tensor(bias.window[data.i])
        energies = self.grid.bias_in_cells(z, torch.as_tensor(bias.energies[data.i]))
        reach = [self.grid.cell(z[window == k]) for k in range(bias.windows)]
        low = torch.stack([c.min() if len(c) else torch.tensor(0) for c in reach]) - round(margin / self.grid.width)
        high = torch.stack([c.max() if len(c) else torch.tensor(0) for c in reach]) + round(margin / self.grid.width)
        n = cells if self.periodic else min(cells, int((high - low).max()) + 1)
        begin = (low.double() + (high - low + 1 - n) / 2).long().clamp(0, cells - n)
        self.windows, self.window_cells = bias.windows, n
        self._set_windows(energies.gather(1, begin[:, None] + torch.arange(n)), begin)

    def _set_windows(self, bias: Tensor, begin: Tensor) -> None:
        """Keep them with the parameters, where there is any bias."""
        self.register_buffer("bias", bias.double(), persistent=self.windows > 0)
        self.register_buffer("begin", begin.long(), persistent=self.windows > 0)

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
        settings = self.arguments("features", "cv", "lag", "cells", "windows", "window_cells", "low", "high")
        return self.remade(settings, features=self.features, cv=self.cv_of_frames)

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds the model, a `cv` apart: give `Fit.load` the model then."""
        return {**self.arguments("cv"), "cv": self.cv_name}

    def completed(self, config: dict[str, Any]) -> Self:
        """With the lag and the grid that the fit was trained on."""
        return self.remade(config, features=self.features, cv=self.cv_of_frames)
