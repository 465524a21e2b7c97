"""What models of overdamped dynamics share: how fast the dynamics moves what their programs read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from bayescg.data import check_effective, check_temperature, evenly
from bayescg.errors import ConfigError, DataError
from bayescg.features import Features
from bayescg.modelling.feature_model import FeatureModel
from bayescg.nets import Standardise, packed_diffusion, unpacked
from bayescg.systems import System

if TYPE_CHECKING:
    from bayescg.data import Frames

__all__ = ["DiffusionModel"]


class DiffusionModel(FeatureModel):
    """Base of models of overdamped dynamics from equilibrium frames, weighted or not.

    A subclass takes `features`, `system`, `diffusion` and `dim` among its arguments and hands them on to
    `begin_diffusing`.

    Attributes
    ----------
    diffusion : float, sequence, callable or None
        None until `setup` takes kT from the frames, a mobility of one.
    kT : float or None
        Of the system.
    """

    scale: Standardise

    def begin_diffusing(
        self, features: Features | None, system: System | None, diffusion: Any, dim: int | None
    ) -> None:
        """Take the diffusion, kT of a system where none is given, and `begin`.

        Raises
        ------
        ConfigError
            This is no system, or `begin` refuses an argument.
        """
        if system is not None and not isinstance(system, System):
            raise ConfigError(f"system={system!r} is not a System: give an instance, such as DoubleWell()")
        self.kT = None if system is None else system.kT
        self.diffusion: Any = system.kT if diffusion is None and system is not None else diffusion
        self.begin(features, dim if system is None else system.dim)

    def inputs(self, x: Tensor) -> Tensor:
        """Coordinates or features ``(n, m)``, and beside them, where it varies, half of their diffusion tensor."""
        return torch.cat([super().inputs(x), *packed_diffusion(self.features, self.diffusion, x)], 1)

    def standardised(self, x: Tensor) -> Tensor:
        """Standardised coordinates or features ``(n, m)`` of positions."""
        return self.scale(super().inputs(x))

    def split(self, inputs: Tensor) -> tuple[Tensor, Tensor | None]:
        """Of `inputs`: standardised coordinates, and their diffusion tensors (n, m, m) where these vary."""
        size = self.scale.mean.numel()
        y = self.scale(inputs[:, :size])
        return y, unpacked(inputs[:, size:], size) if inputs.shape[1] > size else None

    def setup(self, frames: Frames) -> None:
        """Take scales, and the diffusion where it is kT, from the frames.

        Raises
        ------
        DataError
            The frames' weights leave almost none of them; no coordinate varies; or kT is not known, or not that of the
            system.
        """
        check_effective(frames)
        if self.kT is not None:
            check_temperature(frames, self.kT)
        if self.diffusion is None:
            self.diffusion = frames.kT
        super().setup(frames)
        y = self.sample(frames)
        if bool((y == y[0]).all()):
            raise DataError("all frames are the same: there is nothing that a function of them could follow")
        if frames.weights is not None:
            w = torch.as_tensor(frames.weights[evenly(frames)]).to(y)
            mean = w @ y / w.sum()
            self.scale.set(mean, (w @ (y - mean).square() / w.sum()).sqrt())

    def config(self) -> dict[str, Any]:
        """JSON that rebuilds the model, a diffusion that is a function apart: give `Fit.load` the model then."""
        d = self.diffusion
        constant = None if callable(d) or d is None else torch.as_tensor(d).tolist()
        return {**super().config(), "diffusion": constant}

    def arguments(self, *without: str) -> dict[str, Any]:
        """Of the system, which tells kT, only the diffusion is kept."""
        return super().arguments("system", "diffusion", *without)
