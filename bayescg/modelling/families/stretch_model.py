"""What models of stretches of trajectories share: the cells or features that are read, and the stretches."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from bayescg.arguments import check_counts, check_positive, stated
from bayescg.data import Frames, Stretches, in_parts
from bayescg.errors import ConfigError, DataError
from bayescg.features import Features
from bayescg.modelling.feature_model import check_features
from bayescg.modelling.model import Model
from bayescg.modelling.model_arguments import not_in_a_file
from bayescg.nets import Standardise, cells_of, check_cells, count_cells

__all__ = ["StretchModel"]

_FEW = 20


class StretchModel(Model):
    """Base of models of stretches of trajectories, in which cells of a discretisation are read, or features.

    A subclass takes `features`, `cells`, `lag`, `stretch`, `alphabet` and `dim` among its arguments, hands them on to
    `begin_stretches`, and writes `build`. In `setup` it begins with `take`.

    Attributes
    ----------
    features, cells, lag, stretch, alphabet, dim
        As of :class:`bayescg.models.HiddenMarkov`.
    scale : Standardise
        Of features, where there are no cells.
    """

    scale: Standardise

    def begin_stretches(
        self,
        features: Features | None,
        cells: str | Sequence[float] | Callable[[Tensor], Tensor] | None,
        lag: float | None,
        stretch: int,
        alphabet: int | None,
        dim: int | None,
    ) -> None:
        """Build now, if the number of cells or features is known; otherwise `setup` does.

        Raises
        ------
        ConfigError
            These are no features, no cells, or a number is out of range.
        """
        check_features(features)
        check_counts(stretch=(stretch, 3), **{k: (size, 1) for k, size in stated(alphabet=alphabet, dim=dim).items()})
        check_positive(**stated(lag=lag))
        if cells is None and alphabet is not None:
            raise ConfigError(f"alphabet={alphabet} is a number of cells: give cells=, too, or leave it out")
        self.features, self.lag, self.stretch, self.cells = features, lag, stretch, check_cells(cells)
        self.alphabet = len(self.cells) + 1 if isinstance(self.cells, list) else alphabet
        self.dim = dim if features is None else features.size
        if (size := self.dim if self.cells is None else self.alphabet) is not None:
            self._sized(size)

    @abstractmethod
    def build(self, size: int) -> None:
        """Make what is trained, for so many cells, or features where there are no cells."""

    def _sized(self, size: int) -> None:
        if self.cells is None:
            self.scale = Standardise(size)
        self.build(size)

    @property
    def density_of(self) -> str:
        """What the log density of a stretch is one of."""
        return "stretches of features" if self.cells is None else f"stretches of cells {self.cells}"

    def log_unit(self, x: Any) -> Tensor | float:
        """Log of the volume of features in that of standardised ones, of all that were observed in a stretch."""
        return (~x.isnan() * self.scale.width.log()).sum((1, 2)) if self.cells is None else 0.0

    def rows(self, frames: Any) -> Stretches:
        """Stretches of trajectories.

        Raises
        ------
        DataError
            These are no frames of trajectories, they have no labels, or no trajectory is three frames a lag apart long.
        """
        if not isinstance(frames, Frames | Stretches):
            name, what = type(self).__name__, type(frames).__name__
            raise DataError(f"{name} learns from trajectories, not from {what}: give it the frames themselves")
        if isinstance(frames, Frames):
            frames = frames.stretches(self.lag, self.stretch)
        if frames.length < 3:
            raise DataError(
                f"no trajectory is longer than two lag times of {frames.lag:g}, without which nothing tells hidden "
                "states from what is observed: use a shorter lag, or longer trajectories"
            )
        if self.cells != "labels":
            return frames
        if (labels := frames.frames.labels) is None:
            raise DataError('the frames have no labels for cells="labels": give Frames.from_numpy(..., labels=...)')
        return replace(frames, frames=replace(frames.frames, positions=np.asarray(labels, np.float64)[:, None]))

    def inputs(self, x: Tensor) -> Tensor:
        """Cells ``(n, 1)`` of positions, NaN where they are not known; or standardised features ``(n, dim)``.

        Raises
        ------
        DataError
            A cell is none of the training frames', or edges divide one of several features.
        """
        if callable(self.cells):
            return cells_of(torch.as_tensor(self.cells(x)).reshape(len(x), -1).to(x.dtype), None, self.alphabet)
        y = x.flatten(1) if self.features is None else self.features(x)
        if self.cells is not None:
            return cells_of(y, self.cells, self.alphabet)
        if self.dim is None:
            return y
        if y.shape[1] != self.dim:
            name = type(self).__name__
            raise DataError(f"this {name} reads {self.dim} features, these frames have {y.shape[1]}")
        return self.scale(y)

    def observed(self, stretches: Stretches) -> Tensor:
        """Inputs of all stretches, ``(n, length, size)``; NaN after their ends."""
        return stretches.arranged(torch.cat([self.inputs(x.double()) for (x,) in in_parts(stretches.frames)]))

    def take(self, stretches: Stretches) -> Tensor:
        """Take the lag, and cells or scales, and build; what is `observed` then. All is in double precision.

        Raises
        ------
        DataError
            A label is no whole number, or larger than there are frames, or all frames are in one cell; or there are
            no cells, and a feature takes so few values that it is one itself.

        Warns
        -----
        UserWarning
            Some cells are never visited.
        """
        self.lag = stretches.lag
        if self.features is not None:
            self.features.check_frames(stretches.frames)
        if self.cells is None and self.dim is not None:
            self.scale = Standardise(self.dim)  # of an earlier fit, features would be scaled twice
        x = self.observed(stretches)
        if self.cells is None:
            values = x[~x.isnan().any(2)]
            self.dim = x.shape[2]
            self._sized(self.dim)
            for i, feature in enumerate(values.T):
                if (count := len(feature.unique())) <= min(_FEW, len(feature) // 2):
                    raise DataError(
                        f"feature {i} takes only {count} values, whose widths are no Gaussian's: number them as the "
                        'frames\' labels and give cells="labels", or the edges between them, cells=[...]'
                    )
            self.scale.set(values.mean(0), values.std(0, correction=0))
            x = self.scale(x)
        elif (cells := count_cells(x, self.alphabet)) != self.alphabet:
            self.alphabet = cells
            self._sized(cells)
        self.double()
        return x

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Model with the given configuration."""
        if isinstance(config["cells"], str) and config["cells"] != "labels":
            raise not_in_a_file(cls, "cells", config["cells"])
        return super().from_config(config)

    def completed(self, config: dict[str, Any]) -> Self:
        """With the number of cells and the lag that the fit was trained on."""
        return self.remade(config, features=self.features, cells=self.cells)
