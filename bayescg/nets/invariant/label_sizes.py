"""How large energies and forces are beside those of a network that has not learned yet."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bayescg.errors import ConfigError, DataError

__all__ = ["LabelSizes"]


@dataclass(frozen=True)
class LabelSizes:
    """Sizes of labels, and how a network's energies are placed among them.

    Attributes
    ----------
    shift : float
        Mean energy of a particle.
    factor : float
        Energy of what the network calls 1.
    sizes : Tensor, (2,)
        Of energies, a particle, and of forces.
    """

    shift: float
    factor: float
    sizes: Tensor

    @classmethod
    def of(cls, frames: Any, rows: np.ndarray, network: tuple[Tensor, Tensor]) -> LabelSizes:
        """Of the labels of frames, beside what the network gives of some of them.

        Parameters
        ----------
        frames : Frames
        rows : array of int
            Numbers of those some.
        network : tuple of Tensor
            Their energies ``(n,)`` and forces ``(n, 3 atoms)``.

        Raises
        ------
        DataError
            There are neither energies nor forces.
        ConfigError
            The network's energy does not depend on positions.

        Examples
        --------
        >>> from bayescg.data import Frames
        >>> frames = Frames.from_numpy(np.zeros((3, 3)), unit="reduced", energy=[3.0, 5.0, np.nan])
        >>> LabelSizes.of(frames, np.arange(3), (torch.tensor([1.0, 2.0, 3.0]), torch.ones(3, 3)))
        LabelSizes(shift=4.0, factor=1.0, sizes=tensor([1., 1.]))
        """
        labels = np.zeros(0) if frames.energy is None else frames.energy[~np.isnan(frames.energy)]
        if frames.forces is None and len(labels) < 2:
            raise DataError(
                "the frames have neither energies nor forces: sample with energy=True, forces=True, or give them to "
                "Frames.from_numpy(energy=..., forces=...)"
            )
        energy, forces = (v.detach() for v in network)
        particles = forces.shape[1] // 3
        spread, slope = float(labels.std()) if len(labels) > 1 else 0.0, float(forces.square().mean().sqrt())
        if not slope:
            raise ConfigError("the energy does not depend on positions, so far as its gradient tells: its forces are 0")
        size = None if frames.forces is None else float(np.sqrt(np.square(frames.gather(rows, "forces")).mean()))
        factor = spread / float(energy.std()) if size is None else size / slope
        sizes = torch.tensor([spread / particles**0.5 or factor, factor * slope])
        return cls(float(labels.mean()) / particles if len(labels) else 0.0, factor, sizes)
