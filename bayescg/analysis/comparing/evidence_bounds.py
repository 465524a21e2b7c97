"""How much of a system's partition function each of several fits without frames accounts for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from bayescg.analysis.comparing.block_scores import BlockScores
from bayescg.errors import ConfigError
from bayescg.inference import Fit
from bayescg.inference.reweighting import draws_of_refits
from bayescg.modelling import Draws, SystemModel

__all__ = ["Bounds", "bounds_of_all"]

_BLOCKS = 20
_LOOKED_AT = 50


@dataclass(frozen=True)
class Bounds:
    r"""Of log Z of a system, by weighted draws of a fit, all with their standard errors over draws and trainings.

    Attributes
    ----------
    lower, lower_se : float
        :math:`E_q[\log w]`, the evidence lower bound: below log Z by the divergence of the system from the fit.
    estimate, estimate_se : float
        :math:`\log E_q[w]`, exact for many draws that reach all of the system.
    upper, upper_se : float
        :math:`E_p[\log w]`, above by the divergence of the fit from the system, as far as the draws reach it.
    """

    lower: float
    lower_se: float
    estimate: float
    estimate_se: float
    upper: float
    upper_se: float

    def __repr__(self) -> str:
        return (
            f"log Z between {self.lower:.4f} ± {self.lower_se:.1g} and {self.upper:.4f} ± {self.upper_se:.1g}, "
            f"estimated {self.estimate:.4f} ± {self.estimate_se:.1g}"
        )


def bounds_of_all(
    candidates: Mapping[str, Sequence[Fit]], samples: int, seed: int
) -> tuple[BlockScores, dict[str, Bounds]]:
    """Lower bounds as scores in blocks of draws, one row for each training, and all bounds of each candidate.

    Raises
    ------
    ConfigError
        A fit learned from frames, or from another system than the first one.
    """
    scores, bounds = {}, {}
    first = next(iter(candidates))
    for name, fits in candidates.items():
        for fit in fits:
            if not isinstance(fit, Fit) or fit.model.needs_frames:
                what = type(fit.model if isinstance(fit, Fit) else fit).__name__
                raise ConfigError(f"{name}: a {what} bounds no log Z; only fits of models that query a system do")
            _check_same_system(first, candidates[first][0], name, fit, seed)
        trainings = [draws for fit in fits for draws in draws_of_refits(fit, samples, seed)]
        each = np.stack([[_bounds(part) for part in _parts(draws)] for draws in trainings])
        scores[name] = each[:, :, 0]
        whole = np.array([_bounds(_whole(draws)) for draws in trainings])
        spread = whole.var(0, ddof=1) / len(whole) if len(whole) > 1 else 0.0
        se = np.sqrt(each.var(1, ddof=1).mean(0) / (_BLOCKS * len(whole)) + spread)
        bounds[name] = Bounds(*np.stack([whole.mean(0), se], 1).ravel().tolist())
    return BlockScores(scores, 0.0), bounds


Columns = tuple[np.ndarray, np.ndarray]


def _whole(draws: Draws) -> Columns:
    """Log weights, and how much each draw counts in an average over the generator."""
    return draws.log_weight.double().cpu().numpy(), draws.log_share.double().exp().cpu().numpy()


def _parts(draws: Draws) -> list[Columns]:
    """Draws that follow each other: components of a generator take turns in each part as they do in the whole."""
    log_w, share = _whole(draws)
    return list(zip(np.array_split(log_w, _BLOCKS), np.array_split(share, _BLOCKS), strict=True))


def _bounds(columns: Columns) -> tuple[float, float, float]:
    log_w, share = columns
    top = log_w.max()
    w = share * np.exp(log_w - top)
    estimate = top + np.log(w.sum() / share.sum())
    return float(share @ log_w / share.sum()), float(estimate), float(w @ log_w / w.sum())


def _check_same_system(first: str, reference: Fit, name: str, fit: Fit, seed: int) -> None:
    """Refuse partition functions of different systems: their log weights are of different things."""
    assert isinstance(reference.model, SystemModel)
    assert isinstance(fit.model, SystemModel)
    a, b = (model.system.cartesian for model in (reference.model, fit.model))
    same = a is b
    if not same and a.dim == b.dim:
        with torch.no_grad():
            x = reference.samples(100 * (1 + (reference.weights.members or 0)), seed).positions[:_LOOKED_AT]
            x = torch.as_tensor(x).flatten(1)
            same = torch.allclose(a.log_prob(x), b.log_prob(x.clone()), rtol=1e-4, atol=1e-4)
    if not same:
        raise ConfigError(
            f"{first} and {name} learned from different systems (or temperatures): log Z of the one says nothing of "
            "that of the other"
        )
