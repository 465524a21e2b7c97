"""What models that read features of the positions share: their sizes, scales and configuration."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from bayescg.arguments import check_counts, check_positive
from bayescg.data import Pairs, evenly
from bayescg.errors import ConfigError, DataError, ModelError
from bayescg.features import Features, HasPositions
from bayescg.modelling.model import Model, unflattened
from bayescg.nets import Standardise, Whiten

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["FeatureModel", "PairModel"]


class FeatureModel(Model):
    """Base of models whose programs read features of the positions, which the training frames standardise.

    A subclass takes `features` and `dim` among its arguments, calls `begin` at the end of its ``__init__`` and writes
    `build`, which makes its networks.

    Attributes
    ----------
    features : Features or None
        None for flat coordinates.
    scale : Standardise
        Set from the training frames.
    """

    scale: Standardise | Whiten

    def begin(self, features: Features | None, dim: int | None) -> None:
        """Build now, if the number of features is known; otherwise `setup` does.

        Raises
        ------
        ConfigError
            These are no features, or `dim` is out of range.
        """
        check_features(features)
        self.features = features
        if dim is not None:
            check_counts(dim=(dim, 1))
        size = dim if features is None else features.size
        if size is not None:
            self._sized(size)

    @abstractmethod
    def build(self, size: int) -> None:
        """Make the networks for `size` features."""

    def inputs(self, x: Tensor) -> Tensor:
        """Features of positions, ``(n, size)``.

        Raises
        ------
        DataError
            They have another number of coordinates than the model.
        """
        y = x.flatten(1) if self.features is None else self.features(x)
        if hasattr(self, "scale") and y.shape[-1] != (size := self.scale.mean.numel()):
            raise DataError(
                f"this {type(self).__name__} reads {size} coordinates a frame, these frames have {y.shape[-1]}: give "
                f"it frames of {size} coordinates, or make a new one with dim={y.shape[-1]} (or no dim: the training "
                "frames tell)"
            )
        return y

    def positions(self, x: Tensor) -> Tensor:
        """Positions ``(..., atoms, 3)`` of generated features ``(..., size)``, or of flat coordinates.

        Raises
        ------
        ModelError
            The features do not determine a conformation, or the model has `inputs` of its own.
        """
        if type(self).inputs is not FeatureModel.inputs:
            return super().positions(x)
        if self.features is None:
            return unflattened(x)
        if not isinstance(self.features, HasPositions):
            raise ModelError(
                f"{type(self.features).__name__} features do not determine positions, so no conformations can be "
                "generated; fit with features=bcg.features.aligned(top)"
            )
        return self.features.positions(x)

    @property
    def conformations(self) -> bool:
        """Whether the density of frames, less `log_volume`, is one of conformations, whatever their coordinates."""
        return hasattr(self.features, "log_abs_det_jacobian")

    def log_volume(self, x: Tensor) -> Tensor:
        """Log of the volume of conformations, rigid motions apart, per volume of inputs ``(n, size)``; see above."""
        return self.features.log_abs_det_jacobian(x)  # type: ignore[union-attr,operator]

    def setup(self, frames: Any) -> None:
        """Standardise with mean and standard deviation of the features over the frames."""
        y = self.sample(frames)
        if not hasattr(self, "scale"):
            self._sized(y.shape[-1])
        self.to(y.dtype)
        assert isinstance(self.scale, Standardise)
        self.scale.set(y.mean(0), y.std(0, correction=0))

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds the model."""
        return {**self.arguments("dim"), "dim": self.scale.mean.numel() if hasattr(self, "scale") else None}

    def _sized(self, size: int) -> None:
        self.scale = Standardise(size)
        self.build(size)

    def sample(self, frames: Frames) -> Tensor:
        """Features of at most 20 000 frames, evenly spaced, ``(n, size)``."""
        if self.features is not None:
            self.features.check_frames(frames)
        return FeatureModel.inputs(self, torch.as_tensor(frames.gather(evenly(frames))))


def check_features(features: Any) -> None:
    """Refuse what are no features: a topology, say.

    Raises
    ------
    ConfigError
    """
    if features is not None and not isinstance(features, Features):
        raise ConfigError(
            f"features are a {type(features).__name__}; give some of bcg.features, such as torsions(topology) or "
            "aligned(topology), or None for the flat coordinates"
        )


class PairModel(FeatureModel):
    """Base of models of lagged pairs whose programs read whitened features: uncorrelated, each of unit variance.

    Features that depend linearly on others are left out. `lag` and `rank` are arguments of the subclass, which it hands
    on to `begin`; both are taken from the training pairs when absent.

    Attributes
    ----------
    lag : float or None
        Lag time of the training pairs.
    rank : int or None
        How many whitened features there are.
    density : {None, "features", "equilibrium"}
        What ``Fit.log_density`` of a pair is the log of: the density of the later whitened features given the first
        ones; or that of p(y | x) over the equilibrium density of y, which no choice of features changes. None: neither.
    """

    needs_pairs = True
    density: ClassVar[str | None] = None
    kind = "generalised"

    def begin(
        self, features: Features | None, dim: int | None, lag: float | None = None, rank: int | None = None
    ) -> None:
        """Build now, if the number of features is known; otherwise `setup` does.

        Raises
        ------
        ConfigError
            These are no features, or a number is out of range.
        """
        if lag is not None:
            check_positive(lag=lag)
        if rank is not None:
            check_counts(rank=(rank, 1))
        self.lag, self.rank = lag, rank
        super().begin(features, dim)

    def inputs(self, x: Tensor) -> Tensor:
        """Whitened features of positions, ``(n, rank)``."""
        return self.scale(super().inputs(x))

    def setup(self, frames: Pairs) -> None:
        """Take the lag, and whiten with the covariance of the features over the frames of the pairs."""
        y = self.sample(frames.frames)
        covariance = y.double().T.cov(correction=0).reshape(y.shape[-1], y.shape[-1])
        self.lag, self.rank = frames.lag, Whiten.rank(covariance)
        self._sized(y.shape[-1])
        self.to(y.dtype)
        assert isinstance(self.scale, Whiten)
        self.scale.set(y.mean(0), covariance)

    def _sized(self, size: int) -> None:
        self.scale = Whiten(size, self.rank)
        self.build(self.scale.back.shape[0])
