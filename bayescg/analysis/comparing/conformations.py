"""Densities over bonds, angles and torsions as densities of conformations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from bayescg.feeding.chunks import observations

if TYPE_CHECKING:
    from bayescg.data import Frames, Pairs, Stretches
    from bayescg.inference import Fit

__all__ = ["log_volume"]


def log_volume(fit: Fit, frames: Frames | Pairs | Stretches) -> np.ndarray | float:
    """Log of the volume of conformations, rigid motions apart, per volume of what ``fit.log_density`` is over.

    That density less this is one of conformations, whatever their coordinates. Zero where it is of something else.
    """
    model: Any = fit.model
    if model.needs_pairs or not getattr(model, "conformations", False):
        return 0.0
    with torch.no_grad():
        volumes = [model.log_volume(fields["x"]) for fields in observations(model, frames)]
    return torch.cat(volumes).double().cpu().numpy()
